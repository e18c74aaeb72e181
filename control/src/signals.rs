//! The signals that end this process.

use anyhow::{Context, Result};
use base::Tasks;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, listened for from here on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The name of the first that comes.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }

    /// Stops these tasks when a signal comes.
    pub(crate) fn stop(mut self, tasks: &Tasks) {
        let stop = tasks.stop().clone();
        tasks.spawn_infallible("signals", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                signal = self.next() => {
                    tracing::info!(%signal, "stopping");
                    stop.cancel();
                }
            }
        });
    }
}
