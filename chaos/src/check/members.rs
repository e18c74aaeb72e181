//! What members say of themselves: who holds the same history has the same hash, and a number that was given up is never
//! taken up again. (That a number is one member's only, `header` sees.)

use std::collections::BTreeMap;

use super::Input;
use super::tally::Tally;
use crate::history::{HashEntry, Operation, Place};
use crate::verdict::Finding;

/// `hash-equal`, if members told hashes, and `member-identity`.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let hashes = input.history.hashes();
    let equal = (!hashes.is_empty()).then(|| hash_equal(&hashes));
    equal.into_iter().chain([identity(&input.operations)]).collect()
}

/// G10: at one revision, compacted alike, all members have one hash. Every comparison is a test.
pub fn hash_equal(hashes: &[HashEntry<'_>]) -> Finding {
    let mut tally = Tally::of("hash-equal");
    let mut first: BTreeMap<(u64, u64), &HashEntry<'_>> = BTreeMap::new();
    for entry in hashes {
        let HashEntry { member, revision, compacted, hash, .. } = entry;
        let one = *first.entry((*revision, *compacted)).or_insert(entry);
        // What a member told twice is no agreement of two.
        if one.member == *member && one.hash == *hash {
            continue;
        }
        tally.hold(one.hash == *hash, || {
            let what = format!(
                "at revision {revision}, compacted to {compacted}, {} has the hash {:x} and {member} has {hash:x}",
                one.member, one.hash,
            );
            (what, vec![one.place.line, entry.place.line])
        });
    }
    tally.finish()
}

/// G11, as far as answers show it: a member that has got another number does not go back. That a removed member does not
/// count for a quorum shows in what is acknowledged and lost, not here.
pub fn identity(operations: &[Operation<'_>]) -> Finding {
    let mut tally = Tally::of("member-identity");
    let mut answers: Vec<(Place, &Operation<'_>, u64)> = operations
        .iter()
        .filter_map(|operation| Some((operation.returned?, operation, operation.ok()?.0.member)))
        .collect();
    answers.sort_by_key(|(place, _, _)| *place);
    // Of each member, the numbers that it has had, each since when.
    let mut numbers: BTreeMap<&str, Vec<(u64, Place)>> = BTreeMap::new();
    for (place, operation, number) in answers {
        let member = operation.answered_by;
        let had = numbers.entry(member).or_default();
        if had.iter().all(|(one, _)| *one != number) {
            had.push((number, place));
        }
        // An answer that was under way when the number changed may still come.
        let later = had.iter().rev().take_while(|(one, _)| *one != number);
        let newer = later.filter(|(_, since)| since.line < operation.invoked.line).last();
        tally.test(newer.map(|(now, since)| {
            let what = format!("{member} is back as member {number:x}, after it had become {now:x}");
            (what, vec![since.line, operation.invoked.line, place.line])
        }));
    }
    tally.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, get};
    use crate::history::{Event, Outcome};
    use crate::verdict::Verdict;

    /// Of each member, what it says it is.
    fn answered(ids: &[(&str, u64)]) -> Finding {
        let mut script = Script::begin();
        for (member, id) in ids {
            script.member = (*member).to_owned();
            let line = script.run(1, get("/chaos/x"));
            let Event::Return { outcome: Outcome::Ok { header, .. } } = &mut script.line(line).event else {
                panic!("refused")
            };
            header.member = *id;
        }
        let history = script.history();
        identity(&history.operations())
    }

    #[test]
    fn a_member_may_come_back_under_a_new_id() {
        assert_eq!(
            answered(&[("n1", 1), ("n2", 2), ("n1", 1), ("n1", 9), ("n2", 2)]).verdict(),
            Verdict::Pass
        );
    }

    #[test]
    fn a_member_that_goes_back_to_an_old_id_fails() {
        assert_eq!(answered(&[("n1", 1), ("n1", 9), ("n1", 1)]).verdict(), Verdict::Fail);
        assert_eq!(
            answered(&[("n1", 1), ("n1", 9), ("n1", 10), ("n2", 2), ("n1", 9)]).verdict(),
            Verdict::Fail
        );
        assert_eq!(
            answered(&[("n2", 2), ("n2", 8), ("n2", 8), ("n1", 1), ("n2", 2)]).verdict(),
            Verdict::Fail
        );
    }

    fn hashed(entries: &[(&str, u64, u64, u64)]) -> Finding {
        let mut script = Script::begin();
        for &(member, revision, compacted, hash) in entries {
            let member = member.to_owned();
            script.event(0, Event::Hash { member, revision, compacted, hash });
        }
        let history = script.history();
        hash_equal(&history.hashes())
    }

    #[test]
    fn equal_hashes_pass_and_others_of_other_revisions_are_not_compared() {
        let finding = hashed(&[("n1", 5, 0, 7), ("n2", 5, 0, 7), ("n3", 5, 3, 8), ("n3", 4, 0, 9)]);
        assert_eq!((finding.verdict(), finding.checked), (Verdict::Pass, 1));
        assert_eq!(hashed(&[("n1", 5, 0, 7), ("n2", 6, 0, 8)]).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn other_hashes_fail() {
        assert_eq!(hashed(&[("n1", 5, 0, 7), ("n2", 5, 0, 8)]).verdict(), Verdict::Fail);
        assert_eq!(hashed(&[("n1", 5, 2, 7), ("n2", 5, 2, 7), ("n3", 5, 2, 8)]).verdict(), Verdict::Fail);
        assert_eq!(hashed(&[("n1", 5, 2, 7), ("n1", 5, 2, 8)]).verdict(), Verdict::Fail, "of itself, later");
    }
}
