//! `navarch up`: makes the folder, starts every process, waits until all is ready, shows it, and stops it again.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::Clock;
use client::{Client, HasMetadata, ListOptions};
use k8s_openapi::api::core::v1::Node;
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use tokio::time::Instant;

use super::kubeconfig::{write_etcd_env, write_kubeconfig};
use super::layout::{HOLLOW, Layout, agent_name, server_name};
use super::process::Process;
use super::{down, example, report, status};
use crate::cli::{HOSTS_DIRS, RuntimeChoice, UpArgs};
use crate::pki::{Authority, Pki, Subject};
use crate::signals::Signals;
use crate::transport::{ClientFiles, Https, get_text};

/// All nodes of this machine see one disk, and what else is on it is not theirs to make room on.
const EVICTION: &str = "memory.available<100Mi,pid.available<5%";
/// How long the servers, and then the nodes, may take.
const SERVERS_READY_MAX: Duration = Duration::from_secs(60);
const NODES_READY_MAX: Duration = Duration::from_secs(120);

/// How often readiness is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The address that the service `kubernetes` will have, for certificates.
const SERVICE_ADDRESS: &str = "10.96.0.1";

pub(crate) async fn run(args: &UpArgs, clock: Arc<dyn Clock>) -> Result<()> {
    preflight(args)?;
    let layout = Layout::open(args).await?;
    let lock = lock(&layout)?;
    refuse_running(&layout)?;
    refuse_taken_ports(&layout)?;
    layout.save()?;
    let mut signals = Signals::listen()?;
    let started = tokio::select! {
        biased;
        signal = signals.next() => Err(anyhow::anyhow!("stopped by {signal}")),
        started = start(&layout, args, clock) => started,
    };
    if let Err(error) = started {
        eprintln!("stopping what was started");
        down::teardown(&layout).await?;
        return Err(error);
    }
    if args.detach {
        return Ok(());
    }
    println!("\nCtrl-C stops the cluster.");
    let signal = signals.next().await;
    println!("{signal}: stopping the cluster");
    let stopped = down::teardown(&layout).await;
    drop(lock);
    stopped
}

/// A client of one server, as the cluster's administrator.
pub(crate) fn admin_client(layout: &Layout, server: u16) -> Result<Client> {
    Ok(Client::new(Arc::new(admin_https(layout, server)?)))
}

fn admin_https(layout: &Layout, server: u16) -> Result<Https> {
    let pki = layout.pki();
    let (authority, certificate, key) =
        (pki.join("api-ca.crt"), pki.join("admin.crt"), pki.join("admin.key"));
    let files = ClientFiles { authority: &authority, certificate: &certificate, key: &key };
    Https::new("127.0.0.1", layout.ports(server).api, &files)
}

async fn start(layout: &Layout, args: &UpArgs, clock: Arc<dyn Clock>) -> Result<()> {
    let began = Instant::now();
    let pki = write_credentials(layout, clock.as_ref())?;
    if layout.shape.agents > 0 {
        down::network(layout)?.create().await?;
    }
    for server in layout.server_numbers() {
        start_server(layout, server)?;
    }
    servers_ready(layout).await?;
    println!("{} control nodes ready after {:.1} s", layout.shape.servers, began.elapsed().as_secs_f32());
    for agent in layout.agent_numbers() {
        start_agent(layout, &pki, agent, clock.as_ref())?;
    }
    start_hollow(layout, &pki, clock.as_ref())?;
    nodes_ready(layout).await?;
    println!("{} nodes ready after {:.1} s", layout.nodes().len(), began.elapsed().as_secs_f32());
    let client = admin_client(layout, 1)?;
    let answer = if args.no_example || layout.shape.agents == 0 {
        None
    } else {
        Some(example::apply(layout, &client).await?)
    };
    print!("\n{}", report::tables(&status::gather(layout).await?));
    if let Some(answer) = answer {
        println!("\na pod answered: {answer}");
    }
    print_next_steps(layout);
    Ok(())
}

fn print_next_steps(layout: &Layout) {
    println!("\nexport KUBECONFIG={}", layout.kubeconfig().display());
    println!("source {}", layout.dir.join("etcd.env").display());
    println!("\ntry: kubectl get pods -o wide");
    println!("     kubectl scale deployment web --replicas 5");
    println!("     etcdctl endpoint status -w table");
    println!("     navarch status --dir {}", layout.dir.display());
    println!("     kill -9 $(cat {}/server-1/pid)", layout.dir.display());
}

/// What would fail later and less clearly.
fn preflight(args: &UpArgs) -> Result<()> {
    if args.agents == 0 {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("agents need root: run as root, or with --agents 0");
    }
    let of_containerd = [("containerd", "containerd"), ("runc", "runc")];
    let of_containerd = of_containerd.into_iter().filter(|_| args.runtime == RuntimeChoice::Containerd);
    for (program, package) in of_containerd.chain([("nft", "nftables"), ("/bin/busybox", "busybox-static")]) {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            bail!("{program} is missing: apt-get install {package}, or run with --agents 0");
        }
    }
    Ok(())
}

/// Holds the folder for this process.
fn lock(layout: &Layout) -> Result<Flock<std::fs::File>> {
    let path = layout.dir.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow::anyhow!("another `navarch up` runs in --dir {}", layout.dir.display()))
}

fn refuse_running(layout: &Layout) -> Result<()> {
    let running: Vec<String> =
        layout.processes().into_iter().filter(|name| Process::of(layout, name).pid().is_some()).collect();
    if !running.is_empty() {
        bail!(
            "{} still runs in --dir {dir}: stop it with `navarch down --dir {dir}`",
            running.join(", "),
            dir = layout.dir.display()
        );
    }
    Ok(())
}

fn refuse_taken_ports(layout: &Layout) -> Result<()> {
    for server in layout.server_numbers() {
        let ports = layout.ports(server);
        for port in [ports.api, ports.gateway, ports.client, ports.peer, ports.metrics] {
            TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))
                .with_context(|| format!("port {port} cannot be used; choose others with --base-port"))?;
        }
    }
    Ok(())
}

/// Every certificate of servers, users and etcd clients, the kubeconfig and etcd.env.
fn write_credentials(layout: &Layout, clock: &dyn Clock) -> Result<Pki> {
    let now = clock.now();
    let pki = Pki::open(&layout.pki(), now)?;
    let host = layout.host_address().to_string();
    let serves: Vec<String> = [
        "localhost",
        "127.0.0.1",
        &host,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        SERVICE_ADDRESS,
    ]
    .map(str::to_owned)
    .into();
    for server in layout.server_numbers() {
        let name = server_name(server);
        for (authority, suffix) in [(Authority::Api, "api"), (Authority::Store, "store")] {
            let file = format!("{name}-{suffix}");
            let group = (authority == Authority::Store).then_some(crate::server::MEMBERS);
            pki.issue(&Subject { authority, file: &file, name: &name, group, serves: &serves }, now)?;
        }
    }
    let client = |authority, file, name, group| Subject { authority, file, name, group, serves: &[] };
    let admin = pki.issue(&client(Authority::Api, "admin", "admin", Some("system:masters")), now)?;
    let etcd = pki.issue(
        &client(Authority::Store, "etcd-client", "etcd-client", Some(crate::server::STORE_CLIENTS)),
        now,
    )?;
    let servers: Vec<(String, String)> = layout
        .server_numbers()
        .map(|server| (server_name(server), format!("https://127.0.0.1:{}", layout.ports(server).api)))
        .collect();
    write_kubeconfig(&layout.kubeconfig(), &pki, &admin, &servers)?;
    let endpoints: Vec<String> = layout
        .server_numbers()
        .map(|server| format!("https://127.0.0.1:{}", layout.ports(server).client))
        .collect();
    write_etcd_env(&layout.dir.join("etcd.env"), &pki, &etcd, &endpoints)?;
    Ok(pki)
}

fn start_server(layout: &Layout, server: u16) -> Result<()> {
    let process = Process::of(layout, &server_name(server));
    let ports = layout.ports(server);
    let loopback = |port: u16| format!("127.0.0.1:{port}");
    let members: Vec<String> = layout
        .server_numbers()
        .map(|member| {
            let ports = layout.ports(member);
            format!("{}={}/{}", server_name(member), loopback(ports.peer), ports.client)
        })
        .collect();
    let config = json!({
        "name": process.name,
        "data-dir": layout.process_dir(&process.name).join("data"),
        "pki-dir": layout.pki(),
        "cluster-name": layout.bridge(),
        "initial-cluster": members,
        "api-listen": loopback(ports.api),
        "gateway-listen": layout.gateway_address(server).to_string(),
        "client-listen": loopback(ports.client),
        "peer-listen": loopback(ports.peer),
        "metrics-listen": loopback(ports.metrics),
        "public-metrics": true,
        "default-toleration-seconds": layout.shape.default_toleration_seconds,
        "legacy-api-versions": layout.shape.legacy_api_versions,
        "cluster-cidr": layout.shape.cluster_cidr,
    });
    write_config(layout, &process, &config)?;
    process.start("server")
}

fn start_agent(layout: &Layout, pki: &Pki, agent: u16, clock: &dyn Clock) -> Result<()> {
    let process = Process::of(layout, &agent_name(agent));
    issue_node(pki, &process.name, clock)?;
    let config = json!({
        "name": process.name,
        "data-dir": layout.process_dir(&process.name).join("data"),
        "servers": layout.gateways(),
        "ca": pki.authority_certificate(Authority::Api),
        "certificate": layout.pki().join(format!("{}.crt", process.name)),
        "key": layout.pki().join(format!("{}.key", process.name)),
        "runtime": layout.shape.runtime,
        "hosts-dir": hosts_dirs(layout),
        "netns": layout.netns(agent),
        "node-ip": layout.agent_address(agent).to_string(),
        "cgroup-root": format!("/{}-{}", layout.bridge(), process.name),
        "pod-manifest-path": layout.process_dir(&process.name).join("manifests"),
        "eviction-hard": EVICTION,
        "image-gc-high-threshold": 100,
    });
    write_config(layout, &process, &config)?;
    process.start("agent")
}

/// The cluster's own folder before the machine's.
fn hosts_dirs(layout: &Layout) -> Vec<PathBuf> {
    let of_machine = HOSTS_DIRS.into_iter().map(PathBuf::from);
    std::iter::once(layout.registries()).chain(of_machine).collect()
}

fn start_hollow(layout: &Layout, pki: &Pki, clock: &dyn Clock) -> Result<()> {
    if layout.shape.hollow_agents == 0 {
        return Ok(());
    }
    let process = Process::of(layout, HOLLOW);
    for number in 1..=layout.shape.hollow_agents {
        issue_node(pki, &format!("{HOLLOW}-{number}"), clock)?;
    }
    let config = json!({
        "name": HOLLOW,
        "data-dir": layout.process_dir(HOLLOW).join("data"),
        "servers": layout.gateways(),
        "ca": pki.authority_certificate(Authority::Api),
        "certificate": layout.pki().join("hollow.crt"),
        "key": layout.pki().join("hollow.key"),
        "runtime": "hollow",
        "eviction-hard": EVICTION,
        "hollow-nodes": layout.shape.hollow_agents,
    });
    write_config(layout, &process, &config)?;
    process.start("agent")
}

fn issue_node(pki: &Pki, node: &str, clock: &dyn Clock) -> Result<()> {
    let name = format!("system:node:{node}");
    let subject = Subject {
        authority: Authority::Api,
        file: node,
        name: &name,
        group: Some("system:nodes"),
        serves: &[],
    };
    pki.issue(&subject, clock.now()).map(|_| ())
}

/// JSON, which is YAML.
fn write_config(layout: &Layout, process: &Process, config: &serde_json::Value) -> Result<()> {
    let dir = layout.process_dir(&process.name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let text = serde_json::to_string_pretty(config).context("cannot encode a configuration")?;
    crate::pki::write_private(&process.config_file(), &text)
}

async fn servers_ready(layout: &Layout) -> Result<()> {
    let until = Instant::now() + SERVERS_READY_MAX;
    for server in layout.server_numbers() {
        let https = admin_https(layout, server)?;
        loop {
            let answer = get_text(&https, "/readyz").await;
            if matches!(&answer, Ok((status, _)) if status.is_success()) {
                break;
            }
            still_running(layout)?;
            if Instant::now() > until {
                let last = answer
                    .map_or_else(|error| format!("{error:#}"), |(status, text)| format!("{status}: {text}"));
                bail!(
                    "{} is not ready: {last}\n{}",
                    server_name(server),
                    last_words(layout, &server_name(server))
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

async fn nodes_ready(layout: &Layout) -> Result<()> {
    let until = Instant::now() + NODES_READY_MAX;
    let client = admin_client(layout, 1)?;
    let expected = layout.nodes();
    loop {
        let nodes =
            client.list::<Node>(&ListOptions::default()).await.map(|page| page.items).unwrap_or_default();
        let is_ready = |name: &str| nodes.iter().any(|node| node.name() == name && status::is_ready(node));
        let missing: Vec<&String> = expected.iter().filter(|name| !is_ready(name)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        still_running(layout)?;
        if Instant::now() > until {
            bail!(
                "{} of {} nodes are not ready, {first} for one\n{}",
                missing.len(),
                expected.len(),
                last_words(layout, first)
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A process that died while the cluster starts is the reason why it does not.
fn still_running(layout: &Layout) -> Result<()> {
    super::process::reap_children();
    for name in layout.processes() {
        let process = Process::of(layout, &name);
        if process.was_started() && process.pid().is_none() {
            bail!("{name} stopped; the end of {}:\n{}", process.log_file().display(), process.last_words());
        }
    }
    Ok(())
}

fn last_words(layout: &Layout, name: &str) -> String {
    let process = Process::of(layout, name);
    format!("the end of {}:\n{}", process.log_file().display(), process.last_words())
}
