//! A second opinion on single keys: is there an order of the operations on each key, one that keeps to real time, in
//! which every answer is what a register would have said?
//!
//! It looks at values and at how often they were written, never at revisions. A long history of a key is cut where
//! nothing is under way; what the register holds at a cut is known if a lone operation before it tells. A cut can hide
//! a fault (an operation of unknown outcome that took effect on both sides of it), but never invents one.

mod calls;
mod hints;
mod register;
mod search;
#[cfg(test)]
mod tests;
mod windows;

pub use register::{Answered, Asked, Call, Guard, Register, Value, Write};
pub use search::{Judged, Stuck, search};

use self::calls::KeyCalls;
use self::windows::Window;
use super::Input;
use crate::history::{Is, Operation};
use crate::verdict::{Finding, Violation};

/// How far the search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A window ends at the first cut after so many calls.
    pub window_calls: usize,
    /// Of the search in one window. A step is some microseconds.
    pub steps_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window_calls: 5_000, steps_max: 2_000_000 }
    }
}

/// Work on keys that no lease takes away and that are not deleted: an unknown deletion may explain almost anything.
const WORKLOADS: [&str; 4] = ["register", "set", "append", "bank"];

/// `linearizable`, of a run that uses such keys.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    if WORKLOADS.iter().any(|workload| input.uses(workload)) {
        vec![check(&input.operations, &WORKLOADS, Limits::default())]
    } else {
        Vec::new()
    }
}

/// Judges the keys of these workloads, each for itself.
pub fn check(operations: &[Operation<'_>], workloads: &[&str], limits: Limits) -> Finding {
    let chosen: Vec<&Operation<'_>> =
        operations.iter().filter(|operation| workloads.contains(&operation.workload)).collect();
    let (keys, set_aside) = calls::by_key(&chosen);
    let mut finding = Finding {
        property: "linearizable".to_owned(),
        checked: 0,
        violations: Vec::new(),
        inconclusive: None,
    };
    let mut given_up = Vec::new();
    for (key, of_key) in &keys {
        let judged = judge(of_key, limits);
        finding.checked += judged.calls;
        finding
            .violations
            .extend(judged.stuck.map(|(window, stuck)| violation(key, of_key, &window, &stuck, &chosen)));
        given_up.extend((judged.given_up > 0).then_some(*key));
    }
    finding.inconclusive = (!given_up.is_empty()).then(|| {
        format!("the search gave up within its budget on {} keys: {}", given_up.len(), given_up.join(", "))
    });
    if keys.is_empty() && set_aside > 0 {
        finding.inconclusive = Some(format!("none of {set_aside} keys is used as a register"));
    }
    finding
}

/// What came of one key.
struct KeyJudged {
    /// How many calls were explained.
    calls: u64,
    /// The first window that nothing explains.
    stuck: Option<(Window, Stuck)>,
    given_up: usize,
}

fn judge(of_key: &KeyCalls, limits: Limits) -> KeyJudged {
    let mut judged = KeyJudged { calls: 0, stuck: None, given_up: 0 };
    for window in windows::cut(&of_key.calls, limits.window_calls) {
        let calls: Vec<Call> = window.calls.iter().map(|&call| of_key.calls[call].clone()).collect();
        match search(window.start, &calls, limits.steps_max).0 {
            Judged::Linearizable => judged.calls += calls.len() as u64,
            Judged::OutOfBudget => judged.given_up += 1,
            Judged::NotLinearizable(stuck) => {
                judged.calls += calls.len() as u64;
                judged.stuck = Some((window, stuck));
                return judged;
            }
        }
    }
    judged
}

/// Says how far an order goes, what the register holds there, and what does not fit.
fn violation(
    key: &str,
    of_key: &KeyCalls,
    window: &Window,
    stuck: &Stuck,
    operations: &[&Operation<'_>],
) -> Violation {
    let operation = |call: usize| operations[of_key.operations[window.calls[call]]];
    let next: Vec<String> = stuck
        .next
        .iter()
        .map(|&call| {
            format!("p{} {}", operation(call).process, told(of_key, &of_key.calls[window.calls[call]]))
        })
        .collect();
    let what = format!(
        "{key}: no order of its operations explains the answers: the longest takes {} of {} and leaves {}; of what was \
         then under way nothing fits: {}",
        stuck.order.len(),
        window.calls.len(),
        shown(of_key, stuck.register),
        next.join("; "),
    );
    let shown = stuck.order.last().into_iter().chain(&stuck.next);
    let mut lines: Vec<u64> = shown.flat_map(|&call| operation(call).lines()).collect();
    lines.sort_unstable();
    lines.dedup();
    Violation { what, lines }
}

fn shown(of_key: &KeyCalls, register: Register) -> String {
    let value = register.value.map_or("something", |value| of_key.values[value.0 as usize].as_str());
    match register.version {
        Some(0) | None => value.to_owned(),
        Some(version) => format!("{value} (version {version})"),
    }
}

/// The call in words.
fn told(of_key: &KeyCalls, call: &Call) -> String {
    let mut words = match (call.input.write, call.output.held) {
        (None, _) => "read".to_owned(),
        (Some(_), Some(false)) => "was refused by its guard".to_owned(),
        (Some(Write::Put(value)), _) => format!("put {}", of_key.values[value.0 as usize]),
        (Some(Write::Delete), _) => "deleted".to_owned(),
    };
    for (side, register) in [("before", call.output.before), ("after", call.output.after)] {
        if register != Register::ANY {
            words += &format!(" and saw {} {side}", shown(of_key, register));
        }
    }
    let guards: Vec<String> = call.input.guards.iter().map(|guard| guard_shown(of_key, *guard)).collect();
    if guards.is_empty() { words } else { format!("{words} if {}", guards.join(" and ")) }
}

fn guard_shown(of_key: &KeyCalls, guard: Guard) -> String {
    let (subject, is, object) = match guard {
        Guard::Value(is, value) => ("it", is, of_key.values[value.0 as usize].clone()),
        Guard::Version(is, version) => ("its version", is, version.to_string()),
    };
    let is = match is {
        Is::Equal => "is",
        Is::NotEqual => "is not",
        Is::Less => "is less than",
        Is::Greater => "is more than",
    };
    format!("{subject} {is} {object}")
}
