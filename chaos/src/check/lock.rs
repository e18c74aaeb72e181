//! Locks: who has been given one, had it; and nobody else was told so while it was certainly his.
//!
//! A lock rests on a lease, so it is certain only until the lease's time, counted from the invocation of what renewed it
//! last; a holder who oversleeps may find another in his place, and only a fence saves him (`lock-set` shows that,
//! `fenced-lock` shows how).

use std::collections::BTreeMap;

use super::Input;
use super::lease::{Life, lives};
use super::tally::Tally;
use crate::history::{Answer, Change, LogEntry, Op, Operation, Place};
use crate::verdict::Finding;

/// The lessor's clock is another than the holder's.
const MARGIN_NS: u64 = 50_000_000;

/// `lock-exclusive` and, where a log tells, `lock-owner`, of a run that takes locks.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let locks: Vec<Lock<'_>> = input.operations.iter().filter_map(Lock::of).collect();
    if !input.operations.iter().any(|operation| matches!(operation.op, Op::Lock { .. })) {
        return Vec::new();
    }
    let lives = lives(&input.operations);
    let logs = input.history.logs();
    let longest = logs.values().max_by_key(|log| log.last().map_or(0, |entry| entry.revision));
    let owner = longest.map(|log| owner(&locks, log, input.history.begin().revision));
    [exclusive(&locks, &input.operations, &lives)].into_iter().chain(owner).collect()
}

/// Somebody was told that he has it.
struct Lock<'a> {
    process: u32,
    name: &'a str,
    lease: i64,
    key: &'a str,
    revision: u64,
    invoked: Place,
    returned: Place,
}

impl<'a> Lock<'a> {
    fn of(operation: &Operation<'a>) -> Option<Self> {
        let (header, answer) = operation.ok()?;
        let (Op::Lock { name, lease }, Answer::Lock { key }) = (operation.op, answer) else { return None };
        Some(Self {
            process: operation.process,
            name,
            lease: *lease,
            key,
            revision: header.revision,
            invoked: operation.invoked,
            returned: operation.returned?,
        })
    }
}

/// From the return of a lock to the moment that its holder gives it back, or can no longer be certain of it.
struct Section<'a> {
    lock: &'a Lock<'a>,
    until: u64,
}

/// Every section of some length is a test.
fn exclusive(locks: &[Lock<'_>], operations: &[Operation<'_>], lives: &BTreeMap<i64, Life<'_>>) -> Finding {
    let mut tally = Tally::of("lock-exclusive");
    let mut sections: Vec<Section<'_>> = locks
        .iter()
        .filter_map(|lock| {
            Some(Section { lock, until: certain_until(lock, operations, lives.get(&lock.lease)?)? })
        })
        .filter(|section| section.until > section.lock.returned.at)
        .collect();
    sections.sort_by_key(|section| (section.lock.name, section.lock.returned));
    // Of one lock, the section that lasts longest so far.
    let mut longest: Option<&Section<'_>> = None;
    for section in &sections {
        let before = longest.filter(|before| before.lock.name == section.lock.name);
        let together = before.filter(|before| before.until > section.lock.returned.at);
        tally.test(together.map(|before| {
            let together_ms = (before.until - section.lock.returned.at) / 1_000_000;
            let what = format!(
                "p{} was given {} while it was p{}'s, for another {together_ms} ms",
                section.lock.process, section.lock.name, before.lock.process,
            );
            (what, [before, section].map(|one| [one.lock.invoked.line, one.lock.returned.line]).concat())
        }));
        longest = before.filter(|before| before.until > section.until).or(Some(section));
    }
    tally.finish()
}

/// None: nobody knows how long its lease lives.
fn certain_until(lock: &Lock<'_>, operations: &[Operation<'_>], life: &Life<'_>) -> Option<u64> {
    let lives_until = life.renewals.iter().map(|renewal| renewal.lives_until()).max()?;
    let after = operations.iter().filter(|operation| operation.invoked >= lock.returned);
    let given_back = after.filter(|operation| match operation.op {
        Op::Unlock { key } => key == lock.key,
        Op::Revoke { id } => *id == lock.lease,
        _ => false,
    });
    let given_back = given_back.map(|operation| operation.invoked.at).min();
    Some(given_back.unwrap_or(u64::MAX).min(lives_until.saturating_sub(MARGIN_NS)))
}

/// A key's life: the revision that created it, and the one that deleted it, if one did.
type Span = (u64, Option<u64>);

/// At the revision at which a lock was given, its key is there, and none under the lock's name is older. Every lock is a
/// test, as far as the log reaches back.
fn owner(locks: &[Lock<'_>], log: &[LogEntry<'_>], begin: u64) -> Finding {
    let mut tally = Tally::of("lock-owner");
    let spans = spans(log);
    let first = log.first().map_or(u64::MAX, |entry| entry.revision);
    let last = log.last().map_or(0, |entry| entry.revision);
    for lock in locks.iter().filter(|lock| lock.revision <= last) {
        let own = spans.get(lock.key).and_then(|spans| alive(spans, lock.revision));
        if own.is_none() && first > begin + 1 {
            continue;
        }
        let lines = vec![lock.invoked.line, lock.returned.line];
        tally.test(wrong_owner(lock, own, &spans).map(|what| (what, lines)));
    }
    tally.finish()
}

/// `own` is the revision that created the lock's key, if it is there.
fn wrong_owner(lock: &Lock<'_>, own: Option<u64>, spans: &BTreeMap<&str, Vec<Span>>) -> Option<String> {
    let Lock { process, name, revision, key, .. } = lock;
    let Some(own) = own else {
        return Some(format!("p{process} was given {name} at revision {revision}, where {key} is not"));
    };
    let queue = format!("{name}/");
    let others = spans.range(queue.as_str()..).take_while(|(key, _)| key.starts_with(&queue));
    let older = others.filter_map(|(key, spans)| Some((key, alive(spans, *revision)?)));
    let (first, created) = older.min_by_key(|(_, created)| *created).filter(|(_, created)| *created < own)?;
    Some(format!("p{process} was given {name}, but {first} is older: of revision {created}, not {own}"))
}

fn spans<'a>(log: &[LogEntry<'a>]) -> BTreeMap<&'a str, Vec<Span>> {
    let mut spans: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for entry in log {
        for change in entry.changes {
            match change {
                Change::Put { kv } if kv.created == kv.modified => {
                    spans.entry(&kv.key).or_default().push((kv.created, None));
                }
                Change::Put { .. } => {}
                Change::Delete { key, .. } => {
                    if let Some(last) = spans.get_mut(key.as_str()).and_then(|spans| spans.last_mut()) {
                        last.1 = Some(entry.revision);
                    }
                }
            }
        }
    }
    spans
}

/// The revision that created the key, if it is there at this one.
fn alive(spans: &[Span], revision: u64) -> Option<u64> {
    let span = spans.iter().find(|(from, to)| *from <= revision && to.is_none_or(|to| to > revision));
    span.map(|(created, _)| *created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{CLUSTER, Script, delete, put_leased};
    use crate::history::{Event, Header, Invoke, Outcome};
    use crate::verdict::Verdict;

    const NAME: &str = "/chaos/lock/plain";

    fn key(lease: i64) -> String {
        format!("{NAME}/{lease}")
    }

    fn tell(script: &mut Script, process: u32, op: Op, answer: Answer) {
        let workload = "lock".to_owned();
        script.event(
            process,
            Event::Invoke(Invoke { member: "n1".to_owned(), workload, request_id: None, op }),
        );
        let header = Header { cluster: CLUSTER, member: 1, revision: script.store.revision, term: 1 };
        script.event(process, Event::Return { outcome: Outcome::Ok { header, answer } });
    }

    /// Two who each have a lease of five seconds.
    fn script() -> Script {
        let mut script = Script::begin();
        script.workload = "lock".to_owned();
        for lease in [1, 2] {
            script.run(lease, Op::Grant { id: i64::from(lease), ttl_s: 5 });
        }
        script
    }

    fn enter(script: &mut Script, lease: i64) {
        let process = u32::try_from(lease).unwrap();
        script.run(process, put_leased(&key(lease), "", lease));
    }

    fn lock(script: &mut Script, lease: i64) {
        let process = 10 + u32::try_from(lease).unwrap();
        tell(script, process, Op::Lock { name: NAME.to_owned(), lease }, Answer::Lock { key: key(lease) });
    }

    fn unlock(script: &mut Script, lease: i64) {
        let process = u32::try_from(lease).unwrap();
        tell(script, 10 + process, Op::Unlock { key: key(lease) }, Answer::Unlock);
        script.run(process, delete(&key(lease)));
    }

    fn verdicts(script: &mut Script) -> [Verdict; 2] {
        script.logs();
        let history = script.history();
        let findings = findings(&Input::new(&history));
        [findings[0].verdict(), findings[1].verdict()]
    }

    #[test]
    fn one_after_the_other_passes() {
        let mut script = script();
        enter(&mut script, 1);
        enter(&mut script, 2);
        lock(&mut script, 1);
        unlock(&mut script, 1);
        lock(&mut script, 2);
        unlock(&mut script, 2);
        assert_eq!(verdicts(&mut script), [Verdict::Pass, Verdict::Pass]);
    }

    #[test]
    fn two_at_once_fail() {
        let mut script = script();
        enter(&mut script, 1);
        lock(&mut script, 1);
        enter(&mut script, 2);
        lock(&mut script, 2);
        unlock(&mut script, 1);
        assert_eq!(verdicts(&mut script), [Verdict::Fail, Verdict::Fail], "and the older key was there");
    }

    #[test]
    fn a_lock_taken_over_before_its_lease_was_over_fails() {
        let mut script = script();
        enter(&mut script, 1);
        lock(&mut script, 1);
        script.wait_ms(3_000);
        script.store.end_lease(1);
        enter(&mut script, 2);
        lock(&mut script, 2);
        assert_eq!(verdicts(&mut script), [Verdict::Fail, Verdict::Pass]);
    }

    #[test]
    fn who_oversleeps_loses_it_without_a_fault() {
        let mut script = script();
        enter(&mut script, 1);
        lock(&mut script, 1);
        script.run(2, Op::KeepAlive { id: 2 });
        script.wait_ms(5_100);
        script.store.end_lease(1);
        enter(&mut script, 2);
        lock(&mut script, 2);
        unlock(&mut script, 1);
        unlock(&mut script, 2);
        assert_eq!(verdicts(&mut script)[1], Verdict::Pass);
        let history = script.history();
        assert_eq!(findings(&Input::new(&history))[0].violations, []);
    }

    #[test]
    fn a_lock_given_to_the_dead_fails() {
        let mut script = script();
        enter(&mut script, 1);
        script.store.end_lease(1);
        lock(&mut script, 1);
        assert_eq!(verdicts(&mut script)[1], Verdict::Fail);
    }
}
