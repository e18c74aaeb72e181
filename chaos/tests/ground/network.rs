//! Links that are cut and links that are bad, between real servers.

use std::time::Duration;

use chaos::cluster::{CLIENT, Impairment, Link};
use chaos::faults::{Fault, Nemesis, network};

use crate::{SERVES_MAX, heal, install, three, with_cluster};

#[test]
fn an_isolated_leader_is_succeeded_and_one_direction_is_one() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        let (members, leader) = (cluster.members(), cluster.leader(SERVES_MAX).await.unwrap());
        let links = network::isolated(&leader, &members);
        let (number, _) = install(&mut nemesis, cluster, &Fault::Partition { links }).await;
        assert_ne!(cluster.successor(&leader, SERVES_MAX).await.unwrap(), leader);
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready(&leader, SERVES_MAX).await.unwrap();

        let links = vec!["n1>n2".parse().unwrap()];
        let (number, evidence) = install(&mut nemesis, cluster, &Fault::Partition { links }).await;
        assert!(evidence.starts_with("n1>n2 0/20, n2>n1 20/20 in "), "{evidence}");
        let healed = heal(&mut nemesis, cluster, number).await;
        assert!(healed.starts_with("n1>n2 20/20 in "), "{healed}");
    });
}

#[test]
fn bad_links_are_bad_and_faults_of_links_add_up() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        let link = Link::new("n1", "n2");
        let slow = Impairment { delay_us: 30_000, ..Impairment::default() };
        let lossy = Impairment { loss_ppm: 500_000, ..Impairment::default() };
        for impairment in [slow, lossy] {
            install(&mut nemesis, cluster, &Fault::Impair { links: vec![link.clone()], impairment }).await;
        }
        let seen = cluster.probe(&[link.clone(), link.back()]).await.unwrap();
        assert!(seen[&link].delay >= Duration::from_millis(30), "{seen:?}");
        assert!(seen[&link].arrived < 20 && seen[&link.back()].arrived == 20, "{seen:?}");
        let damaging = Impairment { corrupt_ppm: 300_000, duplicate_ppm: 300_000, ..Impairment::default() };
        // The servers must notice themselves: TCP does not.
        let damaged = Link::new("n2", "n3");
        install(&mut nemesis, cluster, &Fault::Impair { links: vec![damaged.clone()], impairment: damaging })
            .await;
        let packets = cluster.packets(&damaged).unwrap();
        assert!(packets.corrupted > 0 && packets.duplicated > 0, "{packets:?}");
        assert_eq!(nemesis.heal_all(cluster).await.len(), 3);
        for member in cluster.members() {
            cluster.wait_ready(&member, SERVES_MAX).await.unwrap();
        }
    });
}

#[test]
fn the_client_is_a_host_too() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        let links = vec![Link::new(CLIENT, "n1")];
        let (number, _) = install(&mut nemesis, cluster, &Fault::Partition { links }).await;
        cluster.endpoint("n1").unwrap().status().await.expect_err("nothing gets there");
        cluster.endpoint("n2").unwrap().status().await.unwrap();
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready("n1", SERVES_MAX).await.unwrap();
    });
}
