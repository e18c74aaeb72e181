//! Members whose tables are damaged while others than the founders are there to ask.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base::NodeId;

use super::{DEADLINE, Running, Town, URLS, config, member, start};
use crate::disk::rocks_state::tests::closed;
use crate::{Cluster, Disk, MemoryDisk, NodeConfig, StartError};

/// On a disk, with a log that is cut soon.
fn on(dir: &Path, config: NodeConfig) -> NodeConfig {
    NodeConfig { disk: Disk::Directory(dir.join(&config.name)), snapshot_every_entries: 50, ..config }
}

fn founder(dir: &Path, name: &str) -> NodeConfig {
    on(dir, config(name, URLS, &MemoryDisk::default()))
}

fn joining(dir: &Path, name: &str, through: &[&str]) -> NodeConfig {
    let cluster = Cluster::Join {
        token: "town".to_owned(),
        through: through.iter().map(|url| (*url).to_owned()).collect(),
        me: member(name, &format!("https://{name}")),
    };
    on(dir, NodeConfig { name: name.to_owned(), cluster, ..NodeConfig::in_memory() })
}

/// Starts once Raft's last task of the previous node has let go of the files.
pub(super) async fn again(town: &Town, config: NodeConfig, seed: u64) -> Running {
    let started = async {
        loop {
            match start(town, config.clone(), seed).await {
                Err(StartError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                started => return started.expect("it starts again"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, started).await.expect("it starts in time")
}

async fn trio(town: &Town, dir: &Path) -> [Running; 3] {
    let (a, b, c) = tokio::join!(
        start(town, founder(dir, "a"), 1),
        start(town, founder(dir, "b"), 2),
        start(town, founder(dir, "c"), 3),
    );
    [a.expect("a starts"), b.expect("b starts"), c.expect("c starts")]
}

/// Enough that every log is cut.
async fn fill(through: &Running) {
    for n in 0..160 {
        through.put(&format!("k{n}")).await.expect("a write");
    }
}

async fn catch_up(node: &Running, with: &Running) {
    let newest = with.store.revision();
    node.wait("it has caught up", |store| store.revision() >= newest).await;
    // Else it would repair itself without anybody.
    node.wait("its log is cut", |store| store.inner().log.first_needed() > 0).await;
}

/// Whether all of the files that say what the tables are made of were there to be damaged.
async fn damage(dir: &Path, name: &str) {
    let state = dir.join(name).join("state");
    closed(&state).await;
    let current = fs::read_to_string(state.join("CURRENT-DB")).expect("tables");
    let mut damaged = 0;
    for file in fs::read_dir(state.join(current)).expect("tables").flatten() {
        if file.file_name().to_string_lossy().starts_with("MANIFEST") {
            fs::write(file.path(), b"nothing that can be read").expect("it is overwritten");
            damaged += 1;
        }
    }
    assert!(damaged > 0);
}

fn is_repaired(dir: &Path, name: &str) -> bool {
    let home = dir.join(name);
    // Not as a new one: what it had was not given up.
    home.join("state-damaged").exists() && !home.join("set-aside-1").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_added_later_takes_a_copy_from_whoever_lives_where_it_joined() {
    let (town, dir) = (Town::default(), tempfile::tempdir().expect("a directory"));
    let nodes = trio(&town, dir.path()).await;
    let through = ["https://nobody", "https://b"];
    let d = start(&town, joining(dir.path(), "d", &through), 4).await.expect("it joins");
    let id = d.id();
    d.wait("it votes", |_| d.votes()).await;
    fill(&nodes[0]).await;
    catch_up(&d, &nodes[0]).await;
    d.stop(&town).await;
    damage(dir.path(), "d").await;
    // What it remembers is gone with the rest.
    fs::remove_file(dir.path().join("d").join("members")).expect("it had remembered");
    let d = again(&town, joining(dir.path(), "d", &through), 5).await;
    assert!(is_repaired(dir.path(), "d"));
    assert_eq!(d.id(), id);
    assert!(d.has("k159").await);
    for node in nodes.into_iter().chain([d]) {
        node.stop(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_whose_fellows_were_replaced_takes_a_copy_from_those_who_came() {
    let (town, dir) = (Town::default(), tempfile::tempdir().expect("a directory"));
    let [a, b, c] = trio(&town, dir.path()).await;
    let d = start(&town, joining(dir.path(), "d", &["https://a"]), 4).await.expect("d joins");
    d.wait("d votes", |_| d.votes()).await;
    let e = start(&town, joining(dir.path(), "e", &["https://a"]), 5).await.expect("e joins");
    e.wait("e votes", |_| e.votes()).await;
    for (gone, id) in [(b, 2), (c, 3)] {
        gone.stop(&town).await;
        let removed = async {
            while a.store.member_remove(NodeId::new(id)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, removed).await.expect("it is removed");
    }
    fill(&d).await;
    catch_up(&a, &d).await;
    let expected = [NodeId::new(1), d.id(), e.id()];
    let remembers = |text: String| expected.iter().all(|id| text.contains(&format!("\n{id} https://")));
    a.wait("a has written down who is there", |_| {
        fs::read_to_string(dir.path().join("a").join("members")).is_ok_and(remembers)
    })
    .await;
    a.stop(&town).await;
    damage(dir.path(), "a").await;
    // Its configuration still lists b and c only.
    let a = again(&town, founder(dir.path(), "a"), 6).await;
    assert!(is_repaired(dir.path(), "a"));
    assert_eq!(a.store.status().node_id, NodeId::new(1));
    assert!(a.has("k159").await);
    for node in [a, d, e] {
        node.stop(&town).await;
    }
}

/// A founder's disk was wiped: another id answers at the address and under the name of the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn who_lives_at_a_founders_address_under_another_id_is_asked() {
    let (town, dir) = (Town::default(), tempfile::tempdir().expect("a directory"));
    let [a, b, c] = trio(&town, dir.path()).await;
    c.stop(&town).await;
    fs::remove_dir_all(dir.path().join("c")).expect("wiped");
    let c = start(&town, founder(dir.path(), "c"), 33).await.expect("it comes back");
    c.wait("it votes in the old one's place", |_| c.votes()).await;
    fill(&c).await;
    catch_up(&a, &c).await;
    a.stop(&town).await;
    b.stop(&town).await;
    damage(dir.path(), "a").await;
    fs::remove_file(dir.path().join("a").join("members")).expect("it had remembered");
    let a = again(&town, founder(dir.path(), "a"), 6).await;
    assert!(is_repaired(dir.path(), "a"));
    assert!(a.has("k159").await);
    for node in [a, c] {
        node.stop(&town).await;
    }
}
