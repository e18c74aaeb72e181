//! The past of a store: found by wall time, and forgotten by age and by size.

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, ManualClock, Revision, SeededEntropy, Tasks, Timestamp};
use tokio_util::sync::CancellationToken;

use super::cluster::put;
use crate::store::history::step;
use crate::{History, Range, Store, StoreError};

struct Past {
    store: Store,
    clock: Arc<ManualClock>,
    tasks: Tasks,
}

impl Past {
    async fn start() -> Self {
        let tasks = Tasks::new(CancellationToken::new());
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_000).expect("a time")));
        let store = Store::in_memory(clock.clone(), Arc::new(SeededEntropy::new(1)), &tasks).await;
        Self { store, clock, tasks }
    }

    async fn put(&self, value: &str) -> Revision {
        put(&self.store, "k", value).await.expect("a write")
    }

    /// `value` or the reason why there is none.
    async fn read_at(&self, second: i64) -> String {
        let at = match self.store.revision_at(Timestamp::from_second(second).expect("a time")).await {
            Ok(at) => at,
            Err(error) => return error.to_string(),
        };
        let range = Range { revision: Some(at), ..Range::key("k") };
        let found = self.store.range(range).await.expect("it is readable");
        found.kvs.first().map_or_else(|| "absent".to_owned(), |kv| format!("{:?}", kv.value))
    }

    async fn forget(&self, history: History) -> i64 {
        while step(&self.store, history, 1).await.expect("sound rows") {
            // Cleaning is this node's own task.
            tokio::task::yield_now().await;
        }
        self.store.status().compacted.get()
    }

    async fn stop(self) {
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(10)).await.expect("no task failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_in_the_past_is_read_until_it_is_forgotten() {
    let past = Past::start().await;
    for value in ["one", "two", "three"] {
        past.put(value).await;
        past.clock.advance(Duration::from_secs(100));
    }
    assert_eq!(past.read_at(999).await, "absent");
    assert_eq!(past.read_at(1_000).await, "b\"one\"");
    assert_eq!(past.read_at(1_199).await, "b\"two\"");
    assert_eq!(past.read_at(1_500).await, "b\"three\"");
    let history = History { age: Some(Duration::from_secs(150)), bytes: None };
    assert_eq!(past.forget(history).await, 3, "the state of 150 seconds ago stays");
    assert_eq!(past.read_at(1_150).await, "b\"two\"");
    let oldest =
        "the state of 1970-01-01T00:18:19Z is not kept any more; the oldest is of 1970-01-01T00:18:20Z";
    assert_eq!(past.read_at(1_099).await, oldest);
    past.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_size_is_forgotten_and_the_newest_state_never() {
    let past = Past::start().await;
    for n in 0..100 {
        past.put(&format!("{n:0100}")).await;
    }
    let compacted = past.forget(History { age: None, bytes: Some(3_000) }).await;
    // A change takes about 300 bytes, in two tables.
    assert!((85..=98).contains(&compacted), "{compacted}");
    past.clock.advance(Duration::from_secs(3600));
    let history = History { age: Some(Duration::from_secs(1)), bytes: Some(0) };
    assert_eq!(past.forget(history).await, 101);
    assert_eq!(past.read_at(past.clock.now().as_second()).await, format!("b\"{:0100}\"", 99));
    assert_eq!(past.forget(History::ALL).await, 101);
    past.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_compaction_still_counts() {
    let past = Past::start().await;
    for value in ["one", "two", "three"] {
        past.put(value).await;
    }
    past.store.compact(Revision::new(3)).await.expect("a compaction");
    assert_eq!(past.forget(History::default()).await, 3);
    let again = past.store.compact(Revision::new(3)).await;
    assert!(matches!(again, Err(StoreError::Compacted { .. })), "{again:?}");
    past.stop().await;
}
