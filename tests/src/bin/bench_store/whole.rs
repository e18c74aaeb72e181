//! What is measured once for a whole fleet: memory and restart with many keys, the end of a leader, a compaction, and
//! lists.

use std::time::Duration;

use anyhow::{Context as _, Result};
use etcd_client::{Client, GetOptions, KvClient, PutOptions, Txn, TxnOp};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::fleet::{Fleet, System};
use crate::load::{self, Worker};
use crate::plan::Plan;
use crate::table::{Figure, Goal, Table};
use crate::workers;

const LIST_KEYS: usize = 3000;
const LIST_FILL_AT_ONCE: usize = 100;
const LIST_VALUE_BYTES: usize = 1024;
const LIST_CLIENTS: usize = 8;
/// How often a probe is sent while nobody leads.
const PROBE_EVERY: Duration = Duration::from_millis(5);
const RECOVER_TIME_MAX: Duration = Duration::from_secs(30);

/// Reads every key of a prefix at once, linearizably.
struct Lister {
    client: KvClient,
}

impl Worker for Lister {
    async fn step(&mut self) -> Result<()> {
        let found = self.client.get("/list/", Some(GetOptions::new().with_prefix())).await?;
        anyhow::ensure!(found.kvs().len() == LIST_KEYS, "a list of {} keys", found.kvs().len());
        Ok(())
    }
}

pub(crate) async fn list(plan: &Plan, system: System, table: &mut Table) -> Result<()> {
    let fleet = Fleet::start(system).await?;
    let connections = fleet.connections().await?;
    let mut client = connections[0].kv_client();
    for first in (0..LIST_KEYS).step_by(LIST_FILL_AT_ONCE) {
        let numbers = first..first + LIST_FILL_AT_ONCE;
        let value = || workers::value(LIST_VALUE_BYTES);
        let puts = numbers.map(|number| TxnOp::put(format!("/list/{number:06}"), value(), None));
        client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await?;
    }
    let listers = (0..LIST_CLIENTS)
        .map(|number| Lister {
            client: connections[number].kv_client().max_decoding_message_size(64 * 1024 * 1024),
        })
        .collect();
    let (measured, _) = load::drive(&fleet, listers, plan.time).await?;
    table.add("list of 3000 x 1 KiB, 8 clients", Goal::Rate(1.5), system, &measured);
    Ok(())
}

/// Memory of a member, and its restart, with `plan.keys` keys.
pub(crate) async fn size(plan: &Plan, system: System, table: &mut Table) -> Result<()> {
    let mut fleet = Fleet::start(system).await?;
    let connections = fleet.connections().await?;
    workers::fill(&connections, plan.keys).await?;
    let resident = fleet.resident();
    let mean = resident.iter().sum::<u64>() / resident.len().max(1) as u64;
    let figure = Figure { work: format!("RSS of a member, {} keys", plan.keys), unit: "MiB", at_most: 0.5 };
    table.add_figure(&figure, system, mean as f64 / f64::from(1 << 20));
    let follower = (fleet.leader().await? + 1) % fleet.members();
    fleet.kill(follower);
    fleet.launch(follower)?;
    let took = fleet.until_it_serves(follower).await?;
    let figure = Figure { work: format!("restart with {} keys", plan.keys), unit: "ms", at_most: 0.5 };
    table.add_figure(&figure, system, took.as_secs_f64() * 1000.0);
    Ok(())
}

/// From the kill -9 of the leader to the next write that a survivor acknowledges.
pub(crate) async fn failover(plan: &Plan, system: System, table: &mut Table) -> Result<()> {
    let mut fleet = Fleet::start(system).await?;
    let mut times = Vec::new();
    for _ in 0..plan.kills {
        let leader = fleet.leader().await?;
        let mut survivors = Vec::new();
        for at in (0..fleet.members()).filter(|at| *at != leader) {
            let mut client = fleet.connect(at).await?;
            client.put("/failover", "before", None).await?;
            survivors.push(client);
        }
        let killed = Instant::now();
        fleet.kill(leader);
        times.push(first_acknowledged(&survivors, killed).await?);
        fleet.launch(leader)?;
        fleet.until_it_serves(leader).await?;
    }
    times.sort_unstable();
    for (name, percent, at_most) in [("p50", 50, 1.0), ("p99", 99, 0.5)] {
        let work = format!("leader's kill -9 to the next write, {name} of {}", plan.kills);
        let figure = Figure { work, unit: "ms", at_most };
        table.add_figure(&figure, system, load::percentile(&times, percent).as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// A new write every few milliseconds: one that was sent to the dead leader may hang, and says nothing of the others.
async fn first_acknowledged(survivors: &[Client], killed: Instant) -> Result<Duration> {
    let (done, mut first) = mpsc::unbounded_channel();
    let mut probes = Vec::new();
    let deadline = Instant::now() + RECOVER_TIME_MAX;
    let took = loop {
        anyhow::ensure!(Instant::now() < deadline, "nobody took over");
        for client in survivors {
            let (mut client, done) = (client.kv_client(), done.clone());
            probes.push(load::spawn(async move {
                if client.put("/failover", "after", None::<PutOptions>).await.is_ok() {
                    // The first answer is enough.
                    let _ = done.send(Instant::now());
                }
            }));
        }
        if let Ok(answered) = timeout(PROBE_EVERY, first.recv()).await {
            break answered.context("a probe")? - killed;
        }
    };
    for probe in probes {
        probe.abort();
    }
    Ok(took)
}

/// The p99 of puts while many revisions are compacted, and without. Compared with itself, not with etcd.
pub(crate) async fn compact(plan: &Plan, system: System, table: &mut Table) -> Result<()> {
    let fleet = Fleet::start(system).await?;
    let connections = fleet.connections().await?;
    let putters = workers::putters(&connections, 512, workers::KEYS);
    load::repeat(putters, plan.revisions).await?;
    let p99 = async |name: &str, table: &mut Table| -> Result<()> {
        let putters = workers::putters(&connections, 64, workers::KEYS);
        let (measured, _) = load::drive(&fleet, putters, plan.time).await?;
        table.add(&format!("put, 64 clients, {name}"), Goal::Rate(1.0), system, &measured);
        Ok(())
    };
    p99("before a compaction", table).await?;
    let mut client = connections[0].clone();
    let newest = client.get("anything", None).await?;
    let newest = newest.header().context("an answer has a header")?.revision();
    client.compact(newest, None).await?;
    p99(&format!("while {} revisions are compacted", plan.revisions), table).await?;
    sleep(Duration::from_millis(100)).await;
    Ok(())
}
