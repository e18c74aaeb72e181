//! Debian's etcd behind the same faults, where it is installed.

use chaos::cluster::{ClusterOptions, Disk, Link, Syncs, System};
use chaos::faults::{Fault, Nemesis};

use crate::{SERVES_MAX, heal, install_busy, keys, put, three, with_cluster};

#[test]
fn etcd_suffers_the_same_faults() {
    if !chaos::doctor::has("etcd") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = ClusterOptions {
        system: System::Etcd,
        binary: "etcd".into(),
        disk: Disk::LoopXfs,
        hold_syncs: true,
        flags: vec!["--snapshot-count=100".to_owned()],
        ..three(dir.path())
    };
    with_cluster(options, async |cluster| {
        let mut nemesis = Nemesis::default();
        put(cluster, "n1", "/kept/1").await.unwrap();
        let leader = cluster.leader(SERVES_MAX).await.unwrap();
        for fault in [
            Fault::Kill { members: vec![leader.clone()] },
            Fault::Partition { links: vec![Link::new("n1", "n2")] },
            Fault::LosePower { members: vec!["n2".to_owned()] },
            Fault::Syncs { member: "n3".to_owned(), syncs: Syncs::Delay { by_ms: 20 } },
            Fault::RemoveMember { member: "n3".to_owned() },
        ] {
            let (number, _) = install_busy(&mut nemesis, cluster, &fault, "n1").await;
            heal(&mut nemesis, cluster, number).await;
            for member in cluster.members() {
                cluster.wait_ready(&member, SERVES_MAX).await.unwrap();
            }
        }
        assert_eq!(keys(cluster, "n3", "/kept/").await.unwrap(), ["/kept/1"]);
    });
}
