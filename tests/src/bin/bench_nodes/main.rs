//! What many nodes cost three servers: `make bench-nodes`.
//!
//! The servers are processes of their own, as `navarch up` starts them; the nodes are hollow agents in this process,
//! each with its own certificate, polls and reports. Measured are the time until all are Ready and, while nothing
//! happens, what the servers use and write. Prints figures and judges none.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where")]

mod fleet;
mod readiness;
mod servers;

use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tokio::time::Instant;

use fleet::Plan;
use readiness::Readiness;
use servers::{Counters, Servers};

const SERVERS: u16 = 3;
const NODES: u32 = 100;
/// How long the nodes are left alone before the steady state is measured.
const SETTLE: Duration = Duration::from_secs(15);
const STEADY: Duration = Duration::from_secs(60);
const READY_MAX: Duration = Duration::from_secs(900);
/// Counters that moved less in a second are not shown.
const SHOWN_MIN: f64 = 0.1;
/// A node's part of the pod network is a /24.
const ROOM: &[&str] = &["--cluster-cidr", "100.64.0.0/10"];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: bench_nodes [NODES] [SECONDS]";
    let nodes = arguments.next().map_or(NODES, |text| text.parse().expect(usage));
    let steady = arguments.next().map_or(STEADY, |text| Duration::from_secs(text.parse().expect(usage)));
    let cluster = Cluster::start_with(Size { servers: SERVERS, agents: 0 }, ROOM);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&cluster, nodes, steady));
}

async fn measure(cluster: &Cluster, nodes: u32, steady: Duration) {
    let servers = Servers::of(cluster, SERVERS);
    let readiness = Readiness::watch(cluster);
    let plan = Plan::of(cluster, SERVERS, nodes);
    println!("{nodes} nodes, {SERVERS} servers of {} MiB", shown(&servers.resident_mib()));

    let (began, cpu, counters) = (Instant::now(), servers.cpu_seconds(), servers.counters());
    let own_mib = servers::resident_mib("self");
    let fleet = plan.start();
    readiness.all(nodes as usize, READY_MAX).await;
    let took = began.elapsed();
    println!("all Ready after {:.1} s; meanwhile:", took.as_secs_f64());
    tell("servers, % of a core", &percent(&servers.cpu_seconds(), &cpu, took));
    rates(&servers.counters(), &counters, took);

    tokio::time::sleep(SETTLE).await;
    let (cpu, counters, losses) = (servers.cpu_seconds(), servers.counters(), readiness.losses());
    let own_cpu = servers::cpu_seconds("self");
    tokio::time::sleep(steady).await;
    let own = percent(&[servers::cpu_seconds("self")], &[own_cpu], steady);
    println!("steady for {} s, {} nodes lost; meanwhile:", steady.as_secs(), readiness.losses() - losses);
    tell("servers, % of a core", &percent(&servers.cpu_seconds(), &cpu, steady));
    tell("all nodes, % of a core", &own);
    rates(&servers.counters(), &counters, steady);
    let per_node = (servers::resident_mib("self") - own_mib) * 1024.0 / f64::from(nodes);
    println!("memory: servers {} MiB, each node {per_node:.0} KiB", shown(&servers.resident_mib()));
    fleet.stop().await;
}

fn percent(after: &[f64], before: &[f64], time: Duration) -> Vec<f64> {
    after.iter().zip(before).map(|(after, before)| (after - before) / time.as_secs_f64() * 100.0).collect()
}

/// Each, and all together.
fn tell(what: &str, figures: &[f64]) {
    println!("  {what:<50}{:>10.1}  ({})", figures.iter().sum::<f64>(), shown(figures));
}

fn rates(after: &Counters, before: &Counters, time: Duration) {
    for (name, value) in after {
        let rate = (value - before.get(name).copied().unwrap_or_default()) / time.as_secs_f64();
        // The caches of a server that has just started are no business of the nodes'.
        let is_of_start = name.contains(" LIST ") || name.contains(" WATCH ");
        if rate >= SHOWN_MIN && !is_of_start {
            println!("  {:<50}{rate:>10.1}", format!("{name} /s"));
        }
    }
}

fn shown(figures: &[f64]) -> String {
    figures.iter().map(|figure| format!("{figure:.1}")).collect::<Vec<_>>().join(", ")
}
