//! Bugs of etcd in applying, each with its number: they must not be ours.

use super::tests::{Bench, load, ops, run};
use super::*;
use crate::mvcc::request::{Op, Put, Range};

/// The same, written by a replica that has cleaned and by one that has not.
fn on_both(bench: &mut [Bench; 2], txn: &Txn) -> [Outcome; 2] {
    bench.each_mut().map(|bench| bench.apply(Action::Txn(txn.clone())).outcome)
}

/// etcd #18667: a transaction that reads a compacted revision did one thing on a member that had cleaned, and another on
/// one that had not.
#[test]
fn etcd_18667_a_transaction_that_reads_the_past_does_the_same_everywhere() {
    let mut bench = [Bench::new(), Bench::new()];
    for bench in &mut bench {
        for line in ["put a 1", "put a 2", "put a 3", "compact 3"] {
            run(bench, line);
        }
    }
    bench[0].clean();
    for revision in [2, 3, 4, 9] {
        let past = Range { revision: Some(Revision::new(revision)), ..Range::key("a") };
        let txn = Txn { success: vec![Op::Put(Put::of("b", "1")), Op::Range(past)], ..Txn::default() };
        let [cleaned, not] = on_both(&mut bench, &txn);
        assert_eq!(cleaned, not, "at revision {revision}");
        assert_eq!(cleaned.is_ok(), (3..=5).contains(&revision), "at revision {revision}");
        assert_eq!(bench[0].machine.hash(), bench[1].machine.hash());
        assert_eq!(bench[0].machine.horizon(), bench[1].machine.horizon());
    }
}

/// etcd #17780: the newest revision was a deletion, compaction removed its row, and a restart counted from the one before.
#[test]
fn etcd_17780_the_revision_never_falls() {
    let mut bench = Bench::new();
    for line in ["put a 1", "put a 2", "del a", "compact 4", "clean"] {
        run(&mut bench, line);
    }
    bench.machine = load(&bench.tables);
    assert_eq!(bench.machine.horizon().newest, Revision::new(4));
    assert_eq!(run(&mut bench, "put b 1"), "rev 5 put");
    // Cut short between two steps of cleaning.
    run(&mut bench, "del b");
    run(&mut bench, "compact 6");
    bench.clean_steps(1);
    bench.machine = load(&bench.tables);
    assert_eq!(bench.machine.horizon(), Horizon { newest: Revision::new(6), compacted: Revision::new(6) });
    assert_eq!(run(&mut bench, "history 6"), "6: -b was 1");
}

/// etcd #13766: the applied index and the data were saved apart, and a kill in between had entries applied twice. Ours
/// change in one batch; whatever batch a crash leaves, replaying the log from there ends at the same state.
#[test]
fn etcd_13766_a_crash_between_any_two_writes_replays_to_the_same_state() {
    let lines = ["put a 1", "put a 2, put b 1", "del a", "put c 1", "del ..", "put a 3", "put b 2, del c"];
    let mut whole = Bench::new();
    for line in lines {
        run(&mut whole, line);
    }
    for kept in 0..=lines.len() {
        let mut crashed = Bench::new();
        for line in &lines[..kept] {
            run(&mut crashed, line);
        }
        // Everything in memory is gone; the rows say where to go on.
        crashed.machine = load(&crashed.tables);
        for line in &lines[kept..] {
            run(&mut crashed, line);
        }
        assert_eq!(crashed.machine.hash(), whole.machine.hash(), "after {kept} writes");
        assert_eq!(crashed.machine.horizon(), whole.machine.horizon());
    }
}

/// etcd #14370's other half: a write that is replayed after a restart is found by its id and not applied again.
#[test]
fn a_replayed_write_is_found_after_a_restart() {
    let mut bench = Bench::new();
    let request = RequestId::of_node(4, 2);
    let txn = Txn { success: ops("put a 1"), ..Txn::default() };
    let command = Command { request, by: By::Process, fence: None, action: Action::Txn(txn) };
    let first = bench.apply_next(command.clone()).outcome;
    bench.machine = load(&bench.tables);
    assert_eq!(bench.apply_next(command).outcome, first);
    assert_eq!(bench.machine.horizon().newest, Revision::new(2));
}
