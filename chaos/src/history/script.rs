//! Histories for tests, told in a few words: an honest store answers, and a test then bends what it wants to be wrong.
//!
//! Every event is a millisecond after the one before. Call, `apply` (or `ok`, which applies) and return may stand apart,
//! with others between them; what was applied and never returned is an operation of unknown outcome that happened.

use std::collections::BTreeMap;

use super::serial::Serial;
use super::{
    Answer, Begin, Change, Compare, Delete, Event, Failure, Fault, Header, History, Invoke, Is, Kv, Line, Op,
    Outcome, Put, Range, Step, Target, Txn, WatchAnswer, WatchEvent, WatchOpen,
};

pub const CLUSTER: u64 = 77;
const MEMBERS: [&str; 3] = ["n1", "n2", "n3"];

pub fn begin() -> Event {
    Event::Begin(Begin {
        scenario: "by-hand".to_owned(),
        seed: 1,
        system: "navarch".to_owned(),
        version: "0".to_owned(),
        members: MEMBERS.map(str::to_owned).to_vec(),
        revision: 1,
        has_request_ids: true,
        command: "none".to_owned(),
    })
}

pub fn put(key: &str, value: &str) -> Op {
    Op::Put(Put { key: key.to_owned(), value: value.to_owned(), lease: 0, previous: false })
}

pub fn put_leased(key: &str, value: &str, lease: i64) -> Op {
    Op::Put(Put { key: key.to_owned(), value: value.to_owned(), lease, previous: false })
}

pub fn get(key: &str) -> Op {
    Op::Range(Range { key: key.to_owned(), ..Range::default() })
}

pub fn span(key: &str, end: &str) -> Range {
    Range { key: key.to_owned(), end: Some(end.to_owned()), ..Range::default() }
}

pub fn delete(key: &str) -> Op {
    Op::Delete(Delete { key: key.to_owned(), end: None, previous: false })
}

pub fn txn(compare: Vec<Compare>, then: Vec<Op>, otherwise: Vec<Op>) -> Op {
    Op::Txn(Txn { compare, then, otherwise })
}

pub fn equal(key: &str, target: Target) -> Compare {
    Compare { key: key.to_owned(), is: Is::Equal, target }
}

/// A history in the making.
#[derive(Clone)]
pub struct Script {
    pub lines: Vec<Line>,
    pub store: Serial,
    /// By revision, the line of the call that made it.
    pub makers: BTreeMap<u64, usize>,
    waiting: BTreeMap<u32, Waiting>,
    watches: u64,
    pub workload: String,
    /// Who is asked next.
    pub member: String,
}

#[derive(Clone)]
struct Waiting {
    member: String,
    op: Op,
    invoked: usize,
    /// What came of it, once it was applied.
    outcome: Option<Outcome>,
}

impl Script {
    pub fn begin() -> Self {
        let mut script = Self {
            lines: Vec::new(),
            store: Serial::empty(),
            makers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            watches: 0,
            workload: "by-hand".to_owned(),
            member: "n1".to_owned(),
        };
        script.event(0, begin());
        script
    }

    /// Any line; its number.
    pub fn event(&mut self, process: u32, event: Event) -> usize {
        let at = self.lines.last().map_or(0, |line| line.at) + 1_000_000;
        self.lines.push(Line { at, process, event });
        self.lines.len() - 1
    }

    /// Lets time pass.
    pub fn wait_ms(&mut self, ms: u64) {
        let at = self.lines.last().map_or(0, |line| line.at) + ms * 1_000_000;
        let text = format!("{ms} ms passed");
        self.lines.push(Line { at, process: 0, event: Event::Note { text } });
    }

    pub fn call(&mut self, process: u32, op: Op) -> usize {
        self.invoke(process, None, op)
    }

    pub fn call_as(&mut self, process: u32, request_id: &str, op: Op) -> usize {
        self.invoke(process, Some(request_id.to_owned()), op)
    }

    fn invoke(&mut self, process: u32, request_id: Option<String>, op: Op) -> usize {
        let (member, workload) = (self.member.clone(), self.workload.clone());
        let invoke = Invoke { member: member.clone(), workload, request_id, op: op.clone() };
        let invoked = self.event(process, Event::Invoke(invoke));
        self.waiting.insert(process, Waiting { member, op, invoked, outcome: None });
        invoked
    }

    /// What the process waits for happens now.
    pub fn apply(&mut self, process: u32) {
        let waiting = self.waiting.get_mut(&process).expect("it called");
        let index = MEMBERS.iter().position(|name| *name == waiting.member).expect("a member") as u64;
        let before = self.store.revision;
        let answer = self.store.apply(&waiting.op);
        if self.store.revision > before {
            self.makers.insert(self.store.revision, waiting.invoked);
        }
        let header = Header { cluster: CLUSTER, member: index + 1, revision: self.store.revision, term: 1 };
        waiting.outcome = Some(match answer {
            Ok(answer) => Outcome::Ok { header, answer },
            Err(failure) => Outcome::Refused(failure),
        });
    }

    /// Returns what came of it, applying it if that has not been done. Returns the line.
    pub fn answer(&mut self, process: u32) -> usize {
        if self.waiting[&process].outcome.is_none() {
            self.apply(process);
        }
        let waiting = self.waiting.remove(&process).expect("it called");
        self.event(process, Event::Return { outcome: waiting.outcome.expect("applied") })
    }

    pub fn ok(&mut self, process: u32) {
        self.answer(process);
    }

    pub fn refused(&mut self, process: u32, code: &str, message: &str) {
        self.waiting.remove(&process);
        let failure = Failure { code: code.to_owned(), message: message.to_owned() };
        self.event(process, Event::Return { outcome: Outcome::Refused(failure) });
    }

    pub fn unknown(&mut self, process: u32) {
        self.waiting.remove(&process);
        let failure = Failure { code: "Timeout".to_owned(), message: String::new() };
        self.event(process, Event::Return { outcome: Outcome::Unknown(failure) });
    }

    /// Calls, applies and returns; the line of the return.
    pub fn run(&mut self, process: u32, op: Op) -> usize {
        self.call(process, op);
        self.answer(process)
    }

    pub fn fault(&mut self, number: u64, kind: &str, target: &str, step: Step) {
        let (kind, target) = (kind.to_owned(), vec![target.to_owned()]);
        self.event(0, Event::Fault(Fault { fault: number, kind, target, step }));
    }

    pub fn phase(&mut self, name: &str) {
        self.event(0, Event::Phase { name: name.to_owned() });
    }

    /// Opens a watch of one key with everything that can be asked for; its number. Its process is 1000 and that.
    pub fn watch(&mut self, key: &str, start: u64) -> u64 {
        self.watch_with(key, start, |_| {})
    }

    pub fn watch_with(&mut self, key: &str, start: u64, bend: impl FnOnce(&mut WatchOpen)) -> u64 {
        self.watches += 1;
        let mut open = WatchOpen {
            watch: self.watches,
            member: self.member.clone(),
            key: key.to_owned(),
            end: None,
            start,
            previous: false,
            progress: false,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        bend(&mut open);
        self.event(1000 + self.watches as u32, Event::WatchOpen(open));
        self.watches
    }

    /// An answer with the events given, its header at the newest revision; its line.
    pub fn watch_answer(&mut self, watch: u64, events: Vec<WatchEvent>) -> usize {
        let header = Header { cluster: CLUSTER, member: 1, revision: self.store.revision, term: 1 };
        let answer = WatchAnswer {
            watch,
            header,
            created: false,
            canceled: None,
            compacted: 0,
            fragment: false,
            events,
        };
        self.event(1000 + watch as u32, Event::WatchAnswer(answer))
    }

    /// The first answer.
    pub fn watch_created(&mut self, watch: u64) -> usize {
        let line = self.watch_answer(watch, Vec::new());
        let Event::WatchAnswer(answer) = &mut self.lines[line].event else { unreachable!("just made") };
        answer.created = true;
        line
    }

    pub fn watch_end(&mut self, watch: u64) {
        self.event(1000 + watch as u32, Event::WatchEnd { watch, error: None });
    }

    /// How it was opened.
    pub fn opened(&self, watch: u64) -> &WatchOpen {
        let opened = self.lines.iter().find_map(|line| match &line.event {
            Event::WatchOpen(open) if open.watch == watch => Some(open),
            _ => None,
        });
        opened.expect("it was opened")
    }

    /// What a watch of `key` sees of the revisions given.
    pub fn events_of(&self, key: &str, revisions: std::ops::RangeInclusive<u64>) -> Vec<WatchEvent> {
        let log = self.store.log.iter().filter(|(revision, _)| revisions.contains(revision));
        let changes = log.flat_map(|(_, changes)| changes).filter(|change| match change {
            Change::Put { kv } => kv.key == key,
            Change::Delete { key: deleted, .. } => deleted == key,
        });
        changes.map(|change| WatchEvent { change: change.clone(), previous: None }).collect()
    }

    /// Every member tells its log, as at the end of a run.
    pub fn logs(&mut self) {
        for member in MEMBERS {
            self.log_of(member);
        }
    }

    pub fn log_of(&mut self, member: &str) {
        for (revision, changes) in self.store.log.clone() {
            self.event(0, Event::Revision { member: member.to_owned(), revision, changes });
        }
    }

    /// As if that line had never been; later ones move up.
    pub fn drop_line(&mut self, number: usize) {
        self.lines.remove(number);
    }

    /// The line of that number, to be bent.
    pub fn line(&mut self, number: usize) -> &mut Line {
        &mut self.lines[number]
    }

    /// What was answered in that line, to be bent.
    pub fn outcome(&mut self, line: usize) -> (&mut Header, &mut Answer) {
        match &mut self.lines[line].event {
            Event::Return { outcome: Outcome::Ok { header, answer } } => (header, answer),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// The pairs that a range in that line was answered with, to be bent.
    pub fn kvs(&mut self, line: usize) -> &mut Vec<Kv> {
        match self.outcome(line) {
            (_, Answer::Range { kvs, .. }) => kvs,
            (_, other) => panic!("no range: {other:?}"),
        }
    }

    /// What a member told of a revision, to be bent; after [`Script::logs`].
    pub fn told(&mut self, teller: &str, of: u64) -> &mut Vec<Change> {
        let told = self.lines.iter_mut().find_map(|line| match &mut line.event {
            Event::Revision { member, revision, changes } if member == teller && *revision == of => {
                Some(changes)
            }
            _ => None,
        });
        told.expect("it was told")
    }

    /// Takes out what a member told of a revision.
    pub fn forget(&mut self, teller: &str, of: u64) {
        self.lines.retain(|line| {
            !matches!(&line.event, Event::Revision { member, revision, .. } if member == teller && *revision == of)
        });
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines.clone()
    }

    pub fn history(&self) -> History {
        History::new(self.lines()).expect("a script fits together")
    }
}
