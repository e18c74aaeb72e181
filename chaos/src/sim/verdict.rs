//! What a simulation shows beyond its history: that no task panicked, that a majority made progress, that all members
//! came to one state. The history itself is judged by the checkers.

use std::collections::BTreeMap;

use super::plan::Plan;
use super::record::writes;
use crate::history::{Event, Line, Outcome};
use crate::verdict::{Finding, Violation};

/// Reads that are asked of each member at the end.
const READS: usize = 4;
/// How a node may end whose disk fails.
const FATAL_SYNC: &str = "cannot write the Raft log";

/// How our own properties begin.
pub(super) const OWN: &str = "sim-";

/// What was seen beside the history.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) panicked: bool,
    /// The majority that was left alone, and the line of the history from which on it counts.
    pub(super) core: Vec<String>,
    pub(super) core_from_line: u64,
    pub(super) has_converged: bool,
    /// How the members were when they had not converged.
    pub(super) states: Vec<String>,
    pub(super) reads_answered: Vec<usize>,
    pub(super) have_told: bool,
    pub(super) contradictions: Vec<String>,
    /// Nodes that ended by themselves, and why.
    pub(super) ends: Vec<String>,
}

pub(super) fn judge(plan: &Plan, lines: &[Line], seen: &Seen) -> Vec<Finding> {
    let panicked = seen.panicked.then(|| "a task panicked; the reason is on stderr".to_owned());
    let mut findings = vec![finding("sim-no-panic", 1, panicked)];
    if seen.panicked {
        return findings;
    }
    let unexpected = seen.ends.iter().filter(|why| !why.contains(FATAL_SYNC)).cloned();
    findings.push(finding("sim-nodes-live", plan.nodes, unexpected));
    findings.push(progress(lines, seen));
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

/// A majority that is well answers writes, each of its members to its own clients.
fn progress(lines: &[Line], seen: &Seen) -> Finding {
    let mut done: BTreeMap<&str, u64> = seen.core.iter().map(|member| (member.as_str(), 0)).collect();
    let mut open = BTreeMap::new();
    for (line, number) in lines.iter().zip(0..) {
        match &line.event {
            Event::Invoke(invoke) => {
                open.insert(line.process, (invoke.member.as_str(), writes(&invoke.op)));
            }
            Event::Return { outcome: Outcome::Ok { .. } } if number >= seen.core_from_line => {
                if let Some((member, true)) = open.remove(&line.process)
                    && let Some(count) = done.get_mut(member)
                {
                    *count += 1;
                }
            }
            Event::Phase { name } if name == "healing" => break,
            _ => {}
        }
    }
    let stuck = done.iter().filter(|(_, count)| **count == 0);
    let stuck =
        stuck.map(|(member, _)| format!("{member}, of the majority that was well, finished no write"));
    finding("sim-progress", done.len() as u64, stuck.collect::<Vec<_>>())
}

fn finding(property: &str, checked: u64, wrong: impl IntoIterator<Item = String>) -> Finding {
    let violations = wrong.into_iter().map(|what| Violation { what, lines: Vec::new() }).collect();
    Finding { property: property.to_owned(), checked, violations, inconclusive: None }
}
