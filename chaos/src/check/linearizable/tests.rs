//! The search against every order there is, on many small histories; and what it says of plain mistakes.

use std::collections::BTreeSet;

use base::{Entropy, SeededEntropy};

use super::hints::sharpen;
use super::windows;
use super::*;
use crate::history::Is;

const BUDGET: u64 = 2_000_000;
const ALL_KINDS: u64 = 8;

fn holding(value: u32, version: u64) -> Register {
    Register { value: Some(Value(value)), version: Some(version) }
}

fn saw(before: Register) -> Answered {
    Answered { before, ..Answered::default() }
}

fn call(invoked: u64, returned: u64, write: Option<Write>, output: Answered) -> Call {
    let returned = Some(returned).filter(|&at| at != u64::MAX);
    Call { process: 1, invoked, returned, input: Asked { guards: Vec::new(), write }, output }
}

fn put(invoked: u64, returned: u64, value: u32) -> Call {
    call(invoked, returned, Some(Write::Put(Value(value))), Answered::default())
}

fn read(invoked: u64, returned: u64, before: Register) -> Call {
    call(invoked, returned, None, saw(before))
}

fn swap(invoked: u64, returned: u64, version: u64, value: u32, held: bool) -> Call {
    let mut call = put(invoked, returned, value);
    call.input.guards = vec![Guard::Version(Is::Equal, version)];
    call.output.held = call.returned.map(|_| held);
    call
}

const NEVER: u64 = u64::MAX;

fn judged(calls: &[Call]) -> Judged {
    search(Register::NOTHING, calls, BUDGET).0
}

fn accepts(calls: &[Call]) {
    let (judged, steps) = search(Register::NOTHING, calls, BUDGET);
    let shown = &calls[..calls.len().min(20)];
    assert_eq!(judged, Judged::Linearizable, "{steps} steps, {shown:#?}");
}

fn refuses(calls: &[Call]) -> Stuck {
    match judged(calls) {
        Judged::NotLinearizable(stuck) => stuck,
        other => panic!("{other:?} of {} calls", calls.len()),
    }
}

#[test]
fn a_stale_read_is_refused() {
    let calls = [put(0, 1, 2), put(2, 3, 3), read(4, 5, holding(2, 1))];
    let stuck = refuses(&calls);
    assert_eq!(stuck, Stuck { order: vec![0, 1], register: holding(3, 2), next: vec![2] });
    accepts(&[put(0, 1, 2), put(2, 5, 3), read(4, 5, holding(2, 1))]);
}

#[test]
fn a_lost_write_is_refused() {
    refuses(&[put(0, 1, 2), read(2, 3, Register::NOTHING)]);
    refuses(&[put(0, 1, 2), put(2, 3, 3), read(4, 5, holding(3, 1))]);
}

#[test]
fn two_swaps_of_one_version_are_refused() {
    refuses(&[put(0, 1, 2), swap(2, 5, 1, 3, true), swap(3, 6, 1, 4, true)]);
    accepts(&[put(0, 1, 2), swap(2, 5, 1, 3, true), swap(3, 6, 1, 4, false)]);
}

#[test]
fn a_value_out_of_nowhere_is_refused() {
    refuses(&[put(0, 1, 2), read(0, 3, holding(9, 1))]);
}

#[test]
fn a_write_of_unknown_outcome_happened_once_or_never() {
    let unknown = put(2, NEVER, 3);
    accepts(&[put(0, 1, 2), unknown.clone(), read(8, 9, holding(2, 1))]);
    accepts(&[put(0, 1, 2), unknown.clone(), read(8, 9, holding(2, 1)), read(10, 11, holding(3, 2))]);
    refuses(&[put(0, 1, 2), unknown.clone(), read(8, 9, holding(3, 2)), read(10, 11, holding(2, 1))]);
    refuses(&[put(0, 1, 2), read(1, 2, holding(3, 2)), put(3, NEVER, 3)]);
    let twice = [put(0, 1, 2), unknown, read(4, 5, holding(3, 2)), put(6, 7, 4), read(8, 9, holding(3, 4))];
    refuses(&twice);
}

#[test]
fn many_writes_that_nobody_saw_do_not_drown_the_search() {
    let mut calls = vec![put(0, 1, 2)];
    calls.extend((0..200).map(|at| put(2 + at, NEVER, Value::UNSEEN.0)));
    calls.push(read(300, 301, holding(2, 1)));
    calls.push(put(302, 303, 3));
    calls.push(read(304, 305, holding(3, 150)));
    accepts(&calls);
    calls.push(read(306, 307, holding(2, 151)));
    refuses(&calls);
}

#[test]
fn a_search_without_end_is_given_up() {
    let calls: Vec<Call> = (0..24).map(|at| put(at, 100 + at, 2 + u32::try_from(at).unwrap())).collect();
    let impossible = calls.iter().cloned().chain([read(200, 201, holding(1_000, 24))]).collect::<Vec<_>>();
    assert_eq!(search(Register::NOTHING, &impossible, 10_000), (Judged::OutOfBudget, 10_001));
}

/// Whether any order explains them, by trying them all.
fn any_order(register: Register, calls: &[Call], taken: &mut BTreeSet<usize>) -> bool {
    let left = || (0..calls.len()).filter(|call| !taken.contains(call));
    let Some(first_return) = left().filter_map(|call| calls[call].returned).min() else { return true };
    let next: Vec<usize> = left().filter(|&call| calls[call].invoked <= first_return).collect();
    next.into_iter().any(|call| {
        register.after(&calls[call]).is_some_and(|after| {
            taken.insert(call);
            let found = any_order(after, calls, taken);
            taken.remove(&call);
            found
        })
    })
}

/// A few processes on one register that answers at a random moment of each call; some calls are never answered, of
/// which half never happen. Of all kinds of calls, the last deletes.
fn random_history(chance: &SeededEntropy, count: usize, processes: u64, kinds: u64) -> Vec<Call> {
    let below = |limit: u64| chance.u64() % limit;
    let mut register = Register::NOTHING;
    let mut free_at = vec![0; usize::try_from(processes).unwrap()];
    let mut plans: Vec<(u64, Call)> = (0..count)
        .map(|place| {
            let process = usize::try_from(below(processes)).unwrap();
            let invoked = free_at[process] + 1 + below(4);
            let (happens, returned) = (invoked + below(6), invoked + 6 + below(4));
            free_at[process] = returned;
            let unknown = below(8) == 0;
            let mut call = call(invoked, if unknown { NEVER } else { returned }, None, Answered::default());
            call.process = u32::try_from(process).unwrap();
            let value = Value(2 + if below(3) == 0 { 0 } else { u32::try_from(place).unwrap() });
            match below(kinds) {
                0..3 => {}
                3 | 4 => call.input.write = Some(Write::Put(value)),
                5 | 6 => {
                    call.input.write = Some(Write::Put(value));
                    call.input.guards.push(Guard::Version(Is::Equal, below(4)));
                }
                _ => call.input.write = Some(Write::Delete),
            }
            let happens = if unknown && below(2) == 0 { NEVER } else { happens };
            (happens, call)
        })
        .collect();
    plans.sort_by_key(|(happens, _)| *happens);
    let happened = plans.into_iter().map(|(happens, mut call)| {
        if happens != NEVER {
            let before = register;
            register = before.after(&call).unwrap();
            if call.returned.is_some() {
                answer(&mut call, before);
            }
        }
        call
    });
    let mut calls: Vec<Call> = happened.collect();
    calls.sort_by_key(|call| call.invoked);
    calls
}

fn answer(call: &mut Call, before: Register) {
    if let Some(&Guard::Version(_, version)) = call.input.guards.first() {
        call.output.held = Some(before.version == Some(version));
    } else if call.input.write.is_none() {
        call.output.before = before;
    }
}

/// Another answer than the one that was given, if it has one.
fn lie(chance: &SeededEntropy, call: &mut Call) {
    if let Some(held) = &mut call.output.held {
        *held = !*held;
    } else if call.output.before != Register::ANY {
        let value = 2 + u32::try_from(chance.u64() % 6).unwrap();
        call.output.before = holding(value, 1 + chance.u64() % 3);
    }
}

#[test]
fn it_says_what_trying_every_order_says() {
    let chance = SeededEntropy::new(1);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let mut calls = random_history(&chance, 8, 3, ALL_KINDS - chance.u64() % 2);
        accepts(&calls);
        let victim = usize::try_from(chance.u64()).unwrap() % calls.len();
        lie(&chance, &mut calls[victim]);
        let explained = any_order(Register::NOTHING, &calls, &mut BTreeSet::new());
        assert_eq!(judged(&calls) == Judged::Linearizable, explained, "{calls:#?}");
        sharpen(&mut calls);
        assert_eq!(judged(&calls) == Judged::Linearizable, explained, "sharpened: {calls:#?}");
        *if explained { &mut accepted } else { &mut refused } += 1;
    }
    assert!(
        accepted > 1_000 && refused > 1_000,
        "{accepted} accepted, {refused} refused: the lies are too tame"
    );
}

#[test]
fn a_long_history_is_judged_in_windows_and_as_a_whole() {
    let mut calls = random_history(&SeededEntropy::new(2), 6_000, 6, ALL_KINDS - 1);
    sharpen(&mut calls);
    accepts(&calls);
    let windows = windows::cut(&calls, 20);
    assert!(windows.len() > 10, "only {} windows", windows.len());
    let wrong = |calls: &[Call]| {
        let windows = windows::cut(calls, 20).into_iter();
        let stuck = windows.filter(|window| {
            let calls: Vec<Call> = window.calls.iter().map(|&call| calls[call].clone()).collect();
            matches!(search(window.start, &calls, BUDGET).0, Judged::NotLinearizable(_))
        });
        stuck.count()
    };
    assert_eq!(wrong(&calls), 0);
    let reads = calls.iter_mut().filter(|call| call.output.before.value.is_some_and(|value| value.0 > 2));
    reads.last().unwrap().output.before = holding(2, 1);
    refuses(&calls);
    assert_eq!(wrong(&calls), 1);
}

mod histories {
    //! The way from a history's lines to a finding.

    use super::*;
    use crate::history::script::{Script, delete, equal, get, put, put_leased, span, txn};
    use crate::history::{Answer, Event, Kv, Op, Outcome, Target};

    const KEY: &str = "/chaos/register/1";

    fn script() -> Script {
        let mut script = Script::begin();
        script.workload = "register".to_owned();
        script
    }

    fn found(script: &Script) -> Finding {
        let history = script.history();
        check(&history.operations(), &["register"], Limits::default())
    }

    fn swap_value(expected: &str, value: &str) -> Op {
        txn(vec![equal(KEY, Target::Value(expected.to_owned()))], vec![put(KEY, value)], vec![get(KEY)])
    }

    #[test]
    fn an_honest_register_passes() {
        let mut script = script();
        script.run(1, get(KEY));
        script.call(1, put(KEY, "a"));
        script.call(2, get(KEY));
        script.apply(1);
        script.ok(2);
        script.ok(1);
        script.run(1, swap_value("a", "b"));
        script.run(2, swap_value("a", "c"));
        let modified = script.store.get(KEY).unwrap().modified;
        script.run(2, txn(vec![equal(KEY, Target::Modified(modified))], vec![put(KEY, "d")], vec![get(KEY)]));
        script.run(2, txn(vec![equal(KEY, Target::Modified(modified))], vec![put(KEY, "e")], vec![get(KEY)]));
        script.run(3, Op::Range(span("/chaos/register/", "/chaos/register0")));
        script.run(1, delete(KEY));
        script.run(1, delete(KEY));
        script.call(4, put(KEY, "f"));
        script.apply(4);
        script.unknown(4);
        script.run(1, get(KEY));
        let finding = found(&script);
        assert_eq!((finding.violations, finding.inconclusive, finding.checked), (Vec::new(), None, 12));
    }

    /// The first thing that a read returned.
    fn seen(script: &mut Script, line: usize) -> &mut Vec<Kv> {
        let Event::Return { outcome: Outcome::Ok { answer, .. } } = &mut script.line(line).event else {
            panic!("not a return")
        };
        match answer {
            Answer::Range { kvs, .. } => kvs,
            Answer::Txn { answers, .. } => match &mut answers[0] {
                Answer::Range { kvs, .. } => kvs,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_register_that_forgets_fails() {
        let mut script = script();
        script.run(1, put(KEY, "a"));
        script.run(1, put(KEY, "b"));
        let line = script.run(2, get(KEY));
        let kv = &mut seen(&mut script, line)[0];
        (kv.value, kv.version) = ("a".to_owned(), 1);
        let finding = found(&script);
        let [violation] = &finding.violations[..] else { panic!("{finding:?}") };
        assert!(violation.what.contains("\"b\" (version 2)"), "{}", violation.what);
        assert!(violation.what.contains("p2 read and saw \"a\" (version 1)"), "{}", violation.what);
        assert_eq!(violation.lines, [3, 4, 5, 6]);
    }

    #[test]
    fn a_swap_that_ignores_its_guard_fails() {
        let mut script = script();
        script.run(1, put(KEY, "a"));
        script.run(1, put(KEY, "b"));
        let line = script.run(2, swap_value("b", "c"));
        assert!(found(&script).violations.is_empty());
        let Event::Invoke(invoke) = &mut script.line(line - 1).event else { panic!("not an invoke") };
        invoke.op = swap_value("a", "c");
        assert_eq!(found(&script).violations.len(), 1);
    }

    #[test]
    fn a_deletion_that_comes_back_fails() {
        let mut script = script();
        script.run(1, put(KEY, "a"));
        let line = script.run(2, get(KEY));
        script.run(1, delete(KEY));
        let kvs = seen(&mut script, line).clone();
        let line = script.run(2, get(KEY));
        seen(&mut script, line).extend(kvs);
        assert_eq!(found(&script).violations.len(), 1);
    }

    #[test]
    fn keys_that_leases_take_away_are_set_aside() {
        let mut script = script();
        script.run(1, Op::Grant { id: 7, ttl_s: 5 });
        script.run(1, put_leased(KEY, "a", 7));
        let finding = found(&script);
        assert_eq!((finding.checked, finding.violations.len()), (0, 0));
        assert_eq!(finding.inconclusive.as_deref(), Some("none of 1 keys is used as a register"));
    }
}
