//! What a simulation shows beyond its history: that no task panicked, that a majority made progress, that all members
//! came to one state. The history itself is judged by the checkers.

use std::collections::BTreeMap;

use super::faults::REMOVED;
use super::plan::{Kind, Plan};
use super::record::writes;
use crate::history::{Event, Line, Op, Outcome};
use crate::verdict::{Finding, Violation};

/// Reads that are asked of each member at the end.
const READS: usize = 4;
/// Why a node may end whose disk fails.
const DISK_FAILS: &str = "the simulated disk fails";
/// Why a node may end whose rows rot: it gets them from another when it starts again.
const ROTTEN: &str = "its checksum does not hold";

/// What a write is told while a disk is full.
const NO_ROOM: &str = "ResourceExhausted";

/// How our own properties begin.
pub(super) const OWN: &str = "sim-";

/// What was seen beside the history.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) panicked: bool,
    /// What API servers said of requests that panicked.
    pub(super) request_panics: Vec<String>,
    /// What the control plane had not brought about in time.
    pub(super) lacking: Vec<String>,
    /// The majority that was left alone, and the line of the history from which on it counts.
    pub(super) core: Vec<String>,
    pub(super) core_from_line: u64,
    /// Those of it that were within a leader's reach for most of the time.
    pub(super) served: Vec<String>,
    /// How many leaders were elected, and those of them that cannot have been.
    pub(super) leaders: u64,
    pub(super) usurpers: Vec<String>,
    pub(super) has_converged: bool,
    /// How the members were when they had not converged.
    pub(super) states: Vec<String>,
    pub(super) reads_answered: Vec<usize>,
    pub(super) have_told: bool,
    /// A founder whose data were damaged was not given a place again, though all was well.
    pub(super) is_homeless: bool,
    /// A spare stayed a member, though every founder was well and asked to remove it.
    pub(super) is_crowded: bool,
    pub(super) contradictions: Vec<String>,
    /// Nodes that ended by themselves, and why.
    pub(super) ends: Vec<(String, String)>,
}

pub(super) fn judge(plan: &Plan, lines: &[Line], seen: &Seen) -> Vec<Finding> {
    let panicked = seen.panicked.then(|| "a task panicked; the reason is on stderr".to_owned());
    let panics = panicked.into_iter().chain(seen.request_panics.iter().cloned());
    let mut findings = vec![finding("sim-no-panic", 1, panics)];
    if seen.panicked {
        return findings;
    }
    let spares = plan.spares();
    let is_expected = |(name, why): &(String, String)| {
        why.contains(DISK_FAILS)
            || why.contains(ROTTEN) && plan.faults.contains(&Kind::Rot)
            || why.contains(REMOVED) && spares.contains(name)
    };
    let unexpected =
        seen.ends.iter().filter(|end| !is_expected(end)).map(|(name, why)| format!("{name}: {why}"));
    findings.push(finding("sim-nodes-live", plan.nodes, unexpected));
    let crowded = seen.is_crowded.then(|| "a spare could not be removed".to_owned());
    let homeless = seen.is_homeless.then(|| "a founder has no place".to_owned());
    findings.push(finding("sim-members", 2, crowded.into_iter().chain(homeless)));
    findings.push(progress(lines, seen));
    findings.push(finding("sim-leader-order", seen.leaders, seen.usurpers.iter().cloned()));
    if plan.has_control_plane {
        findings.push(finding("sim-settled", 1, seen.lacking.iter().cloned()));
    }
    let apart = (!seen.has_converged).then(|| seen.states.join("; "));
    findings.push(finding("sim-converges", plan.nodes, apart));
    let unread = seen.reads_answered.iter().zip(1..).filter(|(answered, _)| **answered < READS);
    let unread =
        unread.map(|(answered, member)| format!("n{member} answered {answered} of {READS} last reads"));
    findings.push(finding("sim-readable-at-the-end", plan.nodes, unread));
    let untold = (!seen.have_told).then(|| "a member did not tell all that it has".to_owned());
    findings.push(finding("sim-told", 1, untold));
    findings.push(finding("sim-one-past", plan.nodes, seen.contradictions.iter().cloned()));
    findings
}

/// What a member of the core did for its clients while it was left alone.
#[derive(Default)]
struct Done {
    writes: u64,
    /// That are as new as the newest write.
    reads: u64,
    /// Writes that were refused because a disk is full.
    without_room: u64,
}

impl Done {
    /// Without room, reads are all that anybody can ask for.
    fn is_progress(&self) -> bool {
        self.writes > 0 || self.without_room > 0 && self.reads > 0
    }
}

/// A majority that is well serves somebody, and each of its members that a leader serves serves its own clients.
fn progress(lines: &[Line], seen: &Seen) -> Finding {
    let done = done(lines, seen);
    let idle = |member: &&String| !done.get(member.as_str()).is_some_and(Done::is_progress);
    let served = seen.served.iter().filter(idle);
    let mut stuck: Vec<String> =
        served.map(|member| format!("{member} was served by a leader and finished no write")).collect();
    if stuck.is_empty() && seen.core.iter().all(|member| idle(&member)) {
        stuck.push(format!("nobody of a majority that was well finished a write: {:?}", seen.core));
    }
    finding("sim-progress", 1 + seen.served.len() as u64, stuck)
}

fn done<'l>(lines: &'l [Line], seen: &Seen) -> BTreeMap<&'l str, Done> {
    let mut done: BTreeMap<&str, Done> = BTreeMap::new();
    let mut open = BTreeMap::new();
    for (line, number) in lines.iter().zip(0..) {
        match &line.event {
            Event::Invoke(invoke) => {
                open.insert(line.process, invoke);
            }
            Event::Return { outcome } => {
                let Some(invoke) = open.remove(&line.process).filter(|_| number >= seen.core_from_line)
                else {
                    continue;
                };
                let of_member = done.entry(&invoke.member).or_default();
                match (outcome, &invoke.op) {
                    (Outcome::Ok { .. }, op) if writes(op) => of_member.writes += 1,
                    (Outcome::Ok { .. }, Op::Range(range)) if !range.serializable && range.revision == 0 => {
                        of_member.reads += 1;
                    }
                    (Outcome::Refused(failure), _) if failure.code == NO_ROOM => of_member.without_room += 1,
                    _ => {}
                }
            }
            Event::Phase { name } if name == "healing" => break,
            _ => {}
        }
    }
    done
}

fn finding(property: &str, checked: u64, wrong: impl IntoIterator<Item = String>) -> Finding {
    let violations = wrong.into_iter().map(|what| Violation { what, lines: Vec::new() }).collect();
    Finding { property: property.to_owned(), checked, violations, inconclusive: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Failure, Header, Invoke, Put, Range};
    use crate::verdict::Verdict;

    fn call(lines: &mut Vec<Line>, member: &str, op: Op, outcome: Outcome) {
        let invoke = Invoke { member: member.to_owned(), workload: String::new(), request_id: None, op };
        lines.push(Line { at: 0, process: 1, event: Event::Invoke(invoke) });
        lines.push(Line { at: 0, process: 1, event: Event::Return { outcome } });
    }

    fn write(lines: &mut Vec<Line>, member: &str, outcome: Outcome) {
        let put = Put { key: "k".to_owned(), value: "v".to_owned(), lease: 0, previous: false };
        call(lines, member, Op::Put(put), outcome);
    }

    fn done() -> Outcome {
        let header = Header { cluster: 1, member: 1, revision: 2, term: 1 };
        Outcome::Ok { header, answer: Answer::Put { previous: None } }
    }

    fn refused(code: &str) -> Outcome {
        Outcome::Refused(Failure { code: code.to_owned(), message: String::new() })
    }

    fn seen(core_from_line: u64, served: &[&str]) -> Seen {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Seen { core: names(&["n1", "n2"]), served: names(served), core_from_line, ..Seen::default() }
    }

    fn stuck(lines: &[Line], seen: &Seen) -> usize {
        progress(lines, seen).violations.len()
    }

    #[test]
    fn what_a_control_plane_leaves_undone_is_told() {
        let plan = Plan { has_control_plane: true, ..Plan::of(1) };
        let verdict_of = |seen: &Seen, property: &str| {
            let findings = judge(&plan, &[], seen);
            let found = findings.iter().find(|finding| finding.property == property);
            found.map(Finding::verdict)
        };
        let seen = Seen { lacking: vec!["x".to_owned()], ..Seen::default() };
        assert_eq!(verdict_of(&seen, "sim-settled"), Some(Verdict::Fail));
        assert_eq!(verdict_of(&Seen::default(), "sim-settled"), Some(Verdict::Pass));
        let seen = Seen { request_panics: vec!["a request panicked".to_owned()], ..Seen::default() };
        assert_eq!(verdict_of(&seen, "sim-no-panic"), Some(Verdict::Fail));
    }

    #[test]
    fn whom_a_leader_serves_must_finish_a_write() {
        let mut lines = Vec::new();
        write(&mut lines, "n1", done());
        write(&mut lines, "n2", refused("Unavailable"));
        assert_eq!(stuck(&lines, &seen(0, &["n1", "n2"])), 1);
        assert_eq!(
            stuck(&lines, &seen(0, &["n1"])),
            0,
            "n2 is cut off from a leader that keeps its majority"
        );
        assert_eq!(
            stuck(&lines, &seen(2, &[])),
            1,
            "nobody is served: what was finished before does not count"
        );
        lines.push(Line { at: 0, process: 0, event: Event::Phase { name: "healing".to_owned() } });
        write(&mut lines, "n2", done());
        assert_eq!(
            stuck(&lines, &seen(0, &["n2"])),
            1,
            "what is finished after it was healed does not count"
        );
    }

    #[test]
    fn without_room_reads_are_progress() {
        let mut lines = Vec::new();
        write(&mut lines, "n1", refused(NO_ROOM));
        assert_eq!(stuck(&lines, &seen(0, &["n1"])), 1);
        call(&mut lines, "n1", Op::Range(Range { serializable: true, ..Range::default() }), done());
        assert_eq!(stuck(&lines, &seen(0, &["n1"])), 1, "a member's own state is no progress");
        call(&mut lines, "n1", Op::Range(Range::default()), done());
        assert_eq!(stuck(&lines, &seen(0, &["n1"])), 0);
    }
}
