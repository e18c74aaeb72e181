//! Which parts run, in which order, on which systems; in turn, so that all see the same noise.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::fleet::{Fleet, System};
use crate::load;
use crate::table::{Goal, Table};
use crate::watchers::{self, Idle};
use crate::{whole, workers};

pub(crate) struct Plan {
    /// How long each load runs.
    pub(crate) time: Duration,
    pub(crate) rounds: usize,
    pub(crate) systems: Vec<System>,
    pub(crate) parts: Vec<String>,
    /// How many keys there are when memory and restart are measured.
    pub(crate) keys: u64,
    /// How many revisions are compacted.
    pub(crate) revisions: usize,
    /// How many leaders are killed.
    pub(crate) kills: usize,
    /// How the names of the wanted loads begin.
    pub(crate) work: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(5),
            rounds: 3,
            systems: System::ALL.to_vec(),
            parts: Vec::new(),
            keys: 1_000_000,
            revisions: 1_000_000,
            kills: 50,
            work: String::new(),
        }
    }
}

const PARTS: &[&str] = &["load", "list", "watch", "size", "compact", "failover"];

pub(crate) async fn run(plan: &Plan) -> Result<()> {
    for part in &plan.parts {
        if !PARTS.contains(&part.as_str()) {
            bail!("no part is named {part}; there are {}", PARTS.join(", "));
        }
    }
    let wanted = |part: &str| plan.parts.is_empty() || plan.parts.iter().any(|wanted| wanted == part);
    let mut table = Table::default();
    for round in 1..=plan.rounds {
        for &system in &plan.systems {
            eprintln!("round {round} of {}: {}", plan.rounds, system.name());
            if wanted("load") {
                requests(plan, system, &mut table).await?;
            }
            if wanted("list") && system != System::Wall {
                whole::list(plan, system, &mut table).await?;
            }
            if wanted("watch") && system != System::Wall {
                watches(plan, system, &mut table).await?;
            }
        }
    }
    // These take long, and vary little.
    for &system in plan.systems.iter().filter(|system| **system != System::Wall) {
        eprintln!("once: {}", system.name());
        if wanted("size") {
            whole::size(plan, system, &mut table).await?;
        }
        if wanted("compact") {
            whole::compact(plan, system, &mut table).await?;
        }
        if wanted("failover") {
            whole::failover(plan, system, &mut table).await?;
        }
    }
    table.print();
    Ok(())
}

/// Puts, transactions and gets, by 1 to 512 clients.
async fn requests(plan: &Plan, system: System, table: &mut Table) -> Result<()> {
    let fleet = Fleet::start(system).await?;
    let connections = fleet.connections().await?;
    workers::fill(&connections, workers::KEYS).await?;
    let wanted = |work: &str| work.starts_with(&plan.work);
    for (clients, goal) in [(1, Goal::Latency(0.8)), (64, Goal::Rate(2.5)), (512, Goal::Rate(2.5))] {
        let work = format!("put, {clients} clients");
        if wanted(&work) {
            let putters = workers::putters(&connections, clients, workers::KEYS);
            table.add(&work, goal, system, &load::drive(&fleet, putters, plan.time).await?.0);
        }
    }
    let work = "compare-and-put, 64 clients";
    if wanted(work) {
        let swappers = workers::swappers(&connections, 64);
        table.add(work, Goal::Rate(2.5), system, &load::drive(&fleet, swappers, plan.time).await?.0);
    }
    for (clients, goal) in [(64, Goal::Rate(2.5)), (512, Goal::Rate(2.0))] {
        let work = format!("get, {clients} clients");
        if wanted(&work) {
            let getters = workers::getters(&connections, clients);
            table.add(&work, goal, system, &load::drive(&fleet, getters, plan.time).await?.0);
        }
    }
    Ok(())
}

/// Events to many watchers of the same keys; and puts while thousands of watches have nothing to say.
async fn watches(plan: &Plan, system: System, table: &mut Table) -> Result<()> {
    let fleet = Fleet::start(system).await?;
    let connections = fleet.connections().await?;
    for watchers in [1, 300] {
        let measured = watchers::fan_out(&fleet, &connections, watchers, plan.time).await?;
        table.add(&format!("events to {watchers} watchers, prev_kv"), Goal::Rate(2.5), system, &measured);
    }
    workers::fill(&connections, workers::KEYS).await?;
    for watches in [0, 10_000] {
        let idle = Idle::open(&connections, watches).await?;
        let putters = workers::putters(&connections, 64, workers::KEYS);
        let (measured, _) = load::drive(&fleet, putters, plan.time).await?;
        let work = format!("put, 64 clients, {watches} idle watches in {} streams", idle.streams());
        table.add(&work, Goal::Rate(2.5), system, &measured);
    }
    Ok(())
}
