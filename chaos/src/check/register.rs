//! Keys by their versions: a revision of a key is one value and one version, and versions count up from a key's creation
//! to its deletion.
//!
//! It costs little however long the history is; whether answers also keep to real time, the searches tell.

use std::collections::BTreeMap;

use super::Input;
use super::tally::Tally;
use super::words::quoted;
use crate::history::{Answer, Kv, Operation};
use crate::verdict::Finding;

/// `register-versions`, of every key that anybody read, in a run that uses the workload.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    if input.uses("register") { vec![check(&input.operations)] } else { Vec::new() }
}

/// Every read of a key is a test.
pub fn check(operations: &[Operation<'_>]) -> Finding {
    let mut tally = Tally::of("register-versions");
    // By key and the revision that wrote it: what was read first, and where.
    let mut seen: BTreeMap<(&str, u64), (&Kv, Vec<u64>)> = BTreeMap::new();
    for operation in operations {
        let Some((_, answer)) = operation.ok() else { continue };
        for kv in kvs(answer) {
            let (first, lines) =
                seen.entry((&kv.key, kv.modified)).or_insert_with(|| (kv, operation.lines()));
            tally.hold(*first == kv, || {
                let what = format!("{} was read as {} and as {}", kv.key, shown(first), shown(kv));
                (what, [lines.clone(), operation.lines()].concat())
            });
        }
    }
    for (kv, lines) in seen.values().filter(|(kv, _)| !is_possible(kv)) {
        let what = format!("{} was read as {}, which no key can be", kv.key, shown(kv));
        tally.violate(|| (what, lines.clone()));
    }
    for ((one, lines), (next, more)) in seen.values().zip(seen.values().skip(1)) {
        if one.key == next.key && !may_follow(one, next) {
            let what = format!(
                "{} was read as {} and as {}, which cannot both be",
                one.key,
                shown(one),
                shown(next)
            );
            tally.violate(|| (what, [lines.clone(), more.clone()].concat()));
        }
    }
    tally.finish()
}

/// The first version is that of the revision that created it, and each further one took a revision of its own.
fn is_possible(kv: &Kv) -> bool {
    let (first, revisions) = (kv.created == kv.modified, kv.modified.checked_sub(kv.created));
    kv.version > 0
        && (kv.version == 1) == first
        && revisions.is_some_and(|revisions| kv.version <= revisions + 1)
}

/// Of one key, a later revision.
fn may_follow(one: &Kv, next: &Kv) -> bool {
    if one.created == next.created {
        one.version < next.version && next.version - one.version <= next.modified - one.modified
    } else {
        // The revision between the two lives deleted it.
        next.created > one.modified + 1
    }
}

fn shown(kv: &Kv) -> String {
    let Kv { version, created, modified, .. } = kv;
    format!("{} (version {version} of revision {modified}, created at {created})", quoted(&kv.value))
}

/// Everything that an answer shows.
fn kvs(answer: &Answer) -> Vec<&Kv> {
    match answer {
        Answer::Range { kvs, .. } | Answer::Delete { previous: kvs, .. } => kvs.iter().collect(),
        Answer::Put { previous } => previous.iter().collect(),
        Answer::Txn { answers, .. } => answers.iter().flat_map(kvs).collect(),
        Answer::Compact | Answer::Grant { .. } | Answer::Revoke | Answer::KeepAlive { .. } => Vec::new(),
        Answer::TimeToLive { .. } | Answer::Lock { .. } | Answer::Unlock | Answer::Status { .. } => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, delete, get, put};
    use crate::history::{Event, Outcome};
    use crate::verdict::Verdict;

    const KEY: &str = "/chaos/register/1";

    /// Three writes and three reads; the last is told what `bend` makes of it.
    fn bent(bend: impl FnOnce(&mut Kv)) -> Finding {
        let mut script = Script::begin();
        let mut line = 0;
        for value in ["a", "b", "c"] {
            script.run(1, put(KEY, value));
            line = script.run(2, get(KEY));
        }
        let Event::Return { outcome: Outcome::Ok { answer: Answer::Range { kvs, .. }, .. } } =
            &mut script.line(line).event
        else {
            panic!("a read returned otherwise")
        };
        bend(&mut kvs[0]);
        script.run(1, get(KEY));
        script.run(1, delete(KEY));
        script.run(1, put(KEY, "a"));
        script.run(1, get(KEY));
        let history = script.history();
        check(&history.operations())
    }

    #[test]
    fn versions_that_count_up_pass() {
        let finding = bent(|_| ());
        assert_eq!((finding.verdict(), finding.checked), (Verdict::Pass, 5), "{finding:?}");
    }

    #[test]
    fn a_version_with_two_values_fails() {
        assert_eq!(bent(|kv| kv.value = "x".to_owned()).verdict(), Verdict::Fail);
        assert_eq!(bent(|kv| kv.version = 2).verdict(), Verdict::Fail);
    }

    #[test]
    fn versions_without_a_revision_each_fail() {
        assert_eq!(bent(|kv| (kv.version, kv.modified) = (9, 5)).verdict(), Verdict::Fail);
        assert_eq!(bent(|kv| (kv.version, kv.modified) = (3, 3)).verdict(), Verdict::Fail);
    }

    #[test]
    fn a_life_begins_after_the_last_one_ended() {
        assert_eq!(bent(|kv| kv.created = 1).verdict(), Verdict::Fail);
        assert_eq!(bent(|kv| (kv.created, kv.version) = (4, 1)).verdict(), Verdict::Fail);
    }

    #[test]
    fn what_no_two_revisions_of_a_key_can_be_fails() {
        let kv = |created, version, modified| Kv {
            key: KEY.to_owned(),
            value: String::new(),
            created,
            modified,
            version,
            lease: 0,
        };
        assert!(is_possible(&kv(4, 1, 4)) && is_possible(&kv(4, 3, 9)));
        assert!(!is_possible(&kv(4, 2, 4)) && !is_possible(&kv(4, 1, 5)) && !is_possible(&kv(4, 9, 6)));
        assert!(may_follow(&kv(4, 1, 4), &kv(4, 3, 6)) && may_follow(&kv(4, 2, 5), &kv(7, 1, 7)));
        assert!(!may_follow(&kv(4, 3, 6), &kv(4, 2, 9)) && !may_follow(&kv(4, 2, 5), &kv(6, 1, 6)));
    }
}
