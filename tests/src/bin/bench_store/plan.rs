//! Which parts run, in which order, on which systems; in turn, so that all see the same noise.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::fleet::{Fleet, System};
use crate::load::{self, Measured};
use crate::table::{Goal, Table};
use crate::watchers::{self, Idle};
use crate::workers;

pub(crate) struct Plan {
    /// How long each load runs.
    pub(crate) time: Duration,
    pub(crate) rounds: usize,
    pub(crate) systems: Vec<System>,
    pub(crate) parts: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), rounds: 3, systems: System::ALL.to_vec(), parts: Vec::new() }
    }
}

const PARTS: &[&str] = &["load", "watch"];

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
            if wanted("watch") && system != System::Wall {
                watches(plan, system, &mut table).await?;
            }
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
    let mut note =
        |work: &str, goal: Goal, measured: Measured| table.add(work, goal, fleet.system(), &measured);
    for (clients, goal) in [(1, Goal::Latency(0.8)), (64, Goal::Rate(2.5)), (512, Goal::Rate(2.5))] {
        let putters = workers::putters(&connections, clients, workers::KEYS);
        let (measured, _) = load::drive(&fleet, putters, plan.time).await?;
        note(&format!("put, {clients} clients"), goal, measured);
    }
    let swappers = workers::swappers(&connections, 64);
    let (measured, _) = load::drive(&fleet, swappers, plan.time).await?;
    note("compare-and-put, 64 clients", Goal::Rate(2.5), measured);
    for (clients, goal) in [(64, Goal::Rate(2.5)), (512, Goal::Rate(2.0))] {
        let getters = workers::getters(&connections, clients);
        let (measured, _) = load::drive(&fleet, getters, plan.time).await?;
        note(&format!("get, {clients} clients"), goal, measured);
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
