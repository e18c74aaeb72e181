//! The history of a simulation: who asks what and hears what, also of those who die before they hear it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::world::lock;
use crate::history::{
    Change, Event, Failure, Fault, Header, Invoke, Line, Op, Outcome, WatchAnswer, WatchEvent, WatchOpen,
};

/// The faults' process.
const FAULTS: u32 = 0;

pub(super) struct Record {
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
    ok: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    last_process: u32,
    last_request: u64,
    last_watch: u64,
    /// The newest revision that anybody was told of.
    newest: u64,
    /// Calls that have not returned, by process.
    open: BTreeMap<u32, Invoke>,
    /// Watches that have not ended: the process and the member of each.
    watches: BTreeMap<u64, (u32, String)>,
    unresolved: VecDeque<Unresolved>,
    /// What each member was seen to have done, revision by revision.
    logs: BTreeMap<String, BTreeMap<u64, Vec<Change>>>,
    contradictions: Vec<String>,
}

/// A write that may have happened, and can be asked again under its id.
#[derive(Clone, Debug)]
pub(super) struct Unresolved {
    pub(super) process: u32,
    pub(super) invoke: Invoke,
}

/// How many calls ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u64,
    pub refused: u64,
    pub unknown: u64,
}

impl Record {
    pub(super) fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let counter = AtomicU64::default;
        Self {
            now: Box::new(now),
            state: Mutex::default(),
            ok: counter(),
            refused: counter(),
            unknown: counter(),
        }
    }

    pub(super) fn process(&self) -> u32 {
        let mut state = lock(&self.state);
        state.last_process += 1;
        state.last_process
    }

    pub(super) fn request_id(&self) -> String {
        let mut state = lock(&self.state);
        state.last_request += 1;
        format!("r-{}", state.last_request)
    }

    pub(super) fn newest(&self) -> u64 {
        lock(&self.state).newest
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { ok: count(&self.ok), refused: count(&self.refused), unknown: count(&self.unknown) }
    }

    pub(super) fn invoke(&self, process: u32, invoke: Invoke) {
        let mut state = lock(&self.state);
        state.open.insert(process, invoke.clone());
        self.write(&mut state, process, Event::Invoke(invoke));
    }

    /// Ends the process's call. After an unknown outcome the process is spent.
    pub(super) fn finish(&self, process: u32, outcome: Outcome) {
        let mut state = lock(&self.state);
        let Some(invoke) = state.open.remove(&process) else { return };
        let counter = match &outcome {
            Outcome::Ok { header, .. } => {
                state.newest = state.newest.max(header.revision);
                &self.ok
            }
            Outcome::Refused(_) => &self.refused,
            Outcome::Unknown(_) => {
                if invoke.request_id.is_some() {
                    state.unresolved.push_back(Unresolved { process, invoke });
                }
                &self.unknown
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.write(&mut state, process, Event::Return { outcome });
    }

    fn write(&self, state: &mut State, process: u32, event: Event) {
        state.lines.push(Line { at: (self.now)(), process, event });
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        lock(&self.state).lines.clone()
    }

    pub(super) fn line_count(&self) -> u64 {
        lock(&self.state).lines.len() as u64
    }

    /// The oldest write that may have happened.
    pub(super) fn take_unresolved(&self) -> Option<Unresolved> {
        lock(&self.state).unresolved.pop_front()
    }

    pub(super) fn open_watch(&self, process: u32, make: impl FnOnce(u64) -> WatchOpen) -> u64 {
        let mut state = lock(&self.state);
        state.last_watch += 1;
        let open = make(state.last_watch);
        let watch = open.watch;
        state.watches.insert(watch, (process, open.member.clone()));
        self.write(&mut state, process, Event::WatchOpen(open));
        watch
    }

    pub(super) fn watched(&self, watch: u64, header: Header, events: Vec<WatchEvent>) {
        let created = false;
        self.answer_watch(WatchAnswer {
            watch,
            header,
            created,
            canceled: None,
            compacted: 0,
            fragment: false,
            events,
        });
    }

    pub(super) fn answer_watch(&self, answer: WatchAnswer) {
        let mut state = lock(&self.state);
        if let Some((process, _)) = state.watches.get(&answer.watch) {
            let process = *process;
            self.write(&mut state, process, Event::WatchAnswer(answer));
        }
    }

    pub(super) fn end_watch(&self, watch: u64, error: Option<Failure>) {
        let mut state = lock(&self.state);
        if let Some((process, _)) = state.watches.remove(&watch) {
            self.write(&mut state, process, Event::WatchEnd { watch, error });
        }
    }

    /// Nobody who was connected to the member will hear any more.
    pub(super) fn crashed(&self, member: &str) {
        let failure =
            || Failure { code: "Unavailable".to_owned(), message: "the member has died".to_owned() };
        let (calls, watches) = {
            let state = lock(&self.state);
            let calls = state.open.iter().filter(|(_, invoke)| invoke.member == member);
            let watches = state.watches.iter().filter(|(_, (_, of))| of == member);
            let calls: Vec<(u32, Op)> = calls.map(|(process, call)| (*process, call.op.clone())).collect();
            (calls, watches.map(|(watch, _)| *watch).collect::<Vec<_>>())
        };
        for (process, op) in calls {
            let outcome = if writes(&op) { Outcome::Unknown(failure()) } else { Outcome::Refused(failure()) };
            self.finish(process, outcome);
        }
        for watch in watches {
            self.end_watch(watch, Some(failure()));
        }
    }

    /// What a member was seen to have done. It must not say something else later.
    pub(super) fn learn(&self, member: &str, revision: u64, changes: Vec<Change>) {
        let mut state = lock(&self.state);
        let log = state.logs.entry(member.to_owned()).or_default();
        if let Some(before) = log.insert(revision, changes.clone())
            && before != changes
        {
            let what =
                format!("{member} has told two things of revision {revision}: {before:?}, then {changes:?}");
            state.contradictions.push(what);
        }
    }

    pub(super) fn contradictions(&self) -> Vec<String> {
        lock(&self.state).contradictions.clone()
    }

    /// The revisions of a member that follow each other without a gap up to the last.
    pub(super) fn log(&self, member: &str) -> Vec<(u64, Vec<Change>)> {
        let state = lock(&self.state);
        let Some(log) = state.logs.get(member) else { return Vec::new() };
        let mut whole: Vec<(u64, Vec<Change>)> = Vec::new();
        for (revision, changes) in log.iter().rev() {
            if whole.last().is_some_and(|(after, _)| *after != revision + 1) {
                break;
            }
            whole.push((*revision, changes.clone()));
        }
        whole.reverse();
        whole
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.tell(Event::Fault(fault));
    }

    pub(super) fn tell(&self, event: Event) {
        self.tell_of(FAULTS, event);
    }

    pub(super) fn tell_of(&self, process: u32, event: Event) {
        self.write(&mut lock(&self.state), process, event);
    }
}

/// Whether it can change anything.
pub(super) fn writes(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::Delete(_) | Op::Compact { .. } | Op::Grant { .. } | Op::Revoke { .. } => true,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(writes),
        Op::Range(_) | Op::KeepAlive { .. } | Op::TimeToLive { .. } | Op::Status => false,
        Op::Lock { .. } | Op::Unlock { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Put, Range};

    fn invoke(member: &str, op: Op) -> Invoke {
        let request_id = writes(&op).then(|| "r-1".to_owned());
        Invoke { member: member.to_owned(), workload: "mixed".to_owned(), request_id, op }
    }

    fn put() -> Op {
        let (key, value) = ("k".to_owned(), "v".to_owned());
        Op::Put(Put { key, value, lease: 0, previous: false })
    }

    #[test]
    fn whoever_waited_for_a_member_that_died_knows_as_little_as_can_be() {
        let record = Record::new(|| 0);
        record.invoke(1, invoke("n1", put()));
        record.invoke(2, invoke("n1", Op::Range(Range::default())));
        record.invoke(3, invoke("n2", put()));
        record.crashed("n1");
        assert_eq!(record.counts(), Counts { ok: 0, refused: 1, unknown: 1 });
        assert_eq!(record.take_unresolved().map(|one| one.process), Some(1));
        let header = Header { cluster: 1, member: 2, revision: 7, term: 1 };
        record.finish(3, Outcome::Ok { header, answer: Answer::Put { previous: None } });
        assert_eq!((record.counts().ok, record.newest()), (1, 7));
        record.finish(3, Outcome::Ok { header, answer: Answer::Put { previous: None } });
        assert_eq!(record.counts().ok, 1, "a call returns once");
    }

    #[test]
    fn a_log_is_told_from_where_it_is_whole() {
        let record = Record::new(|| 0);
        for revision in [2, 3, 5, 6, 7] {
            record.learn("n1", revision, Vec::new());
        }
        assert_eq!(record.log("n1").iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [5, 6, 7]);
        assert!(record.log("n2").is_empty());
        record.learn("n1", 7, Vec::new());
        assert!(record.contradictions().is_empty());
        record.learn("n1", 7, vec![Change::Delete { key: "k".to_owned(), modified: 7 }]);
        assert_eq!(record.contradictions().len(), 1);
    }
}
