//! `make bench-store`: three members of Debian's etcd and three of ours, in turn, under one client program; and a
//! server that does nothing, as the wall that no store with this client can pass.
//!
//! Prints figures and judges none: they are one machine's, in one run. What counts is the ratio within a run.
//!
//! ```text
//! bench_store [--seconds N] [--rounds N] [--only etcd|ours|wall] [--work TEXT] [--keys N] [--revisions N] [--kills N]
//!             [PART…]
//! ```
//! Parts: load, list, watch, size, compact, failover; all of them by default. `--work` keeps the loads whose name
//! begins so.

mod fleet;
mod load;
mod member;
mod plan;
mod table;
mod wall;
mod watchers;
mod whole;
mod workers;

use anyhow::{Context as _, Result, bail};
use std::time::Duration;

use fleet::System;
use plan::Plan;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let role = arguments.first().cloned().unwrap_or_default();
    match role.as_str() {
        // The two kinds of server are this same program, in processes of their own.
        "member" => runtime.block_on(member::run(&arguments.split_off(1))),
        "wall" => runtime.block_on(wall::run(&arguments.split_off(1))),
        _ => runtime.block_on(plan::run(&parse(arguments)?)),
    }
}

fn parse(arguments: Vec<String>) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => plan.time = Duration::from_secs(value()?.parse()?),
            "--rounds" => plan.rounds = value()?.parse()?,
            "--only" => plan.systems = vec![System::parse(&value()?)?],
            "--work" => plan.work = value()?,
            "--keys" => plan.keys = value()?.parse()?,
            "--revisions" => plan.revisions = value()?.parse()?,
            "--kills" => plan.kills = value()?.parse()?,
            flag if flag.starts_with('-') => bail!("unknown flag {flag}"),
            part => plan.parts.push(part.to_owned()),
        }
    }
    Ok(plan)
}
