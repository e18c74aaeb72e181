//! Watches: hundreds of the same keys while these change, and thousands of keys that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use etcd_client::{Client, KvClient, WatchOptions, WatchStream};
use tests::process::cpu;
use tokio::time::{Instant, timeout};

use crate::fleet::Fleet;
use crate::load::{Measured, percentile, spawn};
use crate::workers::value;

const VALUE_BYTES: usize = 256;
const KEYS: u64 = 1000;
const WRITERS: usize = 64;
/// Each watcher measures the delay of one event in so many.
const SAMPLE: u64 = 64;
/// How long a watcher waits for what is still on its way once the writers have stopped.
const LAST_EVENT_TIME_MAX: Duration = Duration::from_secs(60);

/// What writers and watchers share.
struct Scene {
    began: Instant,
    /// Only events that arrive meanwhile count.
    counts: AtomicBool,
    events: AtomicU64,
    /// The newest revision that was acknowledged to a writer.
    written: AtomicU64,
    stop: AtomicBool,
}

/// Events per second to `watchers` of one prefix, with what the keys held before; each a stream of its own. Every
/// watcher must have seen the last write, else the figures mean nothing.
pub(crate) async fn fan_out(
    fleet: &Fleet,
    connections: &[Client],
    watchers: usize,
    time: Duration,
) -> Result<Measured> {
    let scene = Arc::new(Scene {
        began: Instant::now(),
        counts: AtomicBool::new(false),
        events: AtomicU64::new(0),
        written: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut watching = Vec::new();
    for number in 0..watchers {
        let stream = open(&connections[number % connections.len()], "/seen/").await?;
        watching.push(spawn(watch(stream, scene.clone())));
    }
    let mut writing = Vec::new();
    for number in 0..WRITERS {
        let client = connections[number % connections.len()].kv_client();
        writing.push(spawn(write(client, number, scene.clone())));
    }
    tokio::time::sleep((time / 5).max(Duration::from_secs(1))).await;
    let usage = || (fleet.cpu(), cpu("self"));
    let before = usage();
    scene.counts.store(true, Ordering::Relaxed);
    tokio::time::sleep(time).await;
    scene.counts.store(false, Ordering::Relaxed);
    let after = usage();
    scene.stop.store(true, Ordering::Relaxed);
    for writer in writing {
        writer.await??;
    }
    let last = KvClient::put(&mut connections[0].kv_client(), "/seen/last", "", None).await?;
    let last = last.header().map_or(0, etcd_client::ResponseHeader::revision);
    scene.written.store(last.cast_unsigned(), Ordering::SeqCst);
    let mut delays = Vec::new();
    for watcher in watching {
        delays.extend(timeout(LAST_EVENT_TIME_MAX, watcher).await???);
    }
    ensure!(!delays.is_empty(), "no event arrived in time");
    delays.sort_unstable();
    let events = scene.events.load(Ordering::SeqCst);
    let each = |spent: Duration| Duration::from_secs_f64(spent.as_secs_f64() / events.max(1) as f64);
    Ok(Measured {
        per_second: events as f64 / time.as_secs_f64(),
        p50: percentile(&delays, 50),
        p99: percentile(&delays, 99),
        server_cpu: each(after.0.saturating_sub(before.0)),
        client_cpu: each(after.1.saturating_sub(before.1)),
    })
}

async fn open(client: &Client, prefix: &str) -> Result<WatchStream> {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    Ok(client.watch_client().watch(prefix, Some(options)).await?)
}

/// Reads until the last write, and returns some of the delays.
async fn watch(mut stream: WatchStream, scene: Arc<Scene>) -> Result<Vec<Duration>> {
    let mut delays = Vec::new();
    let (mut seen, mut newest) = (0_u64, 0_i64);
    while let Some(response) = stream.message().await? {
        let now = scene.began.elapsed();
        let counts = scene.counts.load(Ordering::Relaxed);
        if counts {
            scene.events.fetch_add(response.events().len() as u64, Ordering::Relaxed);
        }
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            ensure!(kv.mod_revision() >= newest, "revision {} after {newest}", kv.mod_revision());
            newest = kv.mod_revision();
            if kv.key() == b"/seen/last" {
                return Ok(delays);
            }
            seen += 1;
            if counts && seen.is_multiple_of(SAMPLE) {
                let sent = kv.value().first_chunk().map_or(0, |sent| u64::from_be_bytes(*sent));
                delays.push(now.saturating_sub(Duration::from_nanos(sent)));
            }
        }
    }
    anyhow::bail!("a stream has ended at revision {newest}")
}

/// Puts one key after the other; each value begins with the time at which it was sent.
async fn write(mut client: KvClient, number: usize, scene: Arc<Scene>) -> Result<()> {
    let mut next = number as u64;
    let mut bytes = value(VALUE_BYTES);
    while !scene.stop.load(Ordering::Relaxed) {
        let now = u64::try_from(scene.began.elapsed().as_nanos())?;
        bytes[..8].copy_from_slice(&now.to_be_bytes());
        client.put(format!("/seen/{:06}", next % KEYS), bytes.clone(), None).await?;
        next += WRITERS as u64;
    }
    Ok(())
}

/// Watches of single keys that nobody changes, a hundred to a stream, for as long as they are held.
pub(crate) struct Idle {
    streams: Vec<WatchStream>,
}

const WATCHES_PER_STREAM: usize = 100;

impl Idle {
    pub(crate) async fn open(connections: &[Client], watches: usize) -> Result<Self> {
        let mut streams = Vec::new();
        for number in 0..watches.div_ceil(WATCHES_PER_STREAM) {
            let client = &connections[number % connections.len()];
            let key = |place: usize| format!("/idle/{number}/{place}");
            let mut stream = client.watch_client().watch(key(0), None).await?;
            for place in 1..WATCHES_PER_STREAM {
                stream.watch(key(place), None).await?;
                let created = stream.message().await?;
                ensure!(created.is_some_and(|response| response.created()), "a watch was refused");
            }
            streams.push(stream);
        }
        Ok(Self { streams })
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }
}
