//! The only place that spawns: a set of named tasks that stop, and fail, together.
//!
//! The first task to fail or panic cancels the rest; whoever outlives the grace period is named in the log.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// Why a set of tasks ended early.
#[derive(Debug, Error)]
pub enum TaskError {
    #[error("task {name} failed")]
    Failed { name: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("task {name} panicked")]
    Panicked { name: String },
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A handle to spawn with; clones share one set.
#[derive(Clone)]
pub struct Tasks {
    set: Arc<Mutex<JoinSet<Outcome>>>,
    names: Arc<Mutex<BTreeMap<u64, String>>>,
    spawned: Arc<tokio::sync::Notify>,
    stop: CancellationToken,
}

impl Tasks {
    /// `stop` ends the set: every task should watch it, or a child of it.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            set: Arc::default(),
            names: Arc::default(),
            spawned: Arc::new(tokio::sync::Notify::new()),
            stop,
        }
    }

    /// The token that tells every task of this set to stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs `task` until it ends. Its error, or its panic, stops the whole set.
    pub fn spawn<E>(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> AbortHandle
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let handle = lock(&self.set).spawn(async move { task.await.map_err(Into::into) });
        lock(&self.names).insert(id_of(handle.id()), name.into());
        self.spawned.notify_one();
        handle
    }

    /// Runs a task that cannot fail.
    pub fn spawn_infallible(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.spawn(name, async move {
            task.await;
            Ok::<(), std::convert::Infallible>(())
        })
    }

    /// Waits until `stop` is cancelled or a task fails, then until all tasks ended or `grace` is over.
    ///
    /// # Errors
    /// The first task's failure.
    pub async fn join(self, grace: Duration) -> Result<(), TaskError> {
        let first = loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break Ok(()),
                ended = self.next() => if let Err(failure) = ended {
                    error!(error = %failure, source = ?std::error::Error::source(&failure), "a task failed, stopping the rest");
                    self.stop.cancel();
                    break Err(failure);
                },
            }
        };
        if tokio::time::timeout(grace, self.drain()).await.is_err() {
            for name in lock(&self.names).values() {
                warn!(task = %name, "did not stop within the grace period");
            }
            lock(&self.set).abort_all();
        }
        first
    }

    async fn drain(&self) {
        while !lock(&self.set).is_empty() {
            if let Err(failure) = self.next().await {
                debug!(error = %failure, "a task failed while stopping");
            }
        }
    }

    /// The end of one task. Never ready while the set is empty, unless one is spawned.
    async fn next(&self) -> Result<(), TaskError> {
        loop {
            let ended = std::future::poll_fn(|cx| match lock(&self.set).poll_join_next_with_id(cx) {
                std::task::Poll::Ready(ended) => std::task::Poll::Ready(ended),
                std::task::Poll::Pending => std::task::Poll::Pending,
            });
            let ended = tokio::select! {
                biased;
                ended = ended => ended,
                () = self.spawned.notified() => continue,
            };
            match ended {
                None => self.spawned.notified().await,
                Some(Ok((id, Ok(())))) => {
                    self.forget(id);
                    return Ok(());
                }
                Some(Ok((id, Err(source)))) => {
                    return Err(TaskError::Failed { name: self.forget(id), source });
                }
                Some(Err(join)) => {
                    let name = self.forget(join.id());
                    if join.is_panic() {
                        return Err(TaskError::Panicked { name });
                    }
                    return Ok(());
                }
            }
        }
    }

    fn forget(&self, id: Id) -> String {
        lock(&self.names).remove(&id_of(id)).unwrap_or_default()
    }
}

/// tokio's `Id` is opaque but prints as its number.
fn id_of(id: Id) -> u64 {
    id.to_string().parse().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_stops_the_rest() {
        let tasks = Tasks::new(CancellationToken::new());
        let stop = tasks.stop().clone();
        tasks.spawn_infallible("waits", async move { stop.cancelled().await });
        tasks.spawn("fails", async { Err::<(), _>(std::io::Error::other("disk gone")) });
        let failure = tasks.join(Duration::from_secs(5)).await.expect_err("a task failed");
        assert_eq!(failure.to_string(), "task fails failed");
    }

    #[tokio::test]
    async fn a_panic_is_named() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn_infallible("panics", async { assert!(std::env::args().count() == 0, "on purpose") });
        let failure = tasks.join(Duration::from_secs(5)).await.expect_err("a task panicked");
        assert_eq!(failure.to_string(), "task panics panicked");
    }

    #[tokio::test]
    async fn stopping_waits_for_every_task() {
        let tasks = Tasks::new(CancellationToken::new());
        let stop = tasks.stop().clone();
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (seen, ends) = (done.clone(), stop.clone());
        tasks.spawn_infallible("tidies up", async move {
            ends.cancelled().await;
            tokio::task::yield_now().await;
            seen.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        stop.cancel();
        tasks.join(Duration::from_secs(5)).await.expect("no task failed");
        assert!(done.load(std::sync::atomic::Ordering::SeqCst));
    }
}
