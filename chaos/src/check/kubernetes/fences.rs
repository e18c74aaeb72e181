//! I10, as far as it shows: an election's epoch belongs to one holder and never falls, and a write that was guarded by a
//! lease landed while that lease was as the guard says.
//!
//! A log does not say who wrote. What it holds of fencing are the Leases; what a history of transactions holds are the
//! guards (`control/apiserver/design/0001-fencing.md`).

use std::collections::BTreeMap;

use super::object::Object;
use super::{Invariant, Step};
use crate::check::tally::Tally;
use crate::history::{Answer, Change, History, Is, LogEntry, Op, Operation, Target};
use crate::verdict::Finding;

const LEASES: &str = "/registry/leases/";

#[derive(Default)]
pub(super) struct Epochs {
    /// Who had each epoch of each lease, by the lease's uid.
    holders: BTreeMap<(String, i64), String>,
}

impl Invariant for Epochs {
    fn property(&self) -> &'static str {
        "fence-epochs"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            let Some(lease) = one.after.as_ref().filter(|_| one.key.starts_with(LEASES)) else { continue };
            // Without a count of elections it is a heartbeat.
            let Some(epoch) = lease.number("/spec/leaseTransitions") else { continue };
            let before = one.before.as_ref().filter(|before| before.uid() == lease.uid());
            let earlier = before.and_then(|before| before.number("/spec/leaseTransitions"));
            let holder = lease.text("/spec/holderIdentity");
            let first = self.first_holder(lease.uid(), epoch, holder);
            let wrong = if earlier > Some(epoch) {
                Some(format!("the epoch of {} fell from {earlier:?} to {epoch}", lease.shown()))
            } else {
                first.map(|first| {
                    format!("epoch {epoch} of {} was {first}'s, and is {holder}'s now", lease.shown())
                })
            };
            step.test(tally, wrong);
        }
    }
}

impl Epochs {
    /// Who else has had the epoch.
    fn first_holder(&mut self, uid: &str, epoch: i64, holder: &str) -> Option<String> {
        if holder.is_empty() {
            return None;
        }
        let first = self.holders.entry((uid.to_owned(), epoch)).or_insert_with(|| holder.to_owned());
        (first != holder).then(|| first.clone())
    }
}

/// `fenced-writes`: of every transaction that happened under the guard of a Lease.
pub(super) fn guards(operations: &[Operation<'_>], log: &[LogEntry<'_>]) -> Option<Finding> {
    let mut written: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for entry in log {
        for change in entry.changes {
            let key = match change {
                Change::Put { kv } => &kv.key,
                Change::Delete { key, .. } => key,
            };
            if key.starts_with(LEASES) {
                written.entry(key).or_default().push(entry.revision);
            }
        }
    }
    let first = log.first().map_or(u64::MAX, |entry| entry.revision);
    let mut tally = Tally::of("fenced-writes");
    for operation in operations {
        let (Op::Txn(txn), Some((header, Answer::Txn { succeeded: true, .. }))) =
            (operation.op, operation.ok())
        else {
            continue;
        };
        for compare in
            txn.compare.iter().filter(|compare| compare.key.starts_with(LEASES) && compare.is == Is::Equal)
        {
            let Target::Modified(guard) = compare.target else { continue };
            let revisions = written.get(compare.key.as_str()).map_or(&[][..], Vec::as_slice);
            let before = revisions.partition_point(|revision| *revision < header.revision);
            let Some(held) = before.checked_sub(1).map(|at| revisions[at]).filter(|_| guard >= first) else {
                continue;
            };
            tally.hold(held == guard, || {
                let what = format!(
                    "revision {} was written under {} as of revision {guard}, which had changed at {held}",
                    header.revision, compare.key
                );
                (what, operation.lines())
            });
        }
    }
    Some(tally.finish()).filter(|finding| finding.checked > 0)
}

/// `fence-landed`: of every write that a member let through as a leader's. The Lease was then held as the fence says.
pub(super) fn landed(history: &History, log: &[LogEntry<'_>]) -> Finding {
    let mut leases: BTreeMap<&str, Vec<(u64, Option<Object<'_>>)>> = BTreeMap::new();
    for entry in log {
        for change in entry.changes {
            let (key, lease) = match change {
                Change::Put { kv } => (&kv.key, Object::of(&kv.key, &kv.value)),
                Change::Delete { key, .. } => (key, None),
            };
            if key.starts_with(LEASES) {
                leases.entry(key).or_default().push((entry.revision, lease));
            }
        }
    }
    let mut tally = Tally::of("fence-landed");
    for (place, landed) in history.landed() {
        let states = leases.get(landed.fence.lease.as_str()).map_or(&[][..], Vec::as_slice);
        let before = states.partition_point(|(revision, _)| *revision < landed.revision);
        let lease = states[..before].last().and_then(|(_, lease)| lease.as_ref());
        let holder = lease.map_or("", |lease| lease.text("/spec/holderIdentity"));
        let epoch = lease.and_then(|lease| lease.number("/spec/leaseTransitions"));
        let holds = holder == landed.fence.holder && epoch == Some(landed.fence.epoch);
        tally.hold(holds, || {
            let what = format!(
                "revision {} is a write of {}, when the lease was {holder}'s in epoch {epoch:?}",
                landed.revision, landed.fence
            );
            (what, vec![place.line])
        });
    }
    tally.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::Log;
    use super::*;
    use crate::history::script::{Script, equal, put, txn};
    use crate::history::{Event, Fence, Landed};
    use crate::verdict::Verdict;

    const KEY: &str = "/registry/leases/kube-system/scheduler";

    fn lease(holder: &str, epoch: i64) -> Value {
        json!({"metadata": {"uid": "l1"}, "spec": {"holderIdentity": holder, "leaseTransitions": epoch}})
    }

    fn log(states: &[(&str, i64)]) -> Log {
        let mut log = Log::default();
        for (holder, epoch) in states {
            log.put(KEY, &lease(holder, *epoch));
        }
        log
    }

    #[test]
    fn epochs_that_count_elections_pass() {
        log(&[("a", 0), ("a", 0), ("", 0), ("b", 1), ("b", 1), ("a", 2)]).passes("fence-epochs");
    }

    #[test]
    fn an_epoch_of_two_holders_fails() {
        log(&[("a", 0), ("b", 0)]).fails("fence-epochs", "was a's, and is b's now");
        log(&[("a", 3), ("", 3), ("b", 3)]).fails("fence-epochs", "epoch 3");
    }

    #[test]
    fn an_epoch_that_falls_fails() {
        log(&[("a", 0), ("b", 1), ("a", 0)]).fails("fence-epochs", "fell from Some(1) to 0");
    }

    /// A lease that changes hands, and a write under the guard of its first holder.
    fn written(bend: impl FnOnce(&mut Script)) -> Option<Finding> {
        let mut script = Script::begin();
        script.run(1, put(KEY, "a"));
        let guarded =
            txn(vec![equal(KEY, Target::Modified(2))], vec![put("/registry/pods/default/x", "{}")], vec![]);
        script.run(1, guarded.clone());
        script.run(2, put(KEY, "b"));
        script.run(1, guarded);
        bend(&mut script);
        script.logs();
        let history = script.history();
        let logs = history.logs();
        guards(&history.operations(), &logs["n1"])
    }

    #[test]
    fn writes_under_the_lease_as_it_was_pass() {
        assert_eq!(written(|_| ()).unwrap().verdict(), Verdict::Pass);
    }

    #[test]
    fn a_write_of_a_deposed_holder_fails() {
        let finding = written(|script| {
            let change = Change::Put { kv: script.store.get("/registry/pods/default/x").unwrap().clone() };
            script.store.log.push((5, vec![change]));
            let lines = script.lines().len();
            let crate::history::Event::Return { outcome } = &mut script.line(lines - 1).event else {
                panic!("not a return")
            };
            let crate::history::Outcome::Ok { header, answer: Answer::Txn { succeeded, .. } } = outcome
            else {
                panic!("refused")
            };
            (header.revision, *succeeded) = (5, true);
        });
        assert!(finding.unwrap().violations[0].what.contains("which had changed at 4"));
    }

    #[test]
    fn a_guard_of_the_future_fails() {
        let mut script = Script::begin();
        script.run(1, put(KEY, "a"));
        script.run(1, txn(vec![], vec![put("/registry/pods/default/x", "{}")], vec![]));
        let line = script.lines().len() - 2;
        let crate::history::Event::Invoke(invoke) = &mut script.line(line).event else {
            panic!("not an invoke")
        };
        invoke.op =
            txn(vec![equal(KEY, Target::Modified(9))], vec![put("/registry/pods/default/x", "{}")], vec![]);
        script.logs();
        let history = script.history();
        let finding = guards(&history.operations(), &history.logs()["n1"]).unwrap();
        assert_eq!(finding.verdict(), Verdict::Fail);
    }

    /// A lease that changes hands at revision 3, and what members say that they let through.
    fn told(writes: &[(u64, &str, i64)]) -> Finding {
        let mut script = Script::begin();
        for (revision, holder, epoch) in writes {
            let fence = Fence { lease: KEY.to_owned(), holder: (*holder).to_owned(), epoch: *epoch };
            let landed = Landed { member: "n1".to_owned(), revision: *revision, fence };
            script.event(0, Event::Landed(landed));
        }
        landed(&script.history(), &log(&[("a", 0), ("b", 1), ("b", 1)]).entries())
    }

    #[test]
    fn leaders_writes_that_members_let_through_are_compared_with_the_lease() {
        assert_eq!(told(&[(3, "a", 0), (4, "b", 1), (9, "b", 1)]).verdict(), Verdict::Pass);
        for late in [(4, "a", 0), (4, "b", 0), (4, "a", 1), (2, "a", 0)] {
            let finding = told(&[late]);
            assert_eq!(finding.verdict(), Verdict::Fail, "{late:?}");
            assert_eq!(finding.violations[0].lines, [1]);
        }
        assert_eq!(told(&[]).verdict(), Verdict::Inconclusive);
    }
}
