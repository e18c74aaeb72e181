//! Servers that die and servers that stand still.

use chaos::faults::{Fault, Nemesis};

use crate::{SERVES_MAX, heal, install, three, with_cluster};

#[test]
fn a_killed_leader_is_gone_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        let leader = cluster.leader(SERVES_MAX).await.unwrap();
        let kill = Fault::Kill { members: vec![leader.clone()] };
        let (number, evidence) = install(&mut nemesis, cluster, &kill).await;
        assert_eq!(evidence, format!("{leader} killed by SIGKILL"));
        assert!(!cluster.is_running(&leader).unwrap());
        let next = cluster.leader(SERVES_MAX).await.unwrap();
        assert_ne!(next, leader);
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready(&leader, SERVES_MAX).await.unwrap();
        assert!(nemesis.heal(cluster, number).await.is_none(), "it was healed before");
    });
}

#[test]
fn a_paused_member_answers_nothing_until_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        let pause = Fault::Pause { members: vec!["n2".to_owned()] };
        let (number, _) = install(&mut nemesis, cluster, &pause).await;
        cluster.endpoint("n2").unwrap().status().await.expect_err("it stands still");
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready("n2", SERVES_MAX).await.unwrap();
    });
}
