//! A thread of its own for tasks that must not wait for others'.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// One thread and the tasks on it: what `run` spawns, and what those spawn, stays there. Its tasks wake each other
/// without a system call, and no computation elsewhere holds them up. Dropping this ends the thread.
pub struct OwnThread {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

impl OwnThread {
    /// # Errors
    /// When the system gives no thread.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error, too, means that the owner is gone.
            let _gone = runtime.block_on(ended);
        })?;
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Runs `task` there, and returns what it comes to.
    ///
    /// # Panics
    /// If the task does.
    pub async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.spawn(task).await.expect("the thread lives as long as its owner")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tasks;

    #[tokio::test]
    async fn what_is_spawned_there_stays_there() {
        let thread = OwnThread::start("elsewhere").expect("a thread");
        let tasks = Tasks::new(tokio_util::sync::CancellationToken::new());
        let (spawned, on) = (tasks.clone(), || std::thread::current().name().map(str::to_owned));
        let (told, name) = oneshot::channel();
        thread
            .run(async move {
                spawned.spawn_infallible("says where it is", async move {
                    // Nobody waits for it if the test has failed.
                    let _gone = told.send(on());
                })
            })
            .await;
        assert_eq!(name.await.expect("an answer").as_deref(), Some("elsewhere"));
        assert_ne!(std::thread::current().name(), Some("elsewhere"));
        tasks.stop().cancel();
        tasks.join(std::time::Duration::from_secs(5)).await.expect("no task failed");
    }
}
