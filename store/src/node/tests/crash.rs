//! A node that is killed at every step of every path to the disk.

use std::fs;
use std::path::Path;

use super::victim::{End, Ledger, Plan, Victim};

/// Where, and how many times it goes well before.
const POINTS: &[(&str, u64)] = &[
    ("append: in a new segment", 1),
    ("append: nothing written", 3),
    ("append: nothing written", 150),
    ("append: half written", 2),
    ("append: half written", 90),
    ("append: written", 120),
    ("append: synced", 5),
    ("append: synced", 160),
    ("append: in a new segment", 2),
    ("apply: nothing written", 30),
    ("apply: written", 40),
    ("flush: nothing flushed", 2),
    ("flush: flushed", 2),
    ("snapshot: linked", 3),
    ("snapshot: taken", 3),
    ("purge: a segment is free", 1),
    ("compaction: nothing deleted", 3),
    ("compaction: deleted", 3),
];

const INSTALL_POINTS: &[&str] =
    &["install: moved", "install: opened", "install: current", "install: done", "snapshot: linked"];

fn die(dir: &Path, ledger: &mut Ledger, point: &str, nth: u64) {
    let mut victim =
        Victim::start(dir, &Plan { failpoint: Some((point, nth)), writes: 1000, defragments: false });
    victim.follow(ledger, usize::MAX);
    assert_eq!(victim.end(), None, "{point} was not reached {nth} times");
}

fn survive(dir: &Path, ledger: &mut Ledger) {
    let mut victim = Victim::start(dir, &Plan { failpoint: None, writes: 100, defragments: false });
    victim.follow(ledger, usize::MAX);
    assert_eq!(victim.end(), Some(End::Done));
}

#[test]
fn no_acknowledged_write_is_lost_wherever_a_node_dies() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut ledger = Ledger::default();
    for (point, nth) in POINTS {
        die(&data, &mut ledger, point, *nth);
    }
    survive(&data, &mut ledger);
}

/// Tables that are gone come back from the node's own copy, which is installed as one from another node would be.
#[test]
fn a_node_that_dies_while_it_installs_a_snapshot_installs_it_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut ledger = Ledger::default();
    survive(&data, &mut ledger);
    for point in INSTALL_POINTS {
        let state = data.join("state");
        fs::remove_file(state.join("CURRENT-DB")).expect("it was there");
        for entry in fs::read_dir(&state).expect("tables").flatten() {
            if entry.file_name().to_string_lossy().starts_with("db-") {
                fs::remove_dir_all(entry.path()).expect("it was there");
            }
        }
        die(&data, &mut ledger, point, 1);
        survive(&data, &mut ledger);
    }
}

/// etcd #14685: a crash while the tables were rewritten left rows without the index of the entry that had made them. The
/// restart applied those entries again, and the member was at a higher revision than the others.
#[test]
fn etcd_14685_a_crash_while_tables_are_rewritten_applies_nothing_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut ledger = Ledger::default();
    survive(&data, &mut ledger);
    let points = ["defragment: before a table", "defragment: rewritten", "snapshot: linked"];
    for (point, nth) in points.iter().flat_map(|point| [(*point, 1), (*point, 3), (*point, 6)]) {
        let plan = Plan { failpoint: Some((point, nth)), writes: 10_000, defragments: true };
        let mut victim = Victim::start(&data, &plan);
        victim.follow(&mut ledger, usize::MAX);
        assert_eq!(victim.end(), None, "{point} was not reached {nth} times");
    }
    survive(&data, &mut ledger);
}
