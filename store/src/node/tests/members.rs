//! Members come, vote, move and go, through whichever node is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use base::NodeId;

use super::cluster::{Trio, get, put};
use crate::raft::membership;
use crate::{Addresses, NewMember, StoreError};

fn learner(name: &str) -> NewMember {
    NewMember {
        name: name.to_owned(),
        peer_url: format!("https://{name}"),
        client_urls: Vec::new(),
        votes_when_ready: false,
    }
}

/// Repeats what is refused for a reason that passes.
async fn eventually<T>(what: &str, attempt: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let done = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_adds_promotes_moves_and_removes_a_member() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let follower = trio.others(leader)[0];
    let asked = trio.store(follower).clone();
    put(&asked, "k", "v").await.expect("a write");

    let added = asked.member_add(learner("node-4")).await.expect("a learner is added");
    assert!(added.is_learner && added.id == NodeId::new(4), "{added:?}");
    assert_eq!(asked.members().len(), 4);
    let twice = asked.member_add(learner("node-4")).await;
    assert_eq!(twice, Err(StoreError::MemberExists));
    let second = asked.member_add(learner("node-5")).await;
    assert_eq!(second, Err(StoreError::TooManyLearners));
    let early = asked.member_promote(added.id).await;
    assert_eq!(early, Err(StoreError::LearnerNotReady), "it was never started");

    trio.start_joined(added.id).await;
    let promoted = eventually("a promotion", async || asked.member_promote(added.id).await).await;
    assert!(!promoted.is_learner);
    assert_eq!(asked.member_promote(added.id).await, Err(StoreError::MemberNotLearner));
    assert_eq!(asked.member_promote(NodeId::new(9)).await, Err(StoreError::MemberNotFound));
    assert_eq!(get(trio.store(added.id), "k").await, Some("v".into()));

    let to = Addresses { peer_url: "https://elsewhere".to_owned(), client_urls: None };
    let moved = asked.member_update(added.id, to.clone()).await.expect("an update");
    assert_eq!(moved.peer_url, "https://elsewhere");
    assert_eq!(asked.member_update(follower, to).await, Err(StoreError::MemberExists));

    asked.member_remove(added.id).await.expect("it is removed");
    assert_eq!(asked.member_remove(added.id).await, Err(StoreError::MemberNotFound));
    trio.kill(added.id).await;
    let again = asked.member_add(learner("node-4")).await.expect("added again");
    assert_eq!(again.id, NodeId::new(5), "an id is never used twice");
    put(&asked, "k", "w").await.expect("a write");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_removed_whom_the_majority_needs() {
    let mut trio = Trio::start().await;
    let [stays, dead] = trio.others(trio.leader().await)[..] else { panic!("three nodes") };
    trio.kill(dead).await;
    eventually("the death is noticed", async || {
        // Only a leader counts others than itself as running.
        let leader = trio.leader().await;
        let running = membership::running(trio.store(leader).inner());
        let rest: BTreeSet<u64> = trio.members.keys().map(|id| id.get()).collect();
        if running == rest { Ok(()) } else { Err(StoreError::TooFewRunning) }
    })
    .await;
    let refused = trio.store(stays).member_remove(stays).await;
    assert_eq!(refused, Err(StoreError::TooFewRunning));
    trio.store(stays).member_remove(dead).await.expect("the dead one may go");
    put(trio.store(stays), "k", "v").await.expect("two of two");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_on_purpose_hands_over_first() {
    let trio = Trio::start().await;
    let old = trio.leader().await;
    // Somebody has answered it since, so that there is somebody to hand over to.
    put(trio.store(old), "key", "value").await.expect("a write");
    trio.store(old).step_down().await;
    let now = trio.store(old).status().leader.expect("a leader is known");
    assert_ne!(now, old);
    trio.store(old).step_down().await;
    assert_eq!(trio.store(old).status().leader, Some(now), "who does not lead hands over nothing");
}
