//! A history seen by what happened instead of by lines: operations, watches, faults, phases, and the members' logs.
//!
//! Everything borrows from the history. Attempts under one request id are one operation.

use std::collections::BTreeMap;

use super::{
    Change, Event, Failure, Fault, Header, History, Invoke, Op, Outcome, Step, WatchAnswer, WatchOpen,
};

/// When and where something stands in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Nanoseconds since the run began.
    pub at: u64,
    pub line: u64,
}

/// In the order of their invocation.
pub type Operations<'a> = Vec<Operation<'a>>;

/// What one client wanted once, however often it asked.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// Of the first attempt, as are member and workload.
    pub process: u32,
    pub member: &'a str,
    pub workload: &'a str,
    pub request_id: Option<&'a str>,
    pub op: &'a Op,
    pub invoked: Place,
    /// When the outcome was seen. A call that never returned has none, and is `Unknown`.
    pub returned: Option<Place>,
    pub outcome: &'a Outcome,
    /// Who gave the outcome, if another than the first that was asked.
    pub answered_by: &'a str,
    /// Further `Ok`s of the same request id. They must say what the first said.
    pub repeats: Vec<(Place, &'a Outcome)>,
}

/// Of a call that was never heard of again.
const NEVER_RETURNED: &Outcome = &Outcome::Unknown(Failure { code: String::new(), message: String::new() });

impl<'a> Operation<'a> {
    fn new(process: u32, invoke: &'a Invoke, invoked: Place) -> Self {
        Self {
            process,
            member: &invoke.member,
            workload: &invoke.workload,
            request_id: invoke.request_id.as_deref(),
            op: &invoke.op,
            invoked,
            returned: None,
            outcome: NEVER_RETURNED,
            answered_by: &invoke.member,
            repeats: Vec::new(),
        }
    }

    /// The header and the answer, if it went well.
    pub fn ok(&self) -> Option<(&'a Header, &'a super::Answer)> {
        match self.outcome {
            Outcome::Ok { header, answer } => Some((header, answer)),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// The time by which it had happened, if it did: never, for one of unknown outcome.
    pub fn ended_at(&self) -> u64 {
        match (self.outcome, self.returned) {
            (Outcome::Ok { .. } | Outcome::Refused(_), Some(place)) => place.at,
            (Outcome::Unknown(_), _) | (_, None) => u64::MAX,
        }
    }

    /// The lines that show it.
    pub fn lines(&self) -> Vec<u64> {
        std::iter::once(self.invoked.line).chain(self.returned.map(|place| place.line)).collect()
    }
}

/// An operation of which further attempts may follow.
struct Asked<'a> {
    operation: Operation<'a>,
    /// Attempts that may have done it, or may still: open ones, and those of unknown outcome.
    uncertain: u32,
}

impl<'a> Asked<'a> {
    fn again(&mut self) {
        self.uncertain += 1;
        if let Outcome::Refused(_) = self.operation.outcome {
            (self.operation.outcome, self.operation.returned) = (NEVER_RETURNED, None);
        }
    }

    /// One attempt ended. `Ok` is final; `Refused` speaks of its own attempt only.
    fn returned(&mut self, member: &'a str, place: Place, outcome: &'a Outcome) {
        self.uncertain -= u32::from(!matches!(outcome, Outcome::Unknown(_)));
        let operation = &mut self.operation;
        match (operation.outcome, outcome) {
            (Outcome::Ok { .. }, Outcome::Ok { .. }) => operation.repeats.push((place, outcome)),
            (Outcome::Ok { .. }, _) => {}
            (_, Outcome::Refused(_)) if self.uncertain > 0 => {}
            (Outcome::Unknown(_) | Outcome::Refused(_), _) => {
                (operation.outcome, operation.returned, operation.answered_by) =
                    (outcome, Some(place), member);
            }
        }
    }
}

/// One stream's life. A stream that was opened anew is another watch.
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    pub open: &'a WatchOpen,
    pub opened: Place,
    pub answers: Vec<(Place, &'a WatchAnswer)>,
    /// How it ended: by an error, or by the client's will. None: it was open to the end of the history.
    pub end: Option<(Place, Option<&'a Failure>)>,
}

/// One fault's life.
#[derive(Clone, Debug)]
pub struct FaultCourse<'a> {
    /// Number, kind and target, as in the first step.
    pub fault: &'a Fault,
    pub steps: Vec<(Place, &'a Step)>,
}

impl FaultCourse<'_> {
    /// When it was seen to have happened.
    pub fn installed(&self) -> Option<Place> {
        self.steps.iter().find(|(_, step)| matches!(step, Step::Installed { .. })).map(|(place, _)| *place)
    }

    /// When it was seen to be over.
    pub fn healed(&self) -> Option<Place> {
        self.steps.iter().find(|(_, step)| matches!(step, Step::Healed { .. })).map(|(place, _)| *place)
    }
}

/// A part of the run, up to the next.
#[derive(Clone, Debug)]
pub struct Phase<'a> {
    pub name: &'a str,
    pub from: Place,
    /// The end of the history, for the last.
    pub until: Place,
}

/// One revision, as a member has it.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry<'a> {
    pub revision: u64,
    pub changes: &'a [Change],
    pub place: Place,
}

/// A member's hash over everything up to a revision.
#[derive(Clone, Copy, Debug)]
pub struct HashEntry<'a> {
    pub member: &'a str,
    pub revision: u64,
    pub compacted: u64,
    pub hash: u64,
    pub place: Place,
}

impl History {
    pub(super) fn events(&self) -> impl Iterator<Item = (Place, u32, &Event)> {
        self.lines()
            .iter()
            .zip(0..)
            .map(|(line, number)| (Place { at: line.at, line: number }, line.process, &line.event))
    }

    /// The end of what was seen.
    pub fn last(&self) -> Place {
        self.events().last().map_or(Place { at: 0, line: 0 }, |(place, _, _)| place)
    }

    /// Every operation, attempts under one request id merged.
    pub fn operations(&self) -> Operations<'_> {
        let mut asked: Vec<Asked<'_>> = Vec::new();
        let mut by_request: BTreeMap<&str, usize> = BTreeMap::new();
        let mut open: BTreeMap<u32, (usize, &str)> = BTreeMap::new();
        for (place, process, event) in self.events() {
            match event {
                Event::Invoke(invoke) => {
                    let next = asked.len();
                    let request = invoke.request_id.as_deref();
                    let index = request.map_or(next, |request| *by_request.entry(request).or_insert(next));
                    if index == next {
                        let operation = Operation::new(process, invoke, place);
                        asked.push(Asked { operation, uncertain: 0 });
                    }
                    asked[index].again();
                    open.insert(process, (index, &invoke.member));
                }
                Event::Return { outcome } => {
                    if let Some((index, member)) = open.remove(&process) {
                        asked[index].returned(member, place, outcome);
                    }
                }
                _ => {}
            }
        }
        asked.into_iter().map(|asked| asked.operation).collect()
    }

    /// Every watch, in the order in which they were opened.
    pub fn watches(&self) -> Vec<Watch<'_>> {
        let mut watches: Vec<Watch<'_>> = Vec::new();
        let mut by_number: BTreeMap<u64, usize> = BTreeMap::new();
        for (place, _, event) in self.events() {
            match event {
                Event::WatchOpen(open) => {
                    by_number.insert(open.watch, watches.len());
                    watches.push(Watch { open, opened: place, answers: Vec::new(), end: None });
                }
                Event::WatchAnswer(answer) => watches[by_number[&answer.watch]].answers.push((place, answer)),
                Event::WatchEnd { watch, error } => {
                    watches[by_number[watch]].end = Some((place, error.as_ref()));
                }
                _ => {}
            }
        }
        watches
    }

    /// Every fault, in the order of their first steps.
    pub fn faults(&self) -> Vec<FaultCourse<'_>> {
        let mut courses: Vec<FaultCourse<'_>> = Vec::new();
        let mut by_number: BTreeMap<u64, usize> = BTreeMap::new();
        for (place, _, event) in self.events() {
            let Event::Fault(fault) = event else { continue };
            let index = *by_number.entry(fault.fault).or_insert(courses.len());
            if index == courses.len() {
                courses.push(FaultCourse { fault, steps: Vec::new() });
            }
            courses[index].steps.push((place, &fault.step));
        }
        courses
    }

    /// The run's parts, in order.
    pub fn phases(&self) -> Vec<Phase<'_>> {
        let last = self.last();
        let mut phases: Vec<Phase<'_>> = Vec::new();
        for (place, _, event) in self.events() {
            let Event::Phase { name } = event else { continue };
            if let Some(before) = phases.last_mut() {
                before.until = place;
            }
            phases.push(Phase { name, from: place, until: last });
        }
        phases
    }

    /// Each member's log, as told after the run.
    pub fn logs(&self) -> BTreeMap<&str, Vec<LogEntry<'_>>> {
        let mut logs: BTreeMap<&str, Vec<LogEntry<'_>>> = BTreeMap::new();
        for (place, _, event) in self.events() {
            if let Event::Revision { member, revision, changes } = event {
                let entry = LogEntry { revision: *revision, changes, place };
                logs.entry(member).or_default().push(entry);
            }
        }
        logs
    }

    /// The members' hashes, as told after the run.
    pub fn hashes(&self) -> Vec<HashEntry<'_>> {
        let mut hashes = Vec::new();
        for (place, _, event) in self.events() {
            if let Event::Hash { member, revision, compacted, hash } = event {
                let (revision, compacted, hash) = (*revision, *compacted, *hash);
                hashes.push(HashEntry { member, revision, compacted, hash, place });
            }
        }
        hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, get, put};

    /// How one operation ends whose attempts return so, each after the one before: o(k), r(efused), u(nknown),
    /// n(ever).
    fn outcome_of(attempts: &str) -> String {
        let mut script = Script::begin();
        for (process, how) in (1..).zip(attempts.chars()) {
            script.call_as(process, "r-1", put("a", "1"));
            match how {
                'o' => script.ok(process),
                'r' => script.refused(process, "Unavailable", "no leader"),
                'u' => script.unknown(process),
                _ => {}
            }
        }
        let history = script.history();
        let operations = history.operations();
        assert_eq!(operations.len(), 1);
        let operation = &operations[0];
        assert_eq!((operation.process, operation.invoked.line), (1, 1));
        let name = match operation.outcome {
            Outcome::Ok { .. } => "ok",
            Outcome::Refused(_) => "refused",
            Outcome::Unknown(_) => "unknown",
        };
        let returned = operation.returned.map_or("never".to_owned(), |place| place.line.to_string());
        format!("{name} at {returned}, repeats {}", operation.repeats.len())
    }

    #[test]
    fn attempts_under_one_request_id_are_one_operation() {
        assert_eq!(outcome_of("o"), "ok at 2, repeats 0");
        assert_eq!(outcome_of("n"), "unknown at never, repeats 0");
        assert_eq!(outcome_of("u"), "unknown at 2, repeats 0");
        assert_eq!(outcome_of("uo"), "ok at 4, repeats 0");
        assert_eq!(outcome_of("ro"), "ok at 4, repeats 0");
        assert_eq!(outcome_of("rr"), "refused at 4, repeats 0");
        assert_eq!(outcome_of("ur"), "unknown at 2, repeats 0");
        assert_eq!(outcome_of("nr"), "unknown at never, repeats 0");
        assert_eq!(outcome_of("rn"), "unknown at never, repeats 0");
        assert_eq!(outcome_of("oo"), "ok at 2, repeats 1");
        assert_eq!(outcome_of("uruo"), "ok at 8, repeats 0");
    }

    #[test]
    fn a_watch_has_its_answers_and_its_end() {
        let mut script = Script::begin();
        script.run(1, put("a", "1"));
        let watch = script.watch("a", 0);
        script.run(1, put("a", "2"));
        script.watch_end(watch);
        let history = script.history();
        let watches = history.watches();
        assert_eq!(watches.len(), 1);
        assert!(watches[0].answers.is_empty());
        assert_eq!(watches[0].end.map(|(place, error)| (place.line, error.is_none())), Some((6, true)));
    }

    #[test]
    fn phases_follow_each_other_to_the_end() {
        let mut script = Script::begin();
        script.phase("safety");
        script.run(1, get("a"));
        script.phase("final");
        script.run(1, get("a"));
        let history = script.history();
        let phases: Vec<_> =
            history.phases().iter().map(|phase| (phase.name, phase.from.line, phase.until.line)).collect();
        assert_eq!(phases, [("safety", 1, 4), ("final", 4, 6)]);
    }
}
