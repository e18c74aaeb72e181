//! Clients that ask again as soon as they are answered, and what that makes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::process::cpu;
use tokio::time::Instant;

use crate::fleet::Fleet;

/// One client; it shares a connection with others.
pub(crate) trait Worker: Send + 'static {
    /// One request, until its answer.
    fn step(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What clients have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Processor time of all servers for one request.
    pub(crate) server_cpu: Duration,
    pub(crate) client_cpu: Duration,
}

/// Runs the workers for `time`, after a while that does not count.
pub(crate) async fn drive<W: Worker>(
    fleet: &Fleet,
    workers: Vec<W>,
    time: Duration,
) -> Result<(Measured, Vec<W>)> {
    let warm = Instant::now() + (time / 5).max(Duration::from_millis(500));
    let end = warm + time;
    let mut running = Vec::new();
    for worker in workers {
        running.push(spawn(one(worker, warm, end)));
    }
    tokio::time::sleep_until(warm).await;
    let before = (fleet.cpu(), cpu("self"));
    tokio::time::sleep_until(end).await;
    let after = (fleet.cpu(), cpu("self"));
    let mut latencies = Vec::new();
    let mut workers = Vec::new();
    for worker in running {
        let (worker, seen) = worker.await??;
        latencies.extend(seen);
        workers.push(worker);
    }
    ensure!(!latencies.is_empty(), "nothing was answered in time");
    latencies.sort_unstable();
    let each = |spent: Duration| spent / u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    let measured = Measured {
        per_second: latencies.len() as f64 / time.as_secs_f64(),
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
        server_cpu: each(after.0.saturating_sub(before.0)),
        client_cpu: each(after.1.saturating_sub(before.1)),
    };
    Ok((measured, workers))
}

async fn one<W: Worker>(mut worker: W, warm: Instant, end: Instant) -> Result<(W, Vec<Duration>)> {
    let mut seen = Vec::new();
    loop {
        let began = Instant::now();
        if began >= end {
            return Ok((worker, seen));
        }
        worker.step().await?;
        let now = Instant::now();
        if began >= warm && now <= end {
            seen.push(now - began);
        }
    }
}

/// Splits `total` requests over the workers, and runs them as fast as they go.
pub(crate) async fn repeat<W: Worker>(workers: Vec<W>, total: usize) -> Result<Vec<W>> {
    let share = total.div_ceil(workers.len().max(1));
    let mut running = Vec::new();
    for mut worker in workers {
        running.push(spawn(async move {
            for _ in 0..share {
                worker.step().await?;
            }
            anyhow::Ok(worker)
        }));
    }
    let mut workers = Vec::new();
    for worker in running {
        workers.push(worker.await??);
    }
    Ok(workers)
}

/// # Panics
/// On an empty list.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[expect(
    clippy::disallowed_methods,
    reason = "hundreds of clients without a name, each joined by its caller"
)]
pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}
