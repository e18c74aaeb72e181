//! What is promised when data directories are not what they claim to be, when most of them are gone, and when a cluster
//! is made anew of what is left.

use super::Input;
use super::tally::Tally;
use crate::history::{Asked, CameTo, Deceit, Event, Heard, Sight};
use crate::verdict::Finding;

/// How long a server may run on data that are not its own.
const UNMASKED_MAX_MS: u64 = 5_000;
/// How far a recovered cluster's revisions are from those that may be lost, at least.
const SKIPPED_MIN: u64 = 1_000_000_000;
/// What an operator must be told before he decides.
const TOLD: [&str; 4] = ["Lost for ever", "known here:", "given up:", "last entry:"];
const PREFIX: &str = "/chaos/";
const PREFIX_END: &str = "/chaos0";

/// Each only of runs that come to that.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let all = [
        impostor_refused(input),
        damage_refused(input),
        quorum_refused(input),
        recovery_told(input),
        restored_exact(input),
    ];
    all.into_iter().filter(|finding| finding.checked > 0 || finding.inconclusive.is_some()).collect()
}

fn sights<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (u64, &'a Sight)> {
    (0..).zip(input.history.lines()).filter_map(|(number, line)| match &line.event {
        Event::Sight(sight) => Some((number, sight)),
        _ => None,
    })
}

/// Who runs on data that are not its own gives up, soon; who has old data of its own may also forget them.
fn impostor_refused(input: &Input<'_>) -> Finding {
    let mut tally = Tally::of("impostor-refused");
    for (line, sight) in sights(input) {
        let Sight::Impostor { member, deceit, came_to, after_ms, said } = sight else { continue };
        let is_unmasked = match (deceit, came_to) {
            (Deceit::Swapped | Deceit::Cloned, CameTo::Ended) => *after_ms <= UNMASKED_MAX_MS,
            (Deceit::Outdated, CameTo::Ended | CameTo::AnotherMember) => true,
            (_, CameTo::Served | CameTo::Waits | CameTo::AnotherMember) => false,
        };
        tally.hold(is_unmasked, || {
            (format!("{member}, {deceit:?}, {came_to:?} after {after_ms} ms: {said}"), vec![line])
        });
    }
    tally.finish()
}

/// Nobody goes on as who he was with a log that is not as it was written: what it is to have promised is not known.
fn damage_refused(input: &Input<'_>) -> Finding {
    let mut tally = Tally::of("damage-refused");
    for (line, sight) in sights(input) {
        let Sight::Damaged { member, came_to, after_ms, said } = sight else { continue };
        tally.hold(*came_to != CameTo::Served, || {
            (format!("{member} went on with a damaged log after {after_ms} ms: {said}"), vec![line])
        });
    }
    tally.finish()
}

/// Without a majority for ever, whoever has his data refuses what takes one, in words that leave nothing open; those
/// that have lost theirs answer nothing, and nobody leads.
fn quorum_refused(input: &Input<'_>) -> Finding {
    let mut tally = Tally::of("quorum-refused");
    for (line, sight) in sights(input) {
        let Sight::Deserted { member, survives, asked, heard, said } = sight else { continue };
        let holds = match asked {
            _ if !survives => *heard != Heard::Yes,
            Asked::Put | Asked::Txn | Asked::Grant | Asked::Read => *heard == Heard::Refusal,
            Asked::OldRead => true,
            Asked::Leader => *heard != Heard::Yes,
        };
        tally.hold(holds, || {
            (format!("without a majority, {member} was asked for {asked:?}: {heard:?}, {said}"), vec![line])
        });
    }
    tally.finish()
}

/// The operator is told what it costs, nothing that reached the survivor is lost, and no client takes the new cluster
/// for the old one.
fn recovery_told(input: &Input<'_>) -> Finding {
    let mut tally = Tally::of("recovery-told");
    let mut begun = None;
    for (line, sight) in sights(input) {
        match sight {
            Sight::Recovered { said, acknowledged, known, before, after, begins } => {
                let missing: Vec<&&str> = TOLD.iter().filter(|words| !said.contains(**words)).collect();
                tally.hold(missing.is_empty(), || {
                    (format!("the operator was not told {missing:?}"), vec![line])
                });
                tally.hold(said.contains(&format!("revision {known}")), || {
                    (format!("the operator was not told revision {known}"), vec![line])
                });
                tally.hold(known >= acknowledged, || {
                    let what = format!("the survivor had {acknowledged}, and its recovery knows {known}");
                    (what, vec![line])
                });
                tally.hold(before != after, || {
                    (format!("the recovered cluster has the old id {before:x}"), vec![line])
                });
                tally.hold(*begins >= known + SKIPPED_MIN, || {
                    (format!("the recovered cluster begins at {begins}, after {known}"), vec![line])
                });
                begun = Some(*begins);
            }
            Sight::Resumed { from, canceled, compacted } => {
                let begins = begun.unwrap_or(u64::MAX);
                tally.hold(*canceled && *compacted >= begins, || {
                    let what = format!(
                        "a watch went on from {from} in the cluster that begins at {begins} \
                         (canceled: {canceled}, compacted: {compacted})"
                    );
                    (what, vec![line])
                });
            }
            _ => {}
        }
    }
    tally.finish()
}

/// What was restored is the state at a revision, exactly, in a cluster of its own.
fn restored_exact(input: &Input<'_>) -> Finding {
    let mut tally = Tally::of("restored-exact");
    let former = input.operations.iter().find_map(|operation| Some(operation.ok()?.0.cluster));
    for (line, sight) in sights(input) {
        let Sight::Restored { member, revision, cluster, kvs } = sight else { continue };
        let Ok(known) = &input.known else {
            tally.give_up("the log is not known");
            break;
        };
        let at = (*revision).min(known.model.last());
        let expected: Vec<_> = known.model.range(PREFIX, Some(PREFIX_END), at).collect();
        tally.hold(kvs.iter().eq(expected.iter().copied()), || {
            let odd = kvs.iter().find(|kv| !expected.contains(kv)).map(|kv| kv.key.as_str());
            let lost = expected.iter().find(|kv| !kvs.contains(*kv)).map(|kv| kv.key.as_str());
            let what = format!(
                "{member} has {} keys of revision {revision}, which had {}; first of its own: {odd:?}, first missing: {lost:?}",
                kvs.len(),
                expected.len()
            );
            (what, vec![line])
        });
        tally.hold(Some(*cluster) != former, || {
            (format!("{member} was restored into the cluster {cluster:x}, which is the old one"), vec![line])
        });
    }
    tally.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{self, Script, put};
    use crate::history::{Kv, Sight};

    fn verdict(sights: &[Sight]) -> String {
        let mut script = Script::begin();
        for (key, value) in [("/chaos/a", "1"), ("/chaos/b", "2"), ("/chaos/a", "3")] {
            script.run(1, put(key, value));
        }
        script.logs();
        for sight in sights {
            script.event(0, Event::Sight(sight.clone()));
        }
        let findings = findings(&Input::new(&script.history()));
        let one = |finding: &Finding| format!("{} {:?}", finding.property, finding.verdict());
        findings.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn impostor(deceit: Deceit, came_to: CameTo, after_ms: u64) -> Sight {
        Sight::Impostor { member: "n1".to_owned(), deceit, came_to, after_ms, said: String::new() }
    }

    #[test]
    fn an_impostor_must_be_gone_soon() {
        let one = |deceit, came_to, after_ms| verdict(&[impostor(deceit, came_to, after_ms)]);
        assert_eq!(one(Deceit::Swapped, CameTo::Ended, 200), "impostor-refused Pass");
        assert_eq!(one(Deceit::Swapped, CameTo::Ended, 9_000), "impostor-refused Fail");
        assert_eq!(one(Deceit::Cloned, CameTo::Served, 100), "impostor-refused Fail");
        assert_eq!(one(Deceit::Cloned, CameTo::Waits, 100), "impostor-refused Fail");
        assert_eq!(one(Deceit::Outdated, CameTo::AnotherMember, 9_000), "impostor-refused Pass");
        assert_eq!(one(Deceit::Outdated, CameTo::Served, 100), "impostor-refused Fail");
    }

    #[test]
    fn nobody_goes_on_with_a_damaged_log() {
        let one = |came_to| {
            let (member, said) = ("n1".to_owned(), String::new());
            verdict(&[Sight::Damaged { member, came_to, after_ms: 100, said }])
        };
        assert_eq!(one(CameTo::Served), "damage-refused Fail");
        for refused in [CameTo::Ended, CameTo::AnotherMember, CameTo::Waits] {
            assert_eq!(one(refused), "damage-refused Pass");
        }
    }

    #[test]
    fn without_a_majority_only_old_reads_are_answered() {
        let of = |survives, asked, heard| {
            let (member, said) = ("n1".to_owned(), String::new());
            verdict(&[Sight::Deserted { member, survives, asked, heard, said }])
        };
        let one = |asked, heard| of(true, asked, heard);
        assert_eq!(of(false, Asked::Put, Heard::Nothing), "quorum-refused Pass");
        assert_eq!(of(false, Asked::OldRead, Heard::Yes), "quorum-refused Fail");
        for asked in [Asked::Put, Asked::Txn, Asked::Grant, Asked::Read] {
            assert_eq!(one(asked, Heard::Refusal), "quorum-refused Pass");
            assert_eq!(one(asked, Heard::Yes), "quorum-refused Fail");
            assert_eq!(one(asked, Heard::Nothing), "quorum-refused Fail");
        }
        assert_eq!(one(Asked::OldRead, Heard::Yes), "quorum-refused Pass");
        assert_eq!(one(Asked::Leader, Heard::Yes), "quorum-refused Fail");
    }

    fn recovered(known: u64, after: u64, begins: u64) -> Sight {
        let said = format!("{} revision {known}", TOLD.join(" "));
        Sight::Recovered { said, acknowledged: 4, known, before: 1, after, begins }
    }

    #[test]
    fn nobody_takes_the_recovered_cluster_for_the_old_one() {
        let good = recovered(4, 2, 1_000_000_004);
        assert_eq!(verdict(std::slice::from_ref(&good)), "recovery-told Pass");
        assert_eq!(verdict(&[recovered(3, 2, 1_000_000_003)]), "recovery-told Fail", "it knew more");
        assert_eq!(verdict(&[recovered(4, 1, 1_000_000_004)]), "recovery-told Fail", "the same id");
        assert_eq!(verdict(&[recovered(4, 2, 5)]), "recovery-told Fail", "revisions come again");
        let silent = match good.clone() {
            Sight::Recovered { acknowledged, known, before, after, begins, .. } => {
                Sight::Recovered { said: "done".to_owned(), acknowledged, known, before, after, begins }
            }
            _ => unreachable!("just made"),
        };
        assert_eq!(verdict(&[silent]), "recovery-told Fail");
        let resumed = |canceled, compacted| Sight::Resumed { from: 5, canceled, compacted };
        assert_eq!(verdict(&[good.clone(), resumed(true, 1_000_000_004)]), "recovery-told Pass");
        assert_eq!(verdict(&[good.clone(), resumed(true, 3)]), "recovery-told Fail");
        assert_eq!(verdict(&[good, resumed(false, 0)]), "recovery-told Fail");
    }

    #[test]
    fn what_is_restored_is_the_state_of_its_revision() {
        let kv = |key: &str, value: &str, created, modified, version| Kv {
            key: key.to_owned(),
            value: value.to_owned(),
            created,
            modified,
            version,
            lease: 0,
        };
        let restored = |revision, cluster, kvs: &[Kv]| {
            verdict(&[Sight::Restored { member: "n1".to_owned(), revision, cluster, kvs: kvs.to_vec() }])
        };
        let (old, new) = (kv("/chaos/a", "1", 2, 2, 1), kv("/chaos/a", "3", 2, 4, 2));
        let other = kv("/chaos/b", "2", 3, 3, 1);
        let elsewhere = script::CLUSTER + 1;
        assert_eq!(restored(3, elsewhere, &[old.clone(), other.clone()]), "restored-exact Pass");
        assert_eq!(restored(4, elsewhere, &[new.clone(), other.clone()]), "restored-exact Pass");
        assert_eq!(restored(3, elsewhere, &[new, other.clone()]), "restored-exact Fail", "too new");
        assert_eq!(
            restored(4, elsewhere, std::slice::from_ref(&other)),
            "restored-exact Fail",
            "a key is lost"
        );
        assert_eq!(restored(3, script::CLUSTER, &[old, other]), "restored-exact Fail", "the old cluster");
    }
}
