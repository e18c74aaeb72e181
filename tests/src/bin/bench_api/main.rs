//! `make bench-api`: what the Kubernetes API of three servers on this machine does in a second, and what they weigh.
//!
//! The same program measures any other server that a kubeconfig leads to, so that both can be set beside each other.
//! Prints figures and judges none: they are one machine's, in one run, with this client on the same machine.
//!
//! ```text
//! bench_api [--kubeconfig FILE [--pid PID]…] [--seconds N] [--clients N] [--objects N] [--watchers N] [--many N]
//!           [--json] [PART…]
//! ```
//! Parts: write, pods, list, watch, roles, memory; all by default. A kubeconfig's current context is used, in a
//! namespace that is made and deleted; `--pid` names its processes, whose memory is read.

mod http;
mod kubeconfig;
mod lists;
mod loads;
mod site;
mod table;
mod watches;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use site::Site;
use table::Table;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure.
#[derive(Clone, Debug)]
struct Plan {
    kubeconfig: Option<PathBuf>,
    pids: Vec<i32>,
    time: Duration,
    clients: usize,
    /// How many objects a list holds.
    objects: usize,
    watchers: usize,
    /// How many objects the largest list holds.
    many: usize,
    json: bool,
    parts: Vec<String>,
}

impl Plan {
    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() -> Result<()> {
    let plan = parse(std::env::args().skip(1).collect())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&plan))
}

async fn run(plan: &Plan) -> Result<()> {
    let site = Site::open(plan).await?;
    let mut table = Table::default();
    table.memory("idle", &site.weights());
    if plan.has("write") {
        loads::config_maps(&site, plan, &mut table).await?;
    }
    if plan.has("pods") {
        loads::pods(&site, plan, &mut table).await?;
    }
    if plan.has("roles") {
        loads::roles(&site, plan, &mut table).await?;
    }
    if plan.has("list") {
        lists::lists(&site, plan, &mut table).await?;
    }
    if plan.has("watch") {
        watches::watches(&site, plan, &mut table).await?;
    }
    table.memory("after the load", &site.weights());
    if plan.has("memory") {
        lists::memory(&site, plan, &mut table).await?;
    }
    table.print(plan.json);
    site.close().await
}

fn parse(arguments: Vec<String>) -> Result<Plan> {
    let mut plan = Plan {
        kubeconfig: None,
        pids: Vec::new(),
        time: Duration::from_secs(5),
        clients: 64,
        objects: 5_000,
        watchers: 200,
        many: 100_000,
        json: false,
        parts: Vec::new(),
    };
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--kubeconfig" => plan.kubeconfig = Some(value()?.into()),
            "--pid" => plan.pids.push(value()?.parse()?),
            "--seconds" => plan.time = Duration::from_secs(value()?.parse()?),
            "--clients" => plan.clients = value()?.parse()?,
            "--objects" => plan.objects = value()?.parse()?,
            "--watchers" => plan.watchers = value()?.parse()?,
            "--many" => plan.many = value()?.parse()?,
            "--json" => plan.json = true,
            flag if flag.starts_with('-') => bail!("unknown flag {flag}"),
            part => plan.parts.push(part.to_owned()),
        }
    }
    Ok(plan)
}
