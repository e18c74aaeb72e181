//! G9: a lease ends when it is given back or when its time is over: never sooner, not much later, all its keys in one
//! revision, and for ever.
//!
//! The log tells what a lease's end deleted, and when that was follows from what clients were told before and after. A
//! renewal counts from the call's invocation where the lease must still live, and from its return where it must be over:
//! the server renewed it in between. Where a call of unknown outcome may explain an end, nothing is said about it.

mod endings;
mod lives;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::endings::{Attached, Cause, Course, Deleters, Ending, Outlived, course};
use self::lives::Renewal;
pub(super) use self::lives::{Life, lives};
use super::Input;
use super::moments::Moments;
use super::tally::Tally;
use crate::history::{FaultCourse, LogEntry, Operation};
use crate::verdict::Finding;

/// Work that grants leases; the first is about them, the others only use them.
const WORKLOADS: [&str; 5] = ["lease", "lock", "lock-set", "fenced-lock", "store-fence"];
const MILLISECOND: u64 = 1_000_000;

/// How far from its time a lease may end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The lessor's clock is another than the client's, and may be read in steps.
    pub early_ms: u64,
    /// Until the end is in the log, without any fault.
    pub late_ms: u64,
    /// Until another leads. It gives every lease its full time again.
    pub failover_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { early_ms: 50, late_ms: 2_000, failover_ms: 3_000 }
    }
}

/// `lease-kept`, `lease-ended`, `lease-atomic`, `lease-header` and `lease-dead`, of a run that grants leases. What a run that only uses
/// them did not happen to test is not missed.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    if !WORKLOADS.iter().any(|workload| input.uses(workload)) {
        return Vec::new();
    }
    let mut findings = check(input, Limits::default());
    findings.retain(|finding| finding.checked > 0 || input.uses(WORKLOADS[0]));
    findings
}

pub fn check(input: &Input<'_>, limits: Limits) -> Vec<Finding> {
    let lives = lives(&input.operations);
    if lives.values().all(|life| life.grants == 0) {
        return Vec::new();
    }
    let logs = input.history.logs();
    let longest = logs.values().max_by_key(|log| log.last().map_or(0, |entry| entry.revision));
    let log: &[LogEntry<'_>] = longest.map_or(&[], |log| log.as_slice());
    let moments = Moments::of(input);
    let course = course(log, &lives, &Deleters::of(&input.operations), &moments);
    let case = Case { lives, course, moments, faults: input.history.faults(), log, limits };
    let mut findings = vec![case.kept(), case.ended(), case.atomic(), case.header(), case.dead()];
    if log.is_empty() {
        for finding in &mut findings {
            finding.inconclusive = Some("no member told its log".to_owned());
        }
    }
    findings
}

/// All that is known of a run's leases.
struct Case<'a> {
    lives: BTreeMap<i64, Life<'a>>,
    course: Course<'a>,
    moments: Moments,
    faults: Vec<FaultCourse<'a>>,
    log: &'a [LogEntry<'a>],
    limits: Limits,
}

impl Case<'_> {
    /// Never sooner than its time after the last renewal. Every end for which no client is to blame is a test.
    fn kept(&self) -> Finding {
        let mut tally = Tally::of("lease-kept");
        for (ending, life) in self.expired() {
            let Some(by) = self.moments.existed_by(ending.revision) else { continue };
            tally.test(self.too_early(life, by).map(|(renewal, early_ms)| {
                let Ending { lease, revision, line, .. } = ending;
                let what =
                    format!("lease {lease:x} was over {early_ms} ms too early, by revision {revision}");
                (what, vec![renewal.invoked.line, renewal.returned.line, *line])
            }));
        }
        for (id, life) in &self.lives {
            for (invoked, returned) in &life.found_gone {
                if life.unsure || life.grants != 1 || life.may_be_revoked_by(returned.at) {
                    continue;
                }
                tally.test(self.too_early(life, returned.at).map(|(renewal, early_ms)| {
                    let what = format!("lease {id:x} was found gone {early_ms} ms too early");
                    (what, vec![renewal.invoked.line, renewal.returned.line, invoked.line, returned.line])
                }));
            }
        }
        tally.finish()
    }

    /// The renewal by which it should still have lived then, and for how many milliseconds.
    fn too_early<'b>(&self, life: &'b Life<'_>, by: u64) -> Option<(&'b Renewal, u64)> {
        let before = life.renewals.iter().filter(|renewal| renewal.invoked.at <= by);
        let last = before.max_by_key(|renewal| renewal.lives_until())?;
        let early = last.lives_until().checked_sub(by + self.limits.early_ms * MILLISECOND)?;
        (early > 0).then_some((last, early / MILLISECOND))
    }

    /// Not much later. Every end, and every lease whose keys are there to the last, is a test.
    fn ended(&self) -> Finding {
        let mut tally = Tally::of("lease-ended");
        let endings =
            self.expired().map(|(ending, life)| (ending.lease, life, ending.revision, Some(ending.line)));
        let after_all = self.log.last().map_or(0, |entry| entry.revision) + 1;
        let held = self.course.held.iter().filter(|(_, keys)| !keys.is_empty());
        let survivors = held.filter_map(|(id, _)| Some((*id, self.lives.get(id)?, after_all, None)));
        for (id, life, revision, line) in endings.chain(survivors) {
            if life.unsure || life.grants != 1 {
                continue;
            }
            let Some(last) = life.renewals.iter().max_by_key(|renewal| renewal.over_at()) else { continue };
            let Some(still) = self.moments.absent_at(revision) else { continue };
            let until = last.over_at() + self.patience(last, still);
            let late = still.checked_sub(until).filter(|late| *late > 0);
            tally.test(late.map(|late| {
                let late_ms = late / MILLISECOND;
                let what = format!(
                    "lease {id:x} was there {late_ms} ms after its time and what faults explain of it"
                );
                (what, [last.invoked.line, last.returned.line].into_iter().chain(line).collect())
            }));
        }
        tally.finish()
    }

    /// How much longer than its time it may have lived by then: while faults lasted nobody may have led, and each new
    /// leader begins anew.
    fn patience(&self, last: &Renewal, until: u64) -> u64 {
        let limits = self.limits;
        let again = limits.failover_ms * MILLISECOND + last.ttl;
        let mut disturbed: Vec<(u64, u64)> = Vec::new();
        for fault in &self.faults {
            let Some(installed) = fault.steps.first().map(|(place, _)| place.at) else { continue };
            let healed = fault.healed().map_or(u64::MAX, |place| place.at).min(until);
            if installed <= until && healed >= last.invoked.at {
                disturbed.push((installed.max(last.invoked.at), healed.max(last.invoked.at)));
            }
        }
        disturbed.sort_unstable();
        let (mut lasted, mut end) = (0, 0);
        for (from, to) in &disturbed {
            lasted += to.saturating_sub(end.max(*from));
            end = end.max(*to);
        }
        let leaders = self.moments.new_leaders(last.invoked.at, until);
        limits.late_ms * MILLISECOND + lasted + (leaders + disturbed.len() as u64) * again
    }

    /// All its keys in one revision. Every end is a test, and every revocation.
    fn atomic(&self) -> Finding {
        let mut tally = Tally::of("lease-atomic");
        for ending in self.course.endings.iter().filter(|ending| ending.cause != Cause::Unsure) {
            let Ending { lease, revision, line, left, .. } = ending;
            let what = || {
                format!("revision {revision} took away keys of lease {lease:x}, but not {}", left.join(", "))
            };
            tally.hold(left.is_empty(), || (what(), vec![*line]));
        }
        for (id, revoke, returned) in self.revoked() {
            let stayed = self.outlived(id).filter(|outlived| {
                self.taken_away(outlived).is_none_or(|later| self.moments.absent_at(later) > Some(returned))
            });
            tally.test(stayed.map(|stayed| {
                let keys = stayed.keys.join(", ");
                (format!("lease {id:x} was revoked, but {keys} stayed"), revoke.lines())
            }));
        }
        tally.finish()
    }

    /// The answer to a revocation is at the revision that it made, or at a later one. Every revocation is a test.
    fn header(&self) -> Finding {
        let mut tally = Tally::of("lease-header");
        for (id, revoke, _) in self.revoked() {
            let behind = self.outlived(id).and_then(|outlived| Some((outlived, self.taken_away(outlived)?)));
            tally.test(behind.map(|(outlived, later)| {
                let what = format!(
                    "the revocation of lease {id:x} was answered at revision {}, and took its keys away by {later}",
                    outlived.revision
                );
                (what, revoke.lines())
            }));
        }
        tally.finish()
    }

    /// Every lease that was certainly revoked, and when that was told.
    fn revoked(&self) -> impl Iterator<Item = (i64, &Operation<'_>, u64)> {
        let revokes =
            self.lives.iter().flat_map(|(id, life)| life.revokes.iter().map(|revoke| (*id, *revoke)));
        revokes.filter_map(|(id, revoke)| {
            revoke.ok()?;
            Some((id, revoke, revoke.returned?.at))
        })
    }

    fn outlived(&self, lease: i64) -> Option<&Outlived<'_>> {
        self.course.outlived.iter().find(|outlived| outlived.lease == lease)
    }

    /// The revision that took away keys that had outlived their lease.
    fn taken_away(&self, outlived: &Outlived<'_>) -> Option<u64> {
        let endings = self.course.endings.iter().filter(|ending| ending.lease == outlived.lease);
        endings.map(|ending| ending.revision).find(|revision| *revision > outlived.revision)
    }

    /// What is over stays so: no key is put on it, and it is not kept alive. Every end is a test.
    fn dead(&self) -> Finding {
        let mut tally = Tally::of("lease-dead");
        for (id, life) in self.lives.iter().filter(|(_, life)| life.grants == 1) {
            let certain = |ending: &&Ending<'_>| ending.lease == *id && ending.cause != Cause::Unsure;
            let end = self.course.endings.iter().find(certain).map(|ending| ending.revision);
            let told = life
                .revokes
                .iter()
                .filter_map(|revoke| revoke.ok().and(revoke.returned))
                .map(|place| place.at);
            let by = end.and_then(|end| self.moments.existed_by(end)).into_iter().chain(told).min();
            if let Some(end) = end {
                let put = self.course.puts.iter().find(|put| put.lease == *id && put.revision > end);
                tally.test(put.map(|Attached { key, revision, line, .. }| {
                    let what = format!(
                        "{key} was put on lease {id:x} by revision {revision}, which was over at {end}"
                    );
                    (what, vec![*line])
                }));
            }
            if let Some(by) = by {
                let later = |renewal: &&Renewal| renewal.invoked.at > by;
                let uses =
                    life.renewals.iter().filter(later).map(|renewal| [renewal.invoked, renewal.returned]);
                let puts = life.puts.iter().filter(|put| put[0].at > by).copied();
                tally.test(uses.chain(puts).next().map(|[invoked, returned]| {
                    let what = format!("lease {id:x} was kept alive or given a key after it was over");
                    (what, vec![invoked.line, returned.line])
                }));
            }
        }
        tally.finish()
    }

    fn expired(&self) -> impl Iterator<Item = (&Ending<'_>, &Life<'_>)> {
        let expired = self.course.endings.iter().filter(|ending| ending.cause == Cause::Expired);
        expired.filter_map(|ending| Some((ending, self.lives.get(&ending.lease)?)))
    }
}
