//! `navarch chaos run --against`: from flags to a run on a cluster that belongs to somebody.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use chaos::client::Identity;
use chaos::live::{Live, Way};
use chaos::runner::{self, Judgement};
use chaos::scenario::{Plan, Scenario};
use tokio_util::sync::CancellationToken;

use super::{end_line, kubeconfig, machine};
use crate::cli::chaos::{LiveArgs, RunArgs};

/// A signal ends it in order: what was broken is mended, what was written is removed.
pub(super) async fn run(scenario: &Scenario, plan: &Plan, args: &RunArgs) -> Result<Judgement> {
    let command = repeat(plan, &args.live);
    let machine = machine(&args.place.runs, &command)?;
    let live = live(&args.live)?;
    eprintln!("{command}");
    let stop = CancellationToken::new();
    let running = runner::run_live(scenario, plan, &live, &machine, &stop);
    tokio::pin!(running);
    let judgement = tokio::select! {
        biased;
        judgement = &mut running => judgement,
        signal = tokio::signal::ctrl_c() => {
            signal.context("cannot wait for signals")?;
            stop.cancel();
            running.await
        }
    };
    end_line();
    judgement
}

fn live(args: &LiveArgs) -> Result<Live> {
    let way = if args.against.iter().any(|against| against.contains("://")) {
        ensure!(
            args.context.is_empty(),
            "--context chooses from a kubeconfig, and --against names endpoints"
        );
        Way::Store { endpoints: args.against.clone(), identity: identity(args)? }
    } else {
        ensure!(args.cacert.is_none(), "the kubeconfig says which certificates are used: leave out --cacert");
        ensure!(
            !args.destructive,
            "nothing can be compacted through the Kubernetes API: leave out --destructive"
        );
        Way::Kubernetes(kubeconfig::contexts(&args.against.join(","), &args.context)?)
    };
    Ok(Live {
        way,
        faults: args.faults,
        destructive: args.destructive,
        cluster_name: args.cluster_name.clone(),
        pids: args.pid.iter().cloned().collect(),
    })
}

fn identity(args: &LiveArgs) -> Result<Option<Identity>> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let optional = |path: &Option<PathBuf>| path.as_ref().map_or(Ok(String::new()), read);
    let Some(cacert) = &args.cacert else { return Ok(None) };
    Ok(Some(Identity {
        ca_pem: read(cacert)?,
        certificate_pem: optional(&args.cert)?,
        key_pem: optional(&args.key)?,
    }))
}

/// What a person types to have the run again; processes have other numbers then.
fn repeat(plan: &Plan, args: &LiveArgs) -> String {
    let (scenario, seed, seconds) = (&plan.scenario, plan.seed, plan.safety_ms / 1000);
    let files = [("cacert", &args.cacert), ("cert", &args.cert), ("key", &args.key)];
    let files: String = files
        .iter()
        .filter_map(|(flag, path)| Some(format!(" --{flag} {}", path.as_ref()?.display())))
        .collect();
    let faults = match &args.cluster_name {
        Some(name) if args.faults => format!(" --faults --cluster-name {name}"),
        Some(_) | None => String::new(),
    };
    let destructive = if args.destructive { " --destructive" } else { "" };
    let against = args.against.join(",");
    let contexts = match &args.context[..] {
        [] => String::new(),
        contexts => format!(" --context {}", contexts.join(",")),
    };
    format!(
        "navarch chaos run {scenario} --seed {seed} --time {seconds} --against {against}{contexts}{files}{faults}{destructive}"
    )
}
