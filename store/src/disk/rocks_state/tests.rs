//! Copies that travel from one set of tables to another, and tables that are damaged.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use super::*;
use crate::disk::read;

/// Returns when a node that was stopped has closed these tables. Until then its last task may go on writing, and RocksDB,
/// when it closes, replaces a manifest that has not the size that it should have: damage would be undone.
pub(crate) async fn closed(root: &Path) {
    let closed = async {
        loop {
            match RocksState::open(root) {
                Err(TableError::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => return drop(opened.expect("tables")),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("they are closed");
}

fn open(root: &Path) -> RocksState {
    RocksState::open(root).expect("tables")
}

fn fill(state: &RocksState, from: u32, to: u32) {
    let mut changes = Changes::default();
    for row in from..to {
        changes.put(Table::Ver, row.to_be_bytes().to_vec(), vec![row.to_le_bytes()[0]; 500]);
    }
    state.write(&changes).expect("a write");
}

/// Every row, or the first error.
fn rows(state: &RocksState) -> Result<Vec<Bytes>, TableError> {
    read(state, |view| {
        let mut cursor = view.cursor(Table::Ver, &[], None)?;
        let mut rows = Vec::new();
        while let Some(key) = cursor.key() {
            rows.push(Bytes::copy_from_slice(key));
            cursor.advance()?;
        }
        Ok(rows)
    })
}

/// What a transfer does with a file.
fn bring(from: &Frozen, to: &Intake, name: &str, bytes_max: usize) {
    let mut content = fs::read(from.dir.join(name)).expect("a file");
    content.truncate(bytes_max);
    fs::write(to.dir.join(name), content).expect("a file");
}

fn arrived(intake: Intake) -> Arrived {
    Arrived { dir: intake.dir, inline: Bytes::new(), keep: false }
}

fn tables_of(names: &[String]) -> Vec<&str> {
    names.iter().map(|name| &**name).filter(|name| name.ends_with(".sst")).collect()
}

#[test]
fn a_copy_brings_only_what_is_not_here_also_after_a_break_and_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (leader, root) = (open(&dir.path().join("leader")), dir.path().join("follower"));
    let follower = open(&root);
    fill(&leader, 0, 1000);
    leader.freeze().expect("a copy");
    fill(&leader, 1000, 2000);
    let first = leader.freeze().expect("a copy");
    let offer = files::list(&first.dir).expect("files");
    let broken = follower.intake(&offer).expect("room");
    assert_eq!(broken.missing.len(), offer.len(), "an empty node lacks all");
    let tables: Vec<String> = tables_of(&broken.missing).into_iter().map(str::to_owned).collect();
    assert!(tables.len() >= 2, "{tables:?}");
    bring(&first, &broken, &tables[0], usize::MAX);
    bring(&first, &broken, &tables[1], 10);

    drop(follower);
    let follower = open(&root);
    let resumed = follower.intake(&offer).expect("room");
    assert!(!broken.dir.exists(), "what was left over has been used");
    assert_eq!(tables_of(&resumed.missing), tables[1..].iter().map(|name| &**name).collect::<Vec<_>>());
    for name in &resumed.missing {
        bring(&first, &resumed, name, usize::MAX);
    }
    follower.install(&arrived(resumed)).expect("it is whole");
    assert_eq!(rows(&follower).expect("rows"), rows(&leader).expect("rows"));

    fill(&leader, 2000, 2100);
    let second = leader.freeze().expect("a copy");
    let (all, next) = {
        let offer = files::list(&second.dir).expect("files");
        let all: Vec<String> = offer.iter().map(|file| file.name.clone()).collect();
        (all, follower.intake(&offer).expect("room"))
    };
    // RocksDB decides how many tables a flush makes; those of the first copy that are still in use must not come again.
    let old = tables_of(&all).into_iter().filter(|name| tables.iter().any(|table| table == name));
    let again: Vec<&str> =
        old.clone().filter(|name| next.missing.iter().any(|missing| missing == name)).collect();
    assert!(old.count() > 0 && again.is_empty(), "{again:?} of {all:?}");
    for name in &next.missing {
        bring(&second, &next, name, usize::MAX);
    }
    follower.install(&arrived(next)).expect("it is whole");
    assert_eq!(rows(&follower).expect("rows").len(), 2100);
}

#[test]
fn replaced_tables_go_with_their_last_reader() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("state");
    let state = open(&root);
    fill(&state, 0, 10);
    let frozen = state.freeze().expect("a copy");
    let before = root.join("db-1");
    fill(&state, 10, 20);
    state.with_view(&mut |view| {
        let copy = Arrived { dir: frozen.dir.clone(), inline: Bytes::new(), keep: true };
        state.install(&copy).expect("it is whole");
        assert!(before.exists());
        let newest = 19_u32.to_be_bytes();
        assert!(view.get(Table::Ver, &newest).expect("the old tables are readable").is_some());
    });
    assert!(!before.exists());
    assert_eq!(rows(&state).expect("rows").len(), 10);
}

#[test]
fn what_broken_transfers_left_goes_when_the_node_has_caught_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = open(dir.path());
    let left = state.intake(&[]).expect("room").dir;
    drop(state);
    let state = open(dir.path());
    assert!(left.exists());
    let arriving = state.intake(&[]).expect("room").dir;
    assert!(!left.exists());
    state.freeze().expect("a copy");
    assert!(arriving.exists(), "it may still be filled");
    drop(state);
    open(dir.path()).freeze().expect("a copy");
    assert!(!arriving.exists());
}

#[test]
fn an_offer_stays_in_its_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = open(dir.path());
    let file = |name: &str| SnapshotFile { name: name.to_owned(), size: 1, crc32: 1 };
    for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "nul\0"] {
        assert!(state.intake(&[file(name)]).is_err(), "{name:?}");
    }
    assert!(state.intake(&[file("twice"), file("twice")]).is_err());
    // A directory of that name is not a file of that name.
    let table = [file("000001.sst")];
    fs::create_dir(state.intake(&table).expect("room").dir.join("000001.sst")).expect("a directory");
    assert_eq!(state.intake(&table).expect("room").missing, ["000001.sst"]);
}

#[test]
fn a_damaged_or_missing_file_is_an_error_and_never_a_row_less() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("state");
    let state = open(&root);
    fill(&state, 0, 1000);
    state.freeze().expect("a copy");
    drop(state);
    let table = fs::read_dir(root.join("db-1")).expect("tables").flatten().map(|entry| entry.path());
    let table = table.filter(|path| path.extension().is_some_and(|kind| kind == "sst"));
    let table = table.max_by_key(|path| fs::metadata(path).map_or(0, |found| found.len())).expect("a table");
    let whole = fs::read(&table).expect("a table");
    let file = fs::OpenOptions::new().write(true).open(&table).expect("a table");

    file.write_all_at(b"damage", whole.len() as u64 / 3).expect("it is damaged");
    let error = RocksState::open(&root).and_then(|state| rows(&state)).expect_err("a block is damaged");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);

    file.set_len(whole.len() as u64 / 2).expect("it is cut");
    let error = RocksState::open(&root).map(drop).expect_err("a table is cut short");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);

    fs::remove_dir_all(root.join("db-1")).expect("it was there");
    let error = RocksState::open(&root).map(drop).expect_err("the tables are missing");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
}
