//! Linearizable by making, from a random serial execution with random overlaps: accepted. With one answer bent: refused,
//! unless the bent history is as good as the first.

use proptest::prelude::*;

use super::*;
use crate::history::{Answer, Event, Outcome, Range, WatchEvent};
use crate::model::{has_written, revision_of};

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Call(u32, Op),
    Apply(u32),
    Return(u32, bool),
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned)
}

/// Values are numbered afterwards, so that each is written once.
fn simple() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => key().prop_map(|key| put(&key, "")),
        3 => (key(), any::<bool>()).prop_map(|(key, serializable)| {
            Op::Range(Range { key, serializable, ..Range::default() })
        }),
        1 => (0..4_u64, 0..3_u64).prop_map(|(limit, revision)| {
            Op::Range(Range { limit, revision, ..span("a", "z") })
        }),
        1 => key().prop_map(|key| delete(&key)),
        1 => Just(Op::Delete(crate::history::Delete { key: "a".to_owned(), end: Some("c".to_owned()), previous: true })),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let guarded = (key(), 0..3_u64, simple(), simple()).prop_map(|(key, version, then, otherwise)| {
        txn(vec![equal(&key, Target::Version(version))], vec![then], vec![otherwise])
    });
    prop_oneof![4 => simple(), 1 => guarded]
}

pub(super) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (1..6_u32, op()).prop_map(|(process, op)| Move::Call(process, op)),
        (1..6_u32).prop_map(Move::Apply),
        (1..6_u32, prop::bool::weighted(0.9)).prop_map(|(process, known)| Move::Return(process, known)),
    ];
    prop::collection::vec(one, 10..80)
}

fn number(op: &mut Op, next: &mut u32) {
    match op {
        Op::Put(put) => {
            *next += 1;
            put.value = format!("v{next}");
        }
        Op::Txn(txn) => txn.then.iter_mut().chain(&mut txn.otherwise).for_each(|op| number(op, next)),
        _ => {}
    }
}

/// Plays what fits; a process that was given up is followed by another. Returns the lines of answers, too.
pub(super) fn play(moves: Vec<Move>) -> (Script, Vec<usize>) {
    let mut script = Script::begin();
    // Without any revision there is no log to tell.
    script.run(1, put("z", "first"));
    let (mut values, mut answers) = (0, Vec::new());
    let mut doing: std::collections::BTreeMap<u32, (u32, bool, bool)> = std::collections::BTreeMap::new();
    for step in moves {
        match step {
            Move::Call(process, mut op) => {
                let (generation, waiting, _) = doing.get(&process).copied().unwrap_or_default();
                if !waiting {
                    number(&mut op, &mut values);
                    script.call(process + 10 * generation, op);
                    doing.insert(process, (generation, true, false));
                }
            }
            Move::Apply(process) => {
                if let Some((generation, true, false)) = doing.get(&process).copied() {
                    script.apply(process + 10 * generation);
                    doing.insert(process, (generation, true, true));
                }
            }
            Move::Return(process, known) => match doing.get(&process).copied() {
                Some((generation, true, _)) if known => {
                    answers.push(script.answer(process + 10 * generation));
                    doing.insert(process, (generation, false, false));
                }
                Some((generation, true, _)) => {
                    script.unknown(process + 10 * generation);
                    doing.insert(process, (generation + 1, false, false));
                }
                _ => {}
            },
        }
    }
    (script, answers)
}

/// Changes something that any answer has; whether it could.
pub(super) fn bend(event: &mut Event, how: u32) -> bool {
    let Event::Return { outcome: Outcome::Ok { header, answer } } = event else { return false };
    match (how, answer) {
        (0, _) => header.revision += 1,
        (1, _) if header.revision > 1 => header.revision -= 1,
        (2, Answer::Range { kvs, .. }) if !kvs.is_empty() => kvs[0].value.push('x'),
        (3, Answer::Range { kvs, .. }) if !kvs.is_empty() => _ = kvs.remove(0),
        (4, Answer::Range { count, .. }) => *count += 1,
        (5, Answer::Delete { deleted, .. }) => *deleted += 1,
        (6, Answer::Txn { succeeded, .. }) => *succeeded = !*succeeded,
        (7, Answer::Range { kvs, .. }) if !kvs.is_empty() => kvs[0].version += 1,
        _ => return false,
    }
    true
}

/// Whether an answer that was bent is provably as good as before: its revision moved to a state that reads alike, and
/// leaves room for everything that came before its call, and after its return. Said plainly, in square time.
fn is_harmless(script: &Script, line: usize) -> bool {
    let calls = calls(script);
    let Some(bent) = calls.iter().find(|call| call.returned == Some(line)) else { return false };
    let Some((revision, answer)) = bent.answer else { return false };
    if has_written(answer) || revision == 0 || revision > script.store.revision {
        return false;
    }
    let alike = script.store.as_of(revision).apply(bent.op).as_ref() == Ok(answer);
    let asked_before = script.makers.range(..=revision).all(|(_, call)| *call < line);
    let fits = calls.iter().filter(|call| call.returned != Some(line)).all(|other| {
        let Some((theirs, answer)) = other.answer else {
            // Only refusals speak of revisions: that one is in the future.
            return other.invoked < line || other.returned.is_none() || asked(other.op) > revision;
        };
        let before = other.returned.is_some_and(|returned| returned < bent.invoked);
        let before_matters = !is_local(bent.op) || is_local(other.op);
        let after = line < other.invoked;
        let after_matters = !is_local(other.op) || is_local(bent.op);
        (!before || !before_matters || theirs <= revision)
            && (!after || !after_matters || theirs >= revision + u64::from(has_written(answer)))
    });
    alike && asked_before && fits
}

struct Call<'s> {
    op: &'s Op,
    invoked: usize,
    /// Not of what ended unknown.
    returned: Option<usize>,
    answer: Option<(u64, &'s Answer)>,
}

fn calls(script: &Script) -> Vec<Call<'_>> {
    let mut calls: Vec<Call<'_>> = Vec::new();
    let mut open = std::collections::BTreeMap::new();
    for (number, line) in script.lines.iter().enumerate() {
        match &line.event {
            Event::Invoke(invoke) => {
                open.insert(line.process, calls.len());
                calls.push(Call { op: &invoke.op, invoked: number, returned: None, answer: None });
            }
            Event::Return { outcome } => {
                let call = &mut calls[open[&line.process]];
                call.returned = (!matches!(outcome, Outcome::Unknown(_))).then_some(number);
                if let Outcome::Ok { header, answer } = outcome {
                    call.answer = Some((header.revision, answer));
                }
            }
            _ => {}
        }
    }
    calls
}

fn is_local(op: &Op) -> bool {
    match op {
        Op::Range(range) => range.serializable,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).all(is_local),
        _ => false,
    }
}

fn asked(op: &Op) -> u64 {
    match op {
        Op::Range(range) => range.revision,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).map(asked).max().unwrap_or(0),
        _ => 0,
    }
}

fn deletes(op: &Op) -> bool {
    match op {
        Op::Delete(_) => true,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(deletes),
        _ => false,
    }
}

/// Deletions can stand for each other: two of unknown outcome, or one of them and the one whose answer is bent, which may
/// then say that it deleted what the other did.
fn is_ambiguous(script: &Script, line: usize) -> bool {
    let may_stand =
        |call: &&Call<'_>| call.returned.is_none_or(|returned| returned == line) && deletes(call.op);
    calls(script).iter().filter(may_stand).count() > 1
}

/// Found by chance: the deletion of unknown outcome made the revision that the bent answer claims.
#[test]
fn a_deletion_may_have_done_what_another_did() {
    let mut script = Script::begin();
    script.run(1, put("a", "first"));
    script.call(2, delete("a"));
    script.apply(2);
    script.unknown(2);
    script.call(3, delete("a"));
    let line = script.answer(3);
    assert!(bend(&mut script.line(line).event, 5));
    assert!(is_ambiguous(&script, line));
    script.logs();
    assert_eq!(broken(&script.history()), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_linearizable_is_accepted(moves in moves()) {
        let (mut script, _) = play(moves);
        script.logs();
        prop_assert_eq!(broken(&script.history()), [""; 0]);
    }

    #[test]
    fn what_is_bent_is_refused(moves in moves(), which in any::<prop::sample::Index>(), how in 0..8_u32) {
        let (mut script, answers) = play(moves);
        prop_assume!(!answers.is_empty());
        let line = *which.get(&answers);
        let bent = (how..how + 8).any(|how| bend(&mut script.line(line).event, how % 8));
        prop_assert!(bent);
        let harmless = is_harmless(&script, line);
        prop_assume!(harmless || !is_ambiguous(&script, line));
        script.logs();
        prop_assert_eq!(broken(&script.history()).is_empty(), harmless);
    }

    #[test]
    fn a_watch_in_any_pieces_is_accepted_and_no_other(
        moves in moves(),
        start in 0.0..1.0_f64,
        sizes in prop::collection::vec(1..4_usize, 1..8),
        at in any::<prop::sample::Index>(),
        how in 0..5_u32,
    ) {
        let (script, _) = play(moves);
        let start = 2 + (start * (script.store.revision - 1) as f64) as u64;
        let events = super::watches::all(&script, start..=script.store.revision, true);
        prop_assert_eq!(watched(&script, start, events.clone(), &sizes), [""; 0]);
        prop_assume!(!events.is_empty());
        let bent = bend_events(events.clone(), at.index(events.len()), how);
        let is_bent = bent != events;
        prop_assert_eq!(watched(&script, start, bent, &sizes).is_empty(), !is_bent);
    }
}

/// What is broken when these are told to a watch, so many revisions at a time, and then that this was all.
fn watched(script: &Script, start: u64, events: Vec<WatchEvent>, sizes: &[usize]) -> Vec<String> {
    let mut script = script.clone();
    let watch = script.watch_with("a", start, |open| {
        (open.end, open.previous) = (Some("\0".to_owned()), true);
    });
    let same = |a: &WatchEvent, b: &WatchEvent| revision_of(&a.change) == revision_of(&b.change);
    let revisions: Vec<_> = events.chunk_by(same).collect();
    let (mut rest, mut sizes) = (revisions.as_slice(), sizes.iter().cycle());
    while !rest.is_empty() {
        let count = (*sizes.next().unwrap()).min(rest.len());
        script.watch_answer(watch, rest[..count].concat());
        rest = &rest[count..];
    }
    script.watch_answer(watch, Vec::new());
    script.logs();
    broken(&script.history())
}

fn bend_events(mut events: Vec<WatchEvent>, at: usize, how: u32) -> Vec<WatchEvent> {
    let other = (at + 1) % events.len();
    match how {
        0 => _ = events.remove(at),
        1 => events.insert(other, events[at].clone()),
        2 => events.swap(at, other),
        3 => events[at].previous = events[other].previous.clone(),
        _ => events[at].change = events[other].change.clone(),
    }
    events
}
