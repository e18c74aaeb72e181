//! Informers against the API in memory: what they know, and how they get over interruptions.

use base::{SeededEntropy, SystemClock};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;
use crate::cache::Index;
use crate::client::Delete;
use crate::memory::MemoryApi;
use crate::object::ObjectKey;

struct World {
    api: MemoryApi,
    client: Client,
    cache: Cache<ConfigMap>,
    _tasks: Tasks,
}

fn world() -> World {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
    let api = MemoryApi::new(Arc::new(SystemClock), entropy.clone());
    let tasks = Tasks::new(CancellationToken::new());
    let client = api.client();
    let cache = Informer::<ConfigMap>::start(&client, &entropy, &tasks);
    World { api, client, cache, _tasks: tasks }
}

fn map(name: &str) -> ConfigMap {
    let (name, namespace) = (Some(name.to_owned()), Some("default".to_owned()));
    ConfigMap { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() }, ..ConfigMap::default() }
}

impl World {
    async fn create(&self, name: &str) -> Revision {
        self.client.create(&map(name)).await.expect("created").revision()
    }

    /// Waits until the cache has seen `revision`, then tells what it holds.
    async fn names_at(&self, revision: Revision) -> Vec<String> {
        let seen = self.cache.wait_until(|cache| cache.has_seen(revision));
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("the cache catches up");
        self.cache.list().iter().map(|object| object.name().to_owned()).collect()
    }
}

#[tokio::test]
async fn lists_then_follows() {
    let world = world();
    world.create("a").await;
    world.cache.synced().await;
    world.create("b").await;
    let key = ObjectKey::namespaced("default", "a");
    world.client.delete::<ConfigMap>(&key, &Delete::default()).await.expect("deleted");
    let last = world.create("c").await;
    assert_eq!(world.names_at(last).await, ["b", "c"]);
}

#[tokio::test]
async fn resumes_after_a_cut_and_after_an_outage() {
    let world = world();
    world.cache.synced().await;
    world.api.cut_watches();
    let last = world.create("a").await;
    assert_eq!(world.names_at(last).await, ["a"]);
    world.api.set_unreachable(true);
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.api.set_unreachable(false);
    let last = world.create("b").await;
    assert_eq!(world.names_at(last).await, ["a", "b"]);
}

#[tokio::test]
async fn lists_again_when_its_revision_is_gone_and_tells_what_vanished() {
    let world = world();
    let (changes, mut seen) = tokio::sync::mpsc::unbounded_channel();
    world.cache.on_change(move |change| {
        let verb = if change.new.is_some() { "has" } else { "lost" };
        let _ = changes.send(format!("{verb} {}", change.latest().expect("an object").name()));
    });
    let first = world.create("a").await;
    assert_eq!(world.names_at(first).await, ["a"]);
    assert_eq!(seen.recv().await.as_deref(), Some("has a"));

    let key = ObjectKey::namespaced("default", "a");
    world.api.set_unreachable(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.api.set_unreachable(false);
    world.client.delete::<ConfigMap>(&key, &Delete::default()).await.expect("deleted");
    let last = world.create("b").await;
    world.api.compact();
    assert_eq!(world.names_at(last).await, ["b"]);
    let mut told = [seen.recv().await, seen.recv().await].map(Option::unwrap_or_default);
    told.sort();
    assert_eq!(told, ["has b", "lost a"]);
}

#[tokio::test]
async fn learns_how_current_it_is_though_its_kind_is_quiet() {
    let world = world();
    world.create("a").await;
    world.cache.synced().await;
    let secret = Secret { metadata: map("s").metadata, ..Secret::default() };
    let elsewhere = world.client.create(&secret).await.expect("created").revision();
    let reached = world.cache.reach(elsewhere);
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("the informer asks");
    assert_eq!(world.names_at(elsewhere).await, ["a"]);
}

#[tokio::test]
async fn finds_by_index_old_and_new_objects() {
    let world = world();
    let first = world.create("a").await;
    world.names_at(first).await;
    let first_letter = |map: &ConfigMap| map.name().chars().take(1).map(String::from).collect();
    world.cache.add_index(Index { name: "letter", values: first_letter });
    let last = world.create("ab").await;
    world.names_at(last).await;
    assert_eq!(world.cache.by_index("letter", "a").len(), 2);
    assert_eq!(world.cache.by_index("letter", "x").len(), 0);
}
