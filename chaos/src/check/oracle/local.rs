//! What a member tells without asking the others: old perhaps, but real, and never older than what it told before.
//!
//! A member that was started again may begin a little behind, until it hears the leader; so what it told before a fault
//! that may have ended its process is forgotten.

use std::collections::BTreeMap;

use crate::history::{Answer, Operation};
use crate::verdict::Finding;

use super::super::floors::Floors;
use super::super::tally::Tally;
use super::super::trouble::Trouble;
use super::super::{Input, Known};
use super::{Promise, name, not_yet, promise};

pub(super) const PROPERTIES: [&str; 2] = ["serializable-real", "serializable-monotonic"];

pub(super) fn check(input: &Input<'_>, known: &Known<'_>) -> Vec<Finding> {
    let [mut real, mut monotonic] = PROPERTIES.map(Tally::of);
    let trouble = Trouble::of(input.history);
    let reads: Vec<Read<'_>> =
        input.operations.iter().filter_map(|operation| Read::of(operation, &trouble)).collect();
    let floors = floors(&reads);
    for read in &reads {
        let wrong = not_yet(&known.claims, read.operation, read.revision);
        let beyond = !known.is_whole && read.revision > known.model.last();
        real.hold(beyond || wrong.is_none(), || {
            (format!("{} {}", name(read.operation), wrong.unwrap_or_default()), read.operation.lines())
        });
        let Some(life) = read.life else { continue };
        let floor = floors.get(&(read.operation.answered_by, life));
        let step = floor.and_then(|floor| floor.step_before(read.operation.invoked.line));
        let Some((told, before)) = step else { continue };
        monotonic.hold(read.revision >= before, || {
            let what = format!(
                "{} was answered at revision {}, after the same member had told {before}",
                name(read.operation),
                read.revision
            );
            (what, read.operation.lines().into_iter().chain([told]).collect())
        });
    }
    [real, monotonic].map(Tally::finish).to_vec()
}

/// A local answer.
struct Read<'i> {
    operation: &'i Operation<'i>,
    revision: u64,
    /// Which life of its member it belongs to; none while that may have been ending.
    life: Option<usize>,
}

impl<'i> Read<'i> {
    /// Of what reads keys or the status; other answers' headers are looked up after the fact.
    fn of(operation: &'i Operation<'i>, trouble: &Trouble<'_>) -> Option<Self> {
        let (header, answer) = operation.ok()?;
        let is_read = matches!(answer, Answer::Range { .. } | Answer::Txn { .. } | Answer::Status { .. });
        let returned = operation.returned?;
        (is_read && promise(operation.op) == Promise::Local).then(|| Self {
            operation,
            revision: header.revision,
            life: trouble.life(operation.answered_by, operation.invoked.at, returned.at),
        })
    }
}

fn floors<'i>(reads: &[Read<'i>]) -> BTreeMap<(&'i str, usize), Floors> {
    let mut told: BTreeMap<(&str, usize), Vec<(u64, u64)>> = BTreeMap::new();
    for read in reads {
        if let (Some(life), Some(returned)) = (read.life, read.operation.returned) {
            told.entry((read.operation.answered_by, life)).or_default().push((returned.line, read.revision));
        }
    }
    told.into_iter().map(|(member, told)| (member, Floors::from_told(told))).collect()
}
