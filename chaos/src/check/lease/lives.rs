//! What clients know of each lease: how it was kept alive, given back, and found gone.

use std::collections::BTreeMap;

use crate::history::{Answer, Op, Operation, Outcome, Place};

const SECOND: u64 = 1_000_000_000;

/// One lease, by its clients' calls, in the order of their invocation.
#[derive(Default)]
pub(in crate::check) struct Life<'a> {
    /// The grant, and every keep-alive that found it alive.
    pub(in crate::check) renewals: Vec<Renewal>,
    /// It may have been renewed, nobody knows when.
    pub(in crate::check) unsure: bool,
    /// Puts on it that were answered: invocation and return.
    pub(in crate::check) puts: Vec<[Place; 2]>,
    /// All but the refused.
    pub(in crate::check) revokes: Vec<&'a Operation<'a>>,
    /// Keep-alives that found it gone, each with the return.
    pub(in crate::check) found_gone: Vec<(Place, Place)>,
    /// More than once: an id was used again, and nothing can be said.
    pub(in crate::check) grants: u64,
}

/// At some time between invocation and return, its time began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) struct Renewal {
    pub(in crate::check) invoked: Place,
    pub(in crate::check) returned: Place,
    /// Nanoseconds.
    pub(in crate::check) ttl: u64,
}

impl Renewal {
    /// Up to here it lives for sure.
    pub(in crate::check) const fn lives_until(&self) -> u64 {
        self.invoked.at + self.ttl
    }

    /// From here on its time is over.
    pub(in crate::check) const fn over_at(&self) -> u64 {
        self.returned.at + self.ttl
    }
}

impl Life<'_> {
    /// Whether somebody may have given it back before then.
    pub(in crate::check) fn may_be_revoked_by(&self, at: u64) -> bool {
        self.revokes.iter().any(|revoke| revoke.invoked.at <= at)
    }
}

/// Every lease that was granted or named.
pub(in crate::check) fn lives<'a>(operations: &'a [Operation<'a>]) -> BTreeMap<i64, Life<'a>> {
    let mut lives: BTreeMap<i64, Life<'a>> = BTreeMap::new();
    for operation in operations {
        if let (Some(_), Some(returned)) = (operation.ok(), operation.returned) {
            for id in put_on(operation) {
                lives.entry(id).or_default().puts.push([operation.invoked, returned]);
            }
        }
        let Some(id) = lease_of(operation) else { continue };
        let life = lives.entry(id).or_default();
        match (operation.op, operation.outcome, operation.returned) {
            (_, Outcome::Refused(_), _) => {}
            (Op::Grant { .. }, Outcome::Ok { answer: Answer::Grant { ttl_s, .. }, .. }, Some(returned)) => {
                life.grants += 1;
                life.renewals.push(renewal(operation, returned, *ttl_s));
            }
            (
                Op::KeepAlive { .. },
                Outcome::Ok { answer: Answer::KeepAlive { ttl_s }, .. },
                Some(returned),
            ) => {
                if *ttl_s > 0 {
                    life.renewals.push(renewal(operation, returned, *ttl_s));
                } else {
                    life.found_gone.push((operation.invoked, returned));
                }
            }
            (Op::Revoke { .. }, _, _) => life.revokes.push(operation),
            (Op::Grant { .. }, _, _) => (life.grants, life.unsure) = (life.grants + 1, true),
            (_, _, _) => life.unsure = true,
        }
    }
    lives
}

fn renewal(operation: &Operation<'_>, returned: Place, ttl_s: i64) -> Renewal {
    Renewal { invoked: operation.invoked, returned, ttl: u64::try_from(ttl_s).unwrap_or(0) * SECOND }
}

/// Whose time it grants, prolongs or ends.
fn lease_of(operation: &Operation<'_>) -> Option<i64> {
    match (operation.op, operation.outcome) {
        (Op::Grant { .. }, Outcome::Ok { answer: Answer::Grant { id, .. }, .. }) => Some(*id),
        (Op::Grant { id, .. } | Op::KeepAlive { id } | Op::Revoke { id }, _) => {
            Some(*id).filter(|id| *id != 0)
        }
        _ => None,
    }
}

/// The leases that it certainly put keys on.
fn put_on(operation: &Operation<'_>) -> Vec<i64> {
    let of = |op: &Op| match op {
        Op::Put(put) => Some(put.lease).filter(|lease| *lease != 0),
        _ => None,
    };
    match (operation.op, operation.ok()) {
        (Op::Txn(txn), Some((_, Answer::Txn { succeeded, .. }))) => {
            let branch = if *succeeded { &txn.then } else { &txn.otherwise };
            branch.iter().filter_map(of).collect()
        }
        (op, _) => of(op).into_iter().collect(),
    }
}
