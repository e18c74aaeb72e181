//! How the shim's children end: it is the parent of all of them, also of what they have left behind.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What a process ended by a signal exits with, as shells have it: this and the signal's number.
const SIGNALLED: i32 = 128;

/// Who waits for which child.
#[derive(Default)]
pub(super) struct Exits {
    awaited: Mutex<BTreeMap<i32, oneshot::Sender<i32>>>,
}

impl Exits {
    /// To be called before anything is awaited after the child was started.
    pub(super) fn of(&self, pid: i32) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(pid, sender);
        receiver
    }

    /// True until the child was reaped: only so long does its number mean it.
    pub(super) fn is_awaited(&self, pid: i32) -> bool {
        self.lock().contains_key(&pid)
    }

    /// Reaps for ever.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub(super) async fn reap(&self) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        loop {
            self.reap_ended();
            if ended.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    fn reap_ended(&self) {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, SIGNALLED + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for processes");
                    return;
                }
            };
            if let Some(awaited) = self.take(pid) {
                let _gone = awaited.send(code);
            }
        }
    }

    fn take(&self, pid: Pid) -> Option<oneshot::Sender<i32>> {
        self.lock().remove(&pid.as_raw())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, oneshot::Sender<i32>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
