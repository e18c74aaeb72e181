//! A replica whose data is wrong: found out, out of service, rebuilt.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::NodeId;
use bytes::Bytes;

use super::cluster::{Trio, get, put};
use crate::disk::rocks_state::tests::closed;
use crate::mvcc::layout;
use crate::mvcc::tables::Table;
use crate::{
    Alarm, AlarmKind, Disk, Health, Range, RebuildError, Role, Span, Store, StoreError, Watch, WatchError,
    Watcher,
};

const DEADLINE: Duration = Duration::from_secs(30);

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{what}");
}

fn is_quarantined(store: &Store) -> bool {
    matches!(store.status().health, Health::Quarantined { .. })
}

/// The key's value has another last bit than what was written.
fn flip(disk: &Disk, key: &str) {
    let Disk::Memory(memory) = disk else { panic!("not in memory") };
    memory.tables.flip(Table::Ver, &layout::key_prefix(key.as_bytes()));
}

/// Refuses everything, and ends the watch that was open.
async fn serves_nothing(store: &Store, open: &mut Watcher) {
    let serializable = Range { serializable: true, ..Range::key("k") };
    assert_eq!(store.range(serializable).await, Err(StoreError::Corrupt));
    assert_eq!(store.range(Range::key("k")).await, Err(StoreError::Corrupt));
    assert_eq!(put(store, "k", "through it").await, Err(StoreError::Corrupt));
    assert_eq!(store.lease_grant(base::LeaseId::NONE, 10).await, Err(StoreError::Corrupt));
    assert_eq!(store.lease_keep_alive(base::LeaseId::new(7)).await, Err(StoreError::Corrupt));
    assert_eq!(store.watch(Watch::of(Span::all())).err(), Some(StoreError::Corrupt));
    assert_eq!(open.next().await, Err(WatchError::Corrupt));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_differs_serves_nothing_until_it_is_rebuilt() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let wrong = trio.others(leader)[0];
    put(trio.store(leader), "k", "right").await.expect("a write");
    trio.agree().await;
    let mut watcher = trio.store(wrong).watch(Watch::of(Span::all())).expect("a watch");
    flip(trio.disk(wrong), "k");
    eventually("it is found out although nobody writes", || is_quarantined(trio.store(wrong))).await;
    serves_nothing(trio.store(wrong), &mut watcher).await;

    let alarm = Alarm { member: wrong, kind: AlarmKind::Corrupt };
    eventually("everybody hears of it", || trio.store(leader).alarms() == [alarm]).await;
    // The others go on, and its restart does not make it trustworthy.
    put(trio.store(leader), "k", "newer").await.expect("the others write");
    let disk = trio.kill(wrong).await;
    trio.start_node(wrong, disk).await;
    assert!(is_quarantined(trio.store(wrong)));
    for id in trio.others(wrong) {
        assert_eq!(trio.store(id).status().health, Health::Sound);
        assert_eq!(get(trio.store(id), "k").await, Some("newer".into()));
    }

    assert!(matches!(trio.store(trio.leader().await).rebuild().await, Err(RebuildError::Leads)));
    eventually("it hears of the leader", || trio.store(wrong).status().leader.is_some()).await;
    trio.store(wrong).rebuild().await.expect("it is rebuilt");
    assert_eq!(trio.store(wrong).status().health, Health::Sound);
    assert_eq!(get(trio.store(wrong), "k").await, Some("newer".into()));
    eventually("the alarm ends", || trio.store(leader).alarms().is_empty()).await;
    put(trio.store(wrong), "k", "newest").await.expect("it writes again");
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_differs_hands_over() {
    let trio = Trio::start().await;
    let wrong = trio.leader().await;
    let other = trio.others(wrong)[0];
    put(trio.store(wrong), "k", "right").await.expect("a write");
    trio.agree().await;
    flip(trio.disk(wrong), "k");
    eventually("it is found out", || is_quarantined(trio.store(wrong))).await;
    eventually("another leads", || {
        let status = trio.store(other).status();
        status.leader.is_some_and(|leader| leader != wrong) && status.health == Health::Sound
    })
    .await;
    put(trio.store(other), "k", "newer").await.expect("the others write");
    assert_ne!(trio.store(wrong).status().role, Role::Leader);
    trio.store(wrong).rebuild().await.expect("it is rebuilt");
    assert_eq!(get(trio.store(wrong), "k").await, Some("newer".into()));
    trio.agree().await;
}

/// Files of the tables in use, largest first.
fn files_of(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let state = dir.join("state");
    let current = std::fs::read_to_string(state.join("CURRENT-DB")).expect("tables");
    let all = std::fs::read_dir(state.join(current)).expect("tables");
    let mut files: Vec<PathBuf> = all
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(suffix)))
        .collect();
    files.sort_by_key(|path| std::cmp::Reverse(path.metadata().map_or(0, |found| found.len())));
    files
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let middle = bytes.len() / 3;
    for byte in &mut bytes[middle..middle + 8] {
        *byte ^= 0xff;
    }
    // Not in place: a copy shares the file by hard link.
    std::fs::remove_file(path).expect("it goes");
    std::fs::write(path, bytes).expect("it comes back");
}

async fn fill(store: &Store) {
    for n in 0..120 {
        put(store, &format!("k{n}"), &"v".repeat(500)).await.expect("a write");
    }
}

async fn count(store: &Store) -> Result<u64, StoreError> {
    store.range(Range::prefix("k")).await.map(|found| found.count)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_opened_are_repaired_from_a_peer_at_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |id: NodeId| dir.path().join(id.to_string());
    let mut trio = Trio::on(|id| Disk::Directory(dir.path().join(id.to_string()))).await;
    let wrong = trio.others(trio.leader().await)[0];
    fill(trio.store(wrong)).await;
    trio.agree().await;
    let term = trio.store(wrong).status().term;
    let disk = trio.kill(wrong).await;
    closed(&path(wrong).join("state")).await;
    for manifest in files_of(&path(wrong), "MANIFEST") {
        damage(&manifest);
    }
    trio.start_node(wrong, disk).await;
    assert!(path(wrong).join("state-damaged").exists());
    assert_eq!(count(trio.store(wrong)).await, Ok(120));
    assert!(trio.store(wrong).status().term >= term);
    put(trio.store(wrong), "after", "v").await.expect("a write");
    trio.agree().await;
    assert_eq!(trio.store(wrong).status().health, Health::Sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_rots_in_a_file_takes_only_this_member_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |id: NodeId| dir.path().join(id.to_string());
    let mut trio = Trio::on(|id| Disk::Directory(dir.path().join(id.to_string()))).await;
    let leader = trio.leader().await;
    let wrong = trio.others(leader)[0];
    fill(trio.store(wrong)).await;
    trio.agree().await;
    let disk = trio.kill(wrong).await;
    closed(&path(wrong).join("state")).await;
    let tables = files_of(&path(wrong), ".sst");
    assert!(!tables.is_empty(), "a snapshot has written the tables out");
    damage(&tables[0]);
    trio.start_node(wrong, disk).await;
    // Reads meet the damage, or the start did.
    let found = count(trio.store(wrong)).await;
    assert!(found == Ok(120) || found == Err(StoreError::Corrupt), "{found:?}");
    put(trio.store(leader), "after", "v").await.expect("the others write");
    // Whoever reads the damaged block first, a client or a comparison, finds it.
    let healed = async {
        while count(trio.store(wrong)).await != Ok(120) || trio.store(wrong).status().health != Health::Sound
        {
            if is_quarantined(trio.store(wrong)) {
                trio.store(wrong).rebuild().await.expect("it is rebuilt");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, healed).await.expect("it heals");
    let rebuilt = trio.store(wrong).rebuild().await;
    assert!(matches!(rebuilt, Ok(_) | Err(RebuildError::Leads)), "{rebuilt:?}");
    assert_eq!(get(trio.store(wrong), "after").await, Some(Bytes::from("v")));
    trio.agree().await;
}
