//! What becomes of the fsyncs of a member: all of them, from one moment to the next, without the member's help.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base::{OwnThread, Tasks};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::kernel::syncs::{self, Answer, Waiting};

/// How the disk answers those who sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "syncs", rename_all = "kebab-case")]
pub enum Syncs {
    #[default]
    Work,
    /// With EIO, and nothing is synced.
    Fail,
    /// They work, but take so much longer.
    Delay { by_ms: u64 },
    /// They do not end before this is over.
    Hang,
}

/// The syncs of one member, over the lives of its processes.
pub(super) struct HeldSyncs {
    rule: watch::Sender<Syncs>,
    /// How many were not simply let through.
    bent: Arc<AtomicU64>,
    thread: OwnThread,
    tasks: Tasks,
}

impl HeldSyncs {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            rule: watch::Sender::new(Syncs::Work),
            bent: Arc::default(),
            thread: OwnThread::start("syncs").context("cannot start a thread")?,
            tasks: Tasks::new(CancellationToken::new()),
        })
    }

    /// Has the syncs of what the command starts wait for `follow`.
    pub(super) fn hold(command: &mut Command) {
        syncs::hold(command);
    }

    /// Answers the syncs of this process from now on, until it ends.
    pub(super) async fn follow(&self, pid: u32) -> Result<()> {
        let follower = Follower {
            listener: Arc::new(syncs::listener(pid)?),
            rule: self.rule.subscribe(),
            bent: self.bent.clone(),
            tasks: self.tasks.clone(),
        };
        let tasks = self.tasks.clone();
        let follow = async move {
            // It ends with the process.
            let _ended = follower.run().await;
        };
        self.thread.run(async move { tasks.spawn_infallible(format!("syncs of {pid}"), follow) }).await;
        Ok(())
    }

    pub(super) fn set(&self, rule: Syncs) {
        self.rule.send_replace(rule);
    }

    pub(super) fn bent(&self) -> u64 {
        self.bent.load(Ordering::Relaxed)
    }
}

struct Follower {
    listener: Arc<OwnedFd>,
    rule: watch::Receiver<Syncs>,
    bent: Arc<AtomicU64>,
    tasks: Tasks,
}

impl Follower {
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor never changes")]
    async fn run(self) -> std::io::Result<()> {
        let listener = AsyncFd::new(self.listener.clone())?;
        loop {
            let mut ready = listener.readable().await?;
            if ready.ready().is_read_closed() {
                return Ok(());
            }
            while let Some(waiting) = syncs::receive(self.listener.as_raw_fd())? {
                self.settle(waiting);
            }
            ready.clear_ready();
        }
    }

    fn settle(&self, waiting: Waiting) {
        let rule = *self.rule.borrow();
        if rule != Syncs::Work {
            self.bent.fetch_add(1, Ordering::Relaxed);
        }
        let (listener, mut rules) = (self.listener.clone(), self.rule.clone());
        let later = async move {
            match rule {
                Syncs::Delay { by_ms } => sleep(Duration::from_millis(by_ms)).await,
                // Whatever comes next, those who waited are let through.
                Syncs::Hang => drop(rules.wait_for(|rule| *rule != Syncs::Hang).await),
                Syncs::Work | Syncs::Fail => {}
            }
            syncs::answer(listener.as_raw_fd(), waiting, Answer::Sync);
        };
        match rule {
            Syncs::Work => syncs::answer(self.listener.as_raw_fd(), waiting, Answer::Sync),
            Syncs::Fail => syncs::answer(self.listener.as_raw_fd(), waiting, Answer::Fail),
            Syncs::Delay { .. } | Syncs::Hang => {
                self.tasks.spawn_infallible("a sync that waits", later);
            }
        }
    }
}
