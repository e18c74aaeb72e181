//! Directories that were copied, and a majority of disks that are gone.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::repair::again;
use super::{Town, URLS, config, start, trio};
use crate::{Disk, MemoryDisk, NodeConfig, StartError, StoreError};

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_old_data_comes_back_as_another() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    let dir = tempfile::tempdir().expect("a directory");
    let (here, old) = (dir.path().join("c"), dir.path().join("old"));
    let founder =
        || NodeConfig { disk: Disk::Directory(here.clone()), ..config("c", URLS, &MemoryDisk::default()) };
    let (a, b, c) = tokio::join!(
        start(&town, config("a", URLS, &disks[0]), 1),
        start(&town, config("b", URLS, &disks[1]), 2),
        start(&town, founder(), 3),
    );
    let [a, b, c] = [a.expect("a starts"), b.expect("b starts"), c.expect("c starts")];
    a.put("before").await.expect("a write");
    // Whoever leads must be one that stays.
    let id = c.id();
    if c.store.status().leader == Some(id) {
        c.store.transfer_leadership(a.id()).await.expect("it hands over");
    }
    c.stop(&town).await;
    let mut c = again(&town, founder(), 4).await;
    c.wait("it is led", |store| store.status().leader.is_some()).await;
    assert_eq!(c.id(), id, "a restart is no reason");
    // Only a leader that stays knows what it was told.
    for attempt in 0..5 {
        c.stop(&town).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _nothing_yet = fs::remove_dir_all(&old);
        copy(&here, &old).expect("a copy");
        c = again(&town, founder(), 5 + attempt).await;
        let term = a.store.status().term;
        a.put(&format!("after-{attempt}")).await.expect("a write");
        let newest = a.store.revision();
        c.wait("it has what the copy lacks", |store| store.revision() >= newest).await;
        // The leader hears of that a moment later.
        tokio::time::sleep(Duration::from_millis(700)).await;
        c.stop(&town).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        fs::remove_dir_all(&here).expect("removed");
        fs::rename(&old, &here).expect("put back");
        c = again(&town, founder(), 15 + attempt).await;
        if c.id() != id || a.store.status().term == term {
            break;
        }
    }
    assert_ne!(c.id(), id, "it has forgotten what it acknowledged");
    c.wait("it votes in its own place", |_| c.votes()).await;
    assert!(c.has("after-0").await);
    assert!(here.join("set-aside-1").join("log").exists(), "nothing is deleted");
    for node in [a, b, c] {
        node.stop(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_copy_does_not_become_the_member() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    let nodes = trio(&town, &disks).await;
    nodes[0].put("k").await.expect("a write");
    let elsewhere = [URLS[0], URLS[1], "https://elsewhere"];
    let twin = start(&town, config("c", elsewhere, &disks[2]), 9).await.map(|_| ()).expect_err("a twin");
    assert!(matches!(twin, StartError::Elsewhere { .. }), "{twin}");
    nodes[2].put("still").await.expect("the original goes on");
    // Once the original is gone, whoever has its data is the member.
    let [a, b, c] = nodes;
    c.stop(&town).await;
    let moved = start(&town, config("c", elsewhere, &disks[2]), 10).await.expect("it has moved");
    assert!(moved.has("still").await);
    for node in [a, b, moved] {
        node.stop(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_of_disks_the_refusal_says_so() {
    let (town, disks) = (Town::default(), <[MemoryDisk; 3]>::default());
    let [a, b, c] = trio(&town, &disks).await;
    a.put("k").await.expect("a write");
    let newest = a.store.revision();
    c.wait("it has the write", |store| store.revision() >= newest).await;
    a.stop(&town).await;
    b.stop(&town).await;
    let silent = c.put("nobody answers").await;
    assert!(!matches!(silent, Ok(()) | Err(StoreError::QuorumLost { .. })), "they may come back: {silent:?}");
    let empty = <[MemoryDisk; 2]>::default();
    let refused = async {
        while c.put("alone").await != Err(StoreError::QuorumLost { lost: 2, voters: 3 }) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let read = c.store.range(crate::Range::key("k")).await.map(|found| found.count);
        assert_eq!(read, Err(StoreError::QuorumLost { lost: 2, voters: 3 }));
        let old = crate::Range { serializable: true, ..crate::Range::key("k") };
        assert_eq!(c.store.range(old).await.map(|found| found.count), Ok(1));
    };
    tokio::select! {
        biased;
        () = refused => {}
        _ = start(&town, config("a", URLS, &empty[0]), 11) => panic!("an empty disk founds nothing"),
        _ = start(&town, config("b", URLS, &empty[1]), 12) => panic!("an empty disk founds nothing"),
        () = tokio::time::sleep(super::DEADLINE) => panic!("it is not refused"),
    }
    c.stop(&town).await;
}
