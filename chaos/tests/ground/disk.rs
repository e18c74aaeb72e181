//! Disks that lose their power, are full, refuse writes, stand still, and do not sync.

use std::time::Duration;

use chaos::cluster::{ClusterOptions, Disk, Syncs};
use chaos::faults::{Fault, Nemesis};

use crate::{SERVES_MAX, heal, install, keys, put, three, with_cluster};

#[test]
fn a_power_loss_takes_what_was_not_synced_and_nothing_that_was_acknowledged() {
    for disk in [Disk::LoopXfs, Disk::LoopExt4] {
        let dir = tempfile::tempdir().unwrap();
        with_cluster(ClusterOptions { disk, ..three(dir.path()) }, async |cluster| {
            let mut nemesis = Nemesis::default();
            put(cluster, "n1", "/kept/1").await.unwrap();
            let fault = Fault::LosePower { members: cluster.members() };
            let (number, evidence) = install(&mut nemesis, cluster, &fault).await;
            assert!(evidence.ends_with("what was not is gone"), "{evidence}");
            for member in cluster.members() {
                assert!(!cluster.is_running(&member).unwrap());
            }
            heal(&mut nemesis, cluster, number).await;
            cluster.wait_ready("n2", SERVES_MAX).await.unwrap();
            assert_eq!(keys(cluster, "n2", "/kept/").await.unwrap(), ["/kept/1"]);
        });
    }
}

#[test]
fn a_full_disk_is_felt_and_emptied() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(ClusterOptions { disk: Disk::LoopExt4, ..three(dir.path()) }, async |cluster| {
        let mut nemesis = Nemesis::default();
        let fault = Fault::FillDisk { member: "n1".to_owned() };
        let (number, evidence) = install(&mut nemesis, cluster, &fault).await;
        assert!(evidence.starts_with("the last "), "{evidence}");
        put_until(cluster, "n2", false).await;
        heal(&mut nemesis, cluster, number).await;
        put_until(cluster, "n2", true).await;
        cluster.wait_ready("n1", SERVES_MAX).await.unwrap();
    });
}

#[test]
fn a_disk_that_refuses_writes_ends_its_server_only() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(ClusterOptions { disk: Disk::LoopExt4, ..three(dir.path()) }, async |cluster| {
        let mut nemesis = Nemesis::default();
        let fault = Fault::ReadOnlyDisk { member: "n3".to_owned() };
        let (number, _) = install(&mut nemesis, cluster, &fault).await;
        let how = cluster.ended("n3", SERVES_MAX).await.unwrap();
        assert!(!how.is_empty());
        put_until(cluster, "n1", true).await;
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready("n3", SERVES_MAX).await.unwrap();
    });
}

#[test]
fn a_frozen_disk_holds_its_member_until_it_thaws() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(ClusterOptions { disk: Disk::LoopXfs, ..three(dir.path()) }, async |cluster| {
        let mut nemesis = Nemesis::default();
        let leader = cluster.leader(SERVES_MAX).await.unwrap();
        let fault = Fault::FreezeDisk { member: leader.clone(), longest_ms: 20_000 };
        let (number, evidence) = install(&mut nemesis, cluster, &fault).await;
        assert_eq!(evidence, format!("the disk of {leader} stands still"));
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready(&leader, SERVES_MAX).await.unwrap();

        // Nobody heals this one.
        let forgotten = Fault::FreezeDisk { member: "n1".to_owned(), longest_ms: 300 };
        install(&mut nemesis, cluster, &forgotten).await;
        cluster.wait_ready("n1", SERVES_MAX).await.unwrap();
        put_until(cluster, "n1", true).await;
    });
}

#[test]
fn a_server_whose_syncs_fail_ends_and_slow_ones_are_endured() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(ClusterOptions { hold_syncs: true, ..three(dir.path()) }, async |cluster| {
        let mut nemesis = Nemesis::default();
        let slow = Fault::Syncs { member: "n1".to_owned(), syncs: Syncs::Delay { by_ms: 50 } };
        install(&mut nemesis, cluster, &slow).await;
        put(cluster, "n1", "/slow").await.unwrap();
        let hanging = Fault::Syncs { member: "n2".to_owned(), syncs: Syncs::Hang };
        install(&mut nemesis, cluster, &hanging).await;
        assert_eq!(nemesis.heal_all(cluster).await.len(), 2);
        cluster.wait_ready("n2", SERVES_MAX).await.unwrap();

        let failing = Fault::Syncs { member: "n3".to_owned(), syncs: Syncs::Fail };
        let (number, _) = install(&mut nemesis, cluster, &failing).await;
        let how = cluster.ended("n3", SERVES_MAX).await.unwrap();
        assert!(how.starts_with("exit code") || how.starts_with("killed by"), "{how}");
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready("n3", SERVES_MAX).await.unwrap();
    });
}

#[test]
fn a_folder_is_no_disk_to_break() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(ClusterOptions { servers: 1, ..three(dir.path()) }, async |cluster| {
        let mut nemesis = Nemesis::default();
        let member = "n1".to_owned();
        for fault in [
            Fault::LosePower { members: vec![member.clone()] },
            Fault::FillDisk { member: member.clone() },
            Fault::ReadOnlyDisk { member: member.clone() },
            Fault::FreezeDisk { member: member.clone(), longest_ms: 1 },
            Fault::Syncs { member, syncs: Syncs::Fail },
            Fault::ShiftClock { members: vec!["n1".to_owned()], by_ms: 1 },
        ] {
            let told = nemesis.install(cluster, &fault).await;
            assert!(matches!(told.step, chaos::history::Step::Skipped { .. }), "{told:?}");
        }
        assert!(nemesis.heal_all(cluster).await.is_empty());
        assert!(cluster.is_running("n1").unwrap());
    });
}

/// Writes until it succeeds, or fails, as wanted.
async fn put_until(cluster: &chaos::cluster::Cluster, member: &str, wanted: bool) {
    let tried = async {
        while put(cluster, member, "/tried").await.is_ok() != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SERVES_MAX, tried).await.expect("writes go on, or stop");
}
