//! Binds pods to nodes: filter, score, select, bind, over a snapshot that watches keep current.
//!
//! One process leads at a time; every other one keeps warm caches. Deciding is pure; only `bind` writes.

mod bind;
mod decide;
mod driver;
mod filters;
mod metrics;
mod pod;
mod queue;
mod scores;
mod snapshot;
#[cfg(test)]
mod world;

use std::sync::Arc;

use base::{Clock, Entropy, Tasks};
use client::{Client, Election, ElectionConfig, Informers, Recorder};

pub use crate::metrics::describe as describe_metrics;

/// The name that pods ask for, and that events come from.
pub const NAME: &str = "default-scheduler";
const LEASE: &str = "kube-scheduler";

/// What the scheduler of one process needs.
#[derive(Clone)]
pub struct SchedulerConfig {
    /// As the identity of the scheduler.
    pub client: Client,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// One set of caches for the process.
    pub informers: Informers,
    /// This process's name in elections; no two processes share it, nor do a process and its successor.
    pub identity: String,
    pub election: ElectionConfig,
}

/// Starts a candidate for being the scheduler; it ends with the tasks' stop token.
pub fn run(config: SchedulerConfig, tasks: &Tasks) {
    let recorder = Recorder::start(&config.client, NAME, "", config.clock.clone(), tasks);
    let inputs = driver::Inputs::connect(&config.informers);
    let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
    let candidate = (LEASE, config.identity.as_str());
    let election = Election::new(&config.client, clock, entropy, candidate, config.election);
    let stop = tasks.stop().clone();
    tasks.spawn_infallible("scheduler", async move {
        election
            .run(stop, |leadership| {
                let client = config.client.fenced(leadership.fence());
                let recorder = recorder.through(&client, NAME);
                let (inputs, clock) = (inputs.clone(), config.clock.clone());
                async move {
                    let work =
                        driver::Scheduler::new(inputs, client, clock, recorder).run(leadership.since());
                    tokio::select! {
                        biased;
                        () = leadership.lost().cancelled() => {}
                        () = work => {}
                    }
                }
            })
            .await;
    });
}
