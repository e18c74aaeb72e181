//! What both judges say of plain mistakes, and that they say what trying every order says, on many small histories.

use std::collections::{BTreeMap, BTreeSet};

use base::{Entropy, SeededEntropy};

use super::*;
use crate::check::Input;
use crate::history::script::{Script, equal, get, put, txn};
use crate::history::{Answer, Event, Op, Outcome, Target};

fn read(key: &str, list: &[u64]) -> Micro {
    Micro::Read { key: key.to_owned(), list: list.to_vec() }
}

fn append(key: &str, element: u64) -> Micro {
    Micro::Append { key: key.to_owned(), element }
}

fn transaction(invoked: u64, returned: u64, micros: Vec<Micro>) -> Transaction {
    let happened = Happened::Yes;
    Transaction { process: 1, invoked, returned: Some(returned), happened, micros, lines: Vec::new() }
}

fn judges() -> Vec<Box<dyn Opinion>> {
    vec![
        Box::new(Cycles),
        #[cfg(feature = "elle")]
        Box::new(Elle),
    ]
}

/// What each judge finds first.
fn kinds(transactions: &[Transaction]) -> BTreeSet<String> {
    judges().iter().flat_map(|judge| judge.anomalies(transactions)).map(|anomaly| anomaly.kind).collect()
}

fn refused(transactions: &[Transaction], kind: &str) {
    for judge in judges() {
        let found = judge.anomalies(transactions);
        assert!(!found.is_empty(), "{} finds nothing in {transactions:#?}", judge.name());
    }
    assert!(kinds(transactions).iter().any(|found| found.starts_with(kind)), "{:?}", kinds(transactions));
}

#[test]
fn a_stale_read_is_refused() {
    let [write, late] = [vec![append("a", 1)], vec![read("a", &[])]];
    refused(
        &[
            transaction(0, 1, write.clone()),
            transaction(2, 3, late.clone()),
            transaction(4, 5, vec![read("a", &[1])]),
        ],
        "G-single",
    );
    let concurrent =
        [transaction(0, 3, write), transaction(2, 3, late), transaction(4, 5, vec![read("a", &[1])])];
    assert_eq!(kinds(&concurrent), BTreeSet::new());
}

#[test]
fn write_skew_is_refused() {
    let one = vec![read("a", &[]), read("b", &[]), append("a", 1)];
    let other = vec![read("a", &[]), read("b", &[]), append("b", 2)];
    refused(&[transaction(0, 9, one), transaction(0, 9, other)], "G2-item");
}

#[test]
fn a_lost_update_is_refused() {
    let one = vec![read("a", &[]), append("a", 1)];
    let other = vec![read("a", &[]), append("a", 2)];
    refused(
        &[transaction(0, 9, one), transaction(0, 9, other), transaction(10, 11, vec![read("a", &[1, 2])])],
        "G-single",
    );
}

#[test]
fn what_was_refused_must_not_be_read() {
    let mut aborted = transaction(0, 1, vec![append("a", 1)]);
    aborted.happened = Happened::No;
    refused(&[aborted, transaction(2, 3, vec![read("a", &[1])])], "G1a");
}

#[test]
fn half_a_transaction_must_not_be_read() {
    let both = transaction(0, 9, vec![append("a", 1), append("b", 2)]);
    refused(
        &[
            both,
            transaction(0, 9, vec![read("a", &[1]), read("b", &[])]),
            transaction(10, 11, vec![read("b", &[2])]),
        ],
        "G-single",
    );
}

#[test]
fn lists_that_do_not_agree_are_refused() {
    let appends = [1, 2].map(|element| transaction(0, 9, vec![append("a", element)]));
    let reads = [[1, 2], [2, 1]].map(|list| transaction(0, 9, vec![read("a", &list)]));
    refused(&[appends, reads].concat(), "incompatible-order");
    refused(
        &[transaction(0, 9, vec![append("a", 1)]), transaction(0, 9, vec![read("a", &[1, 1])])],
        "duplicate",
    );
}

#[test]
fn what_one_transaction_appended_stands_in_its_order() {
    let both = transaction(0, 1, vec![append("a", 1), append("a", 2)]);
    let kinds = |list: &[u64]| {
        let found = plain::anomalies(&[both.clone(), transaction(2, 3, vec![read("a", list)])]);
        found.into_iter().map(|anomaly| anomaly.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[1, 2]), Vec::<String>::new());
    assert_eq!(kinds(&[2, 1]), ["out-of-order"]);
    assert_eq!(kinds(&[1, 2, 3]), ["out-of-nowhere"]);
}

#[test]
fn who_does_not_see_its_own_append_is_refused() {
    refused(&[transaction(0, 1, vec![read("a", &[]), append("a", 1), read("a", &[])])], "internal");
}

type Lists = BTreeMap<String, Vec<u64>>;

/// The lists after it, if it could have read what it read.
fn after(mut lists: Lists, transaction: &Transaction) -> Option<Lists> {
    for micro in &transaction.micros {
        match micro {
            Micro::Read { key, list } if lists.get(key).is_none_or(Vec::is_empty) && list.is_empty() => {}
            Micro::Read { key, list } if lists.get(key) == Some(list) => {}
            Micro::Read { .. } => return None,
            Micro::Append { key, element } => lists.entry(key.clone()).or_default().push(*element),
        }
    }
    Some(lists)
}

/// Whether any order explains them, by trying them all.
fn any_order(lists: &Lists, transactions: &[Transaction], taken: &mut BTreeSet<usize>) -> bool {
    let is_left = |place: &usize| !taken.contains(place) && transactions[*place].happened != Happened::No;
    let left: Vec<usize> = (0..transactions.len()).filter(is_left).collect();
    let must = left.iter().filter(|&&place| transactions[place].happened == Happened::Yes);
    let Some(first) = must.filter_map(|&place| transactions[place].returned).min() else { return true };
    left.into_iter().filter(|&place| transactions[place].invoked <= first).any(|place| {
        after(lists.clone(), &transactions[place]).is_some_and(|lists| {
            taken.insert(place);
            let found = any_order(&lists, transactions, taken);
            taken.remove(&place);
            found
        })
    })
}

/// Transactions that happen one after the other at random moments of their time; some are of unknown outcome.
fn random_history(chance: &SeededEntropy, count: u64) -> Vec<Transaction> {
    let below = |limit: u64| chance.u64() % limit;
    let mut plans: Vec<(u64, Transaction)> = (0..count)
        .map(|number| {
            let invoked = below(20);
            let (happens, returned) = (invoked + below(6), invoked + 6 + below(3));
            let micros = (0..1 + below(3)).map(|at| {
                let key = ["a", "b"][usize::try_from(below(2)).unwrap()];
                if below(2) == 0 { read(key, &[]) } else { append(key, number * 10 + at) }
            });
            (happens, transaction(invoked, returned, micros.collect()))
        })
        .collect();
    plans.sort_by_key(|(happens, _)| *happens);
    let mut lists = Lists::new();
    for (_, transaction) in &mut plans {
        let fate = below(10);
        if fate > 1 {
            happen(&mut lists, transaction);
        }
        if fate < 3 {
            transaction.happened = if fate == 0 { Happened::No } else { Happened::Maybe };
            transaction.returned = transaction.returned.filter(|_| fate == 0);
            transaction.micros.retain(|micro| matches!(micro, Micro::Append { .. }));
        }
    }
    plans.into_iter().map(|(_, transaction)| transaction).filter(|one| !one.micros.is_empty()).collect()
}

fn happen(lists: &mut Lists, transaction: &mut Transaction) {
    for micro in &mut transaction.micros {
        match micro {
            Micro::Read { key, list } => *list = lists.get(key).cloned().unwrap_or_default(),
            Micro::Append { key, element } => lists.entry(key.clone()).or_default().push(*element),
        }
    }
}

/// Some read loses its end, gains what was read elsewhere, or is turned around.
fn lie(chance: &SeededEntropy, transactions: &mut [Transaction]) {
    let of_micro = |micro: &Micro| match micro {
        Micro::Read { list, .. } => list.clone(),
        Micro::Append { element, .. } => vec![*element],
    };
    let elements: Vec<u64> =
        transactions.iter().flat_map(|one| one.micros.iter().flat_map(of_micro)).collect();
    let reads = transactions.iter_mut().flat_map(|one| one.micros.iter_mut());
    let mut lists: Vec<&mut Vec<u64>> = reads
        .filter_map(|micro| match micro {
            Micro::Read { list, .. } => Some(list),
            Micro::Append { .. } => None,
        })
        .collect();
    if lists.is_empty() || elements.is_empty() {
        return;
    }
    let victim = usize::try_from(chance.u64()).unwrap() % lists.len();
    match chance.u64() % 4 {
        0 | 1 => _ = lists[victim].pop(),
        2 => lists[victim].push(elements[usize::try_from(chance.u64()).unwrap() % elements.len()]),
        _ => lists[victim].reverse(),
    }
}

#[test]
fn they_say_what_trying_every_order_says() {
    let chance = SeededEntropy::new(3);
    let (mut accepted, mut rejected) = (0, 0);
    for _ in 0..10_000 {
        let mut transactions = random_history(&chance, 6);
        assert_eq!(kinds(&transactions), BTreeSet::new(), "{transactions:#?}");
        lie(&chance, &mut transactions);
        if !plain::anomalies(&transactions).is_empty() {
            continue;
        }
        let explained = any_order(&Lists::new(), &transactions, &mut BTreeSet::new());
        for judge in judges() {
            let found = judge.anomalies(&transactions);
            assert_eq!(found.is_empty(), explained, "{}: {found:#?} in {transactions:#?}", judge.name());
        }
        *if explained { &mut accepted } else { &mut rejected } += 1;
    }
    assert!(
        accepted > 1_000 && rejected > 1_000,
        "{accepted} accepted, {rejected} refused: the lies are too tame"
    );
}

/// Reads the list, then adds to it under the guard of what was read.
fn add(script: &mut Script, process: u32, key: &str, element: u64) -> Op {
    script.run(process, get(key));
    let (before, modified) =
        script.store.get(key).map_or((String::new(), 0), |kv| (format!("{},", kv.value), kv.modified));
    let write = put(key, &format!("{before}{element}"));
    txn(vec![equal(key, Target::Modified(modified))], vec![write], vec![])
}

fn script() -> Script {
    let mut script = Script::begin();
    script.workload = "append".to_owned();
    script
}

fn found(script: &Script) -> Finding {
    let history = script.history();
    super::check(&Input::new(&history).operations)
}

#[test]
fn honest_transactions_pass() {
    let mut script = script();
    for element in 1..5 {
        let op = add(&mut script, 1, "/chaos/append/1", element);
        script.run(1, op);
    }
    let [late, early] = [5, 6].map(|element| add(&mut script, 2, "/chaos/append/1", element));
    script.run(1, early);
    script.run(2, late);
    let lost = add(&mut script, 3, "/chaos/append/1", 7);
    script.call(3, lost);
    script.apply(3);
    script.unknown(3);
    script.run(1, get("/chaos/append/1"));
    let finding = found(&script);
    assert_eq!((finding.violations, finding.inconclusive), (Vec::new(), None));
    assert_eq!(finding.checked, 4 + 4 + 2 + 1 + 1 + 1, "reads and writes that happened");
}

/// Bends what the last read returned.
fn bent(script: &mut Script, value: &str) -> Finding {
    let line = script.run(9, get("/chaos/append/1"));
    let Event::Return { outcome: Outcome::Ok { answer: Answer::Range { kvs, .. }, .. } } =
        &mut script.line(line).event
    else {
        panic!("a read returned otherwise")
    };
    kvs[0].value = value.to_owned();
    kvs[0].modified = 999;
    found(script)
}

#[test]
fn bent_reads_fail() {
    let mut script = script();
    for element in 1..4 {
        let op = add(&mut script, 1, "/chaos/append/1", element);
        script.run(1, op);
    }
    for (value, kind) in
        [("1,2", "G-single"), ("1,3", "incompatible"), ("1,2,3,4", "out-of-nowhere"), ("1,2,2", "duplicate")]
    {
        let finding = bent(&mut script.clone(), value);
        let whats: Vec<&str> = finding.violations.iter().map(|violation| violation.what.as_str()).collect();
        assert!(whats.iter().any(|what| what.starts_with(kind)), "{value}: {whats:?}");
        assert!(finding.violations.iter().all(|violation| !violation.lines.is_empty()));
    }
}

#[test]
fn a_revision_that_is_read_as_two_lists_fails() {
    let mut script = script();
    let op = add(&mut script, 1, "/chaos/append/1", 1);
    script.run(1, op);
    script.run(1, get("/chaos/append/1"));
    let line = script.run(2, get("/chaos/append/1"));
    let (_, Answer::Range { kvs, .. }) = script.outcome(line) else { panic!("a read returned otherwise") };
    kvs[0].value = "7".to_owned();
    assert!(found(&script).violations[0].what.contains("was read as 1 and as 7"));
}

#[test]
fn an_element_that_two_append_cannot_be_judged() {
    let mut script = script();
    let [one, other] = [1, 2].map(|process| add(&mut script, process, "/chaos/append/1", 1));
    script.run(1, one);
    script.run(2, other);
    assert!(found(&script).inconclusive.unwrap().contains("by more than one transaction"));
}

#[test]
fn a_workload_that_writes_without_a_guard_is_not_judged() {
    let mut script = script();
    script.run(1, txn(vec![], vec![put("/chaos/append/1", "1")], vec![]));
    assert!(found(&script).inconclusive.unwrap().contains("without a guard"));
}

#[test]
fn judges_that_differ_are_a_fault_of_the_harness() {
    struct Blind;
    impl Opinion for Blind {
        fn name(&self) -> &'static str {
            "blind"
        }
        fn anomalies(&self, _: &[Transaction]) -> Vec<Anomaly> {
            Vec::new()
        }
    }
    let mut script = script();
    let op = add(&mut script, 1, "/chaos/append/1", 1);
    script.run(1, op);
    let line = script.run(1, get("/chaos/append/1"));
    let Event::Return { outcome: Outcome::Ok { answer: Answer::Range { kvs, .. }, .. } } =
        &mut script.line(line).event
    else {
        panic!("a read returned otherwise")
    };
    kvs.clear();
    let history = script.history();
    let operations = Input::new(&history).operations;
    assert_eq!(judge(&operations, &[&Cycles]).violations.len(), 1);
    let finding = judge(&operations, &[&Cycles, &Blind]);
    assert!(finding.violations.is_empty() && finding.inconclusive.unwrap().contains("fault of the harness"));
}
