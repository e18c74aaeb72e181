//! Members that come and go, and what operators do.

use chaos::faults::{Fault, Nemesis};

use crate::{SERVES_MAX, heal, install, keys, put, three, with_cluster};

#[test]
fn a_member_leaves_and_comes_back_and_a_fourth_comes_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        put(cluster, "n1", "/kept/1").await.unwrap();
        let remove = Fault::RemoveMember { member: "n3".to_owned() };
        let (number, evidence) = install(&mut nemesis, cluster, &remove).await;
        assert!(!cluster.is_listed("n3").await.unwrap(), "{evidence}");
        heal(&mut nemesis, cluster, number).await;
        assert_eq!(keys(cluster, "n3", "/kept/").await.unwrap(), ["/kept/1"]);

        let add = Fault::AddMember { member: "n4".to_owned() };
        let (number, _) = install(&mut nemesis, cluster, &add).await;
        assert_eq!(cluster.members(), ["n1", "n2", "n3", "n4"]);
        assert_eq!(keys(cluster, "n4", "/kept/").await.unwrap(), ["/kept/1"]);
        heal(&mut nemesis, cluster, number).await;
        assert_eq!(cluster.members(), ["n1", "n2", "n3"]);
        assert!(!dir.path().join("n4").exists());
    });
}

#[test]
fn operators_move_leaders_and_forget_history() {
    let dir = tempfile::tempdir().unwrap();
    with_cluster(three(dir.path()), async |cluster| {
        let mut nemesis = Nemesis::default();
        let leader = cluster.leader(SERVES_MAX).await.unwrap();
        let to = cluster.members().into_iter().find(|member| *member != leader).unwrap();
        let (_, evidence) = install(&mut nemesis, cluster, &Fault::MoveLeader { to: to.clone() }).await;
        assert_eq!(evidence, format!("{to} leads"));
        put(cluster, "n1", "/a").await.unwrap();
        install(&mut nemesis, cluster, &Fault::Compact).await;
        install(&mut nemesis, cluster, &Fault::Defragment { member: "n1".to_owned() }).await;
        let (_, evidence) =
            install(&mut nemesis, cluster, &Fault::Snapshot { member: "n2".to_owned() }).await;
        assert!(!evidence.contains(" 0 bytes"), "{evidence}");
        let (_, evidence) =
            install(&mut nemesis, cluster, &Fault::Restart { members: cluster.members() }).await;
        assert_eq!(evidence.matches("exit code 0").count(), 3, "{evidence}");
        let looped = Fault::CrashLoop { member: "n3".to_owned(), times: 3, pause_ms: 100 };
        install(&mut nemesis, cluster, &looped).await;
        nemesis.heal_all(cluster).await;
        cluster.wait_ready("n3", SERVES_MAX).await.unwrap();
    });
}
