//! Files that are not as they were written, and disks that are empty.

use chaos::cluster::Part;
use chaos::faults::{Damage, Fault, Nemesis};

use crate::{SERVES_MAX, heal, install, keys, put, three, with_cluster};

#[test]
fn a_damaged_log_costs_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        for number in 0..20 {
            put(cluster, "n1", &format!("/kept/{number:02}")).await.unwrap();
        }
        for (seed, damage) in
            [(1, Damage::Flip { bits: 3 }), (2, Damage::Zero { bytes: 512 }), (3, Damage::Truncate)]
        {
            let fault = Fault::Damage { member: "n3".to_owned(), part: Part::Log, damage, seed };
            let (number, evidence) = install(&mut nemesis, cluster, &fault).await;
            assert!(evidence.starts_with("n3: "), "{evidence}");
            let healed = heal(&mut nemesis, cluster, number).await;
            assert!(cluster.is_running("n3").unwrap(), "{evidence}; {healed}");
            cluster.wait_ready("n3", SERVES_MAX).await.unwrap();
            assert_eq!(keys(cluster, "n3", "/kept/").await.unwrap().len(), 20, "{evidence}; {healed}");
        }
    });
}

#[test]
fn an_empty_disk_is_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        put(cluster, "n1", "/kept/1").await.unwrap();
        let (number, _) = install(&mut nemesis, cluster, &Fault::Wipe { member: "n2".to_owned() }).await;
        assert!(cluster.files("n2", Part::Log).is_err(), "nothing is there");
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready("n2", SERVES_MAX).await.unwrap();
        assert_eq!(keys(cluster, "n2", "/kept/").await.unwrap(), ["/kept/1"]);
    });
}
