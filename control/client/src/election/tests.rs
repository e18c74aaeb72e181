//! Elections over the API in memory, with leases of a second.

use std::sync::Mutex;

use base::{SeededEntropy, SystemClock};
use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::memory::MemoryApi;

type Log = Arc<Mutex<Vec<String>>>;

struct World {
    api: MemoryApi,
    log: Log,
    tasks: base::Tasks,
}

fn world() -> World {
    let api = MemoryApi::new(Arc::new(SystemClock), Arc::new(SeededEntropy::new(1)));
    World { api, log: Log::default(), tasks: base::Tasks::new(CancellationToken::new()) }
}

impl World {
    /// A candidate that writes down its terms; its own token stops it.
    fn candidate(&self, identity: &'static str) -> (CancellationToken, Arc<Mutex<Option<Leadership>>>) {
        let stop = CancellationToken::new();
        let term = Arc::new(Mutex::new(None));
        let entropy = Arc::new(SeededEntropy::new(7));
        let config = ElectionConfig {
            lease_duration: Duration::from_secs(1),
            renew_deadline: Duration::from_millis(700),
            retry_period: Duration::from_millis(200),
        };
        let election =
            Election::new(&self.api.client(), Arc::new(SystemClock), entropy, ("job", identity), config);
        let (log, held, token) = (self.log.clone(), term.clone(), stop.clone());
        self.tasks.spawn_infallible(identity, async move {
            election
                .run(token, |leadership| {
                    let (log, held) = (log.clone(), held.clone());
                    async move {
                        let epoch = leadership.fence.epoch;
                        log.lock().expect("a log").push(format!("{identity} leads epoch {epoch}"));
                        *held.lock().expect("a term") = Some(leadership.clone());
                        leadership.lost().cancelled().await;
                        log.lock().expect("a log").push(format!("{identity} stops epoch {epoch}"));
                    }
                })
                .await;
        });
        (stop, term)
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("a log").clone()
    }
}

/// Waits, on real time, until the terms were these.
async fn eventually(world: &World, wanted: &[&str]) {
    for _ in 0..600 {
        if world.log() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.log(), wanted);
}

#[tokio::test]
async fn one_leads_and_a_clean_stop_hands_over() {
    let world = world();
    let (stop_a, _) = world.candidate("a");
    eventually(&world, &["a leads epoch 1"]).await;
    let (_stop_b, _) = world.candidate("b");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.log(), ["a leads epoch 1"]);
    stop_a.cancel();
    eventually(&world, &["a leads epoch 1", "a stops epoch 1", "b leads epoch 2"]).await;
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops() {
    let world = world();
    let (_stop, _) = world.candidate("a");
    eventually(&world, &["a leads epoch 1"]).await;
    world.api.set_unreachable(true);
    eventually(&world, &["a leads epoch 1", "a stops epoch 1"]).await;
    world.api.set_unreachable(false);
    // The lease is still its own, but what it left under way must not land in the new term.
    eventually(&world, &["a leads epoch 1", "a stops epoch 1", "a leads epoch 2"]).await;
}

#[tokio::test]
async fn a_lease_that_others_write_to_is_renewed_with_what_they_wrote() {
    let world = world();
    let (_stop, _) = world.candidate("a");
    eventually(&world, &["a leads epoch 1"]).await;
    let client = world.api.client();
    let key = ObjectKey::namespaced(NAMESPACE, "job");
    let marked = loop {
        let mut lease = client.get::<Lease>(&key).await.expect("the lease");
        lease.metadata.labels.get_or_insert_default().insert("team".to_owned(), "blue".to_owned());
        if let Ok(marked) = client.replace(&lease).await {
            break marked;
        }
    };
    for _ in 0..600 {
        let lease = client.get_known::<Lease>(&key).await.expect("the lease");
        assert_eq!(lease.metadata.labels, marked.metadata.labels);
        if lease.spec != marked.spec {
            assert_eq!(world.log(), ["a leads epoch 1"]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a does not renew");
}

#[tokio::test]
async fn the_writes_of_a_deposed_leader_are_refused() {
    let world = world();
    let (_stop, term) = world.candidate("a");
    eventually(&world, &["a leads epoch 1"]).await;
    let old = term.lock().expect("a term").clone().expect("a leads");
    let client = world.api.client();
    let key = ObjectKey::namespaced(NAMESPACE, "job");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("x".to_owned()),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    loop {
        let mut lease = client.get::<Lease>(&key).await.expect("the lease");
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("b".to_owned());
        spec.lease_transitions = Some(2);
        if client.replace(&lease).await.is_ok() {
            break;
        }
    }
    let refused = client.fenced(old.fence()).create(&map).await.expect_err("a is stale");
    assert!(refused.is_fenced() && !refused.is_conflict(), "{refused}");
    old.lost().cancelled().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while old.fence().is_valid() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = client.fenced(old.fence()).create(&map).await.expect_err("a knows");
    assert!(matches!(refused, ClientError::NotLeader { .. }), "{refused}");
}
