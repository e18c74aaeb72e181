//! The second opinions against the oracle, on random histories: what they refuse, it refuses too.

use proptest::prelude::*;

use super::generated::{bend, moves, play};
use super::*;
use crate::check::linearizable::{self, Limits};
use crate::check::{Input, append};
use crate::history::Answer;
use crate::verdict::{Finding, Verdict};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1_000,
        max_global_rejects: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_the_search_refuses_the_oracle_refuses(
        moves in moves(),
        which in any::<prop::sample::Index>(),
        how in 0..6_u32,
    ) {
        let (mut script, answers) = play(moves);
        prop_assert_eq!(searched(&script).violations, vec![]);
        prop_assume!(!answers.is_empty());
        let line = *which.get(&answers);
        let bent = (how..how + 6).any(|how| bend(&mut script.line(line).event, 2 + how % 6));
        prop_assume!(bent);
        let refused = searched(&script).verdict() == Verdict::Fail;
        script.logs();
        prop_assert!(!refused || !broken(&script.history()).is_empty(), "only the search refuses it");
    }

    #[test]
    fn what_list_judges_refuse_the_oracle_refuses(
        turns in prop::collection::vec((0..4_u32, 0..3_usize, 1..4_usize), 10..80),
        which in any::<prop::sample::Index>(),
        how in 0..3_u32,
    ) {
        let (mut script, reads) = play_lists(&turns);
        let honest = listed(&script);
        prop_assert_eq!((honest.violations, honest.inconclusive), (vec![], None));
        prop_assume!(!reads.is_empty());
        let line = *which.get(&reads);
        prop_assume!(bend_list(script.outcome(line).1, how));
        let finding = listed(&script);
        let differ = finding.inconclusive.filter(|why| why.contains("fault of the harness"));
        prop_assert_eq!(differ, None);
        script.logs();
        let is_agreed = finding.violations.is_empty() || !broken(&script.history()).is_empty();
        prop_assert!(is_agreed, "only the list judges refuse it");
    }
}

/// What the search on single keys says.
fn searched(script: &Script) -> Finding {
    let history = script.history();
    linearizable::check(&history.operations(), &["by-hand"], Limits::default())
}

fn listed(script: &Script) -> Finding {
    let history = script.history();
    append::check(&Input::new(&history).operations)
}

/// Where somebody is with a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Reads(bool),
    Writes(bool),
}

/// Each turn, a process goes on with a transaction: asks to read some lists, has it happen, hears of it, asks to append
/// to one of them if none has changed, and so on. Returns the lines of what was read, too.
fn play_lists(turns: &[(u32, usize, usize)]) -> (Script, Vec<usize>) {
    let lists = ["/chaos/append/1", "/chaos/append/2", "/chaos/append/3"];
    let mut script = Script::begin();
    script.workload = "append".to_owned();
    let mut stages = [Stage::Idle; 4];
    let mut chosen: [Vec<&str>; 4] = Default::default();
    let mut read = [0; 4];
    let mut reads = Vec::new();
    for (element, (process, first, count)) in (1..).zip(turns) {
        let at = *process as usize;
        stages[at] = match stages[at] {
            Stage::Idle => {
                chosen[at] = lists.iter().cycle().skip(*first).take(*count).copied().collect();
                script.call(*process, txn(vec![], chosen[at].iter().map(|list| get(list)).collect(), vec![]));
                Stage::Reads(false)
            }
            Stage::Reads(false) | Stage::Writes(false) => {
                script.apply(*process);
                if stages[at] == Stage::Reads(false) { Stage::Reads(true) } else { Stage::Writes(true) }
            }
            Stage::Reads(true) => {
                read[at] = script.answer(*process);
                reads.push(read[at]);
                let write = append_to_first(&mut script, read[at], &chosen[at], element);
                script.call(*process, write);
                Stage::Writes(false)
            }
            Stage::Writes(true) => {
                script.answer(*process);
                Stage::Idle
            }
        };
    }
    (script, reads)
}

fn append_to_first(script: &mut Script, read: usize, lists: &[&str], element: u64) -> Op {
    let Answer::Txn { answers, .. } = script.outcome(read).1 else { panic!("it read otherwise") };
    let held = answers.iter().map(|answer| match answer {
        Answer::Range { kvs, .. } => kvs.first().map(|kv| (kv.value.clone(), kv.modified)),
        other => panic!("{other:?}"),
    });
    let held: Vec<_> = held.collect();
    let guards = lists.iter().zip(&held).map(|(list, held)| {
        equal(list, Target::Modified(held.as_ref().map_or(0, |(_, modified)| *modified)))
    });
    let value =
        held[0].as_ref().map_or_else(|| element.to_string(), |(value, _)| format!("{value},{element}"));
    txn(guards.collect(), vec![put(lists[0], &value)], vec![])
}

/// Takes the end of a list that was read, its beginning, or all of it.
fn bend_list(answer: &mut Answer, how: u32) -> bool {
    let Answer::Txn { answers, .. } = answer else { return false };
    let kvs = answers.iter_mut().filter_map(|answer| match answer {
        Answer::Range { kvs, .. } => Some(kvs),
        _ => None,
    });
    let Some(kvs) = kvs.into_iter().find(|kvs| !kvs.is_empty()) else { return false };
    match (how, kvs[0].value.clone().split_once(',')) {
        (0, _) => kvs.clear(),
        (1, Some((_, rest))) => kvs[0].value = rest.to_owned(),
        (2, Some(_)) => kvs[0].value = kvs[0].value.rsplit_once(',').unwrap().0.to_owned(),
        _ => return false,
    }
    true
}
