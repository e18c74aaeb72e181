//! The role `navarch server`: one control node, wired bottom-up and stopped top-down.

mod authentication;
pub(crate) mod members;
mod metrics_port;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::{ApiConfig, ApiServer, Identity, PodAccounts, ServiceNetwork};
use base::{Clock, Entropy, OwnThread, SystemClock, SystemEntropy, Tasks};
use client::{Client, ElectionConfig, Informers};
use controllers::ControllersConfig;
use scheduler::SchedulerConfig;
use store::rpc::{self, ClientPort, MetricsPage, Network, PeerPort, RenderMetrics, Tls};
use store::{Entrance, History, NodeConfig, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::ServerArgs;
use crate::gateway::{Gateway, GatewayConfig, Tunnels};
use crate::pki::{Authority, CertificateFiles, Pki, Subject};
use crate::signals::Signals;
use crate::telemetry;
use crate::tls::{self, ClientCertificate};
use crate::transport::InProcess;

/// Organizations of the store's certificates: members may speak Raft, clients only etcd's API.
pub(crate) const MEMBERS: &str = "navarch:members";
pub(crate) const STORE_CLIENTS: &str = "navarch:store-clients";

/// What pods call the API.
pub(crate) const SERVICE_NAMES: [&str; 3] = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// How long each stage may take to stop.
const STAGE_GRACE: Duration = Duration::from_secs(3);
/// How long a port may be held by a process that is going away, and how often it is tried.
const PREDECESSOR_EXIT_MAX: Duration = Duration::from_secs(2);
const BIND_PAUSE: Duration = Duration::from_millis(50);
/// Wait between two tries to write the objects that every cluster has.
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(500);

/// Every port, bound before anything else starts: a port in use is the first thing to hear of.
struct Ports {
    api: TcpListener,
    gateway: TcpListener,
    client: TcpListener,
    peer: TcpListener,
    metrics: Option<TcpListener>,
}

/// Where the certificates are.
#[derive(Clone)]
struct Credentials {
    folder: PathBuf,
    api_authority: PathBuf,
    store_authority: PathBuf,
    api: CertificateFiles,
    store: CertificateFiles,
}

/// What the rooms are handed instead of the machine's clock and randomness.
#[derive(Clone)]
struct Machine {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// From top to bottom; a stage stops when the one above it has.
struct Stages {
    work: Tasks,
    front: Tasks,
    storage: Tasks,
}

pub(crate) async fn run(args: ServerArgs) -> Result<()> {
    let _last_words = telemetry::start_logging(&args.log, args.log_format)?;
    // A huge page is resident for one object in it: with them a loaded server weighs twice as much, and is no faster.
    nix::sys::prctl::set_thp_disable(true).context("cannot turn huge pages off")?;
    #[cfg(debug_assertions)]
    if let Some(bug) = args.seeded_bug {
        store::seeded::plant(bug);
    }
    let render_metrics = telemetry::start_metrics()?;
    client::describe_metrics();
    controllers::describe_metrics();
    scheduler::describe_metrics();
    store::metrics::describe();
    let service_network = service_network(&args)?;
    let machine = Machine { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
    let credentials = credentials(&args, machine.clock.as_ref())?;
    let authentication =
        authentication::authentication(&args.authentication, &credentials.folder, args.api_listen)?;
    let ports = Ports::bind(&args).await?;
    let stages = Stages::new();
    Signals::listen()?.stop(&stages.work);

    let (store_ports, render) = ((ports.peer, ports.client), render_metrics.clone());
    let stopped = stages.work.stop().clone();
    // Answering a large list elsewhere must not hold up a heartbeat.
    let thread = OwnThread::start("store").context("cannot start the store's thread")?;
    let starting = thread.run(start_store(
        args.clone(),
        credentials.clone(),
        store_ports,
        render,
        machine.clone(),
        stages.storage.clone(),
    ));
    let store = tokio::select! {
        biased;
        () = stopped.cancelled() => return Ok(()),
        started = starting => started?,
    };
    let tunnels = Tunnels::default();
    let api = ApiServer::new(ApiConfig {
        store: store.clone(),
        clock: machine.clock.clone(),
        entropy: machine.entropy.clone(),
        nodes: Arc::new(tunnels.clone()),
        metrics: render_metrics.clone(),
        toleration_seconds: i64::from(args.default_toleration_seconds),
        legacy_versions: args.legacy_api_versions,
        address: args.api_listen.to_string(),
        authentication,
        pod_accounts: PodAccounts::Projected,
        service_network,
        tasks: stages.front.clone(),
    });
    let front_tls = tls::server(&credentials.api_authority, &credentials.api, ClientCertificate::Optional)?;
    let stop = stages.front.stop().clone();
    stages.front.spawn_infallible("api", api.clone().serve(ports.api, Arc::new(front_tls), stop.clone()));
    if let Some(listener) = ports.metrics {
        stages.front.spawn_infallible("metrics", metrics_port::serve(listener, render_metrics, stop));
    }
    let definitions = api.clone().follow_definitions(stages.front.stop().clone());
    stages.front.spawn_infallible("definitions", definitions);
    stages.work.spawn_infallible("bootstrap", bootstrap(api.clone(), stages.work.stop().clone()));
    // One for all that run here: what they read is kept once.
    let informers = Informers::new(&component(&api, CONTROLLERS), machine.entropy.clone(), &stages.work);
    start_controllers(&args, &credentials, &api, &machine, &informers, &stages.work)?;
    let gateway_tls = tls::server(&credentials.api_authority, &credentials.api, ClientCertificate::Required)?;
    let gateway = start_gateway(&args, &api, &machine, &informers, tunnels, &stages.work);
    stages.work.spawn_infallible("gateway", gateway.serve(ports.gateway, gateway_tls, stages.work.clone()));
    info!(name = %args.name, api = %args.api_listen, "control node started");
    stages.run(&store).await
}

impl Ports {
    async fn bind(args: &ServerArgs) -> Result<Self> {
        if let Some(address) = args.metrics_listen.filter(|address| !address.ip().is_loopback()) {
            bail!("--metrics-listen {address} is not on loopback: it has no TLS");
        }
        Ok(Self {
            api: bind("api-listen", args.api_listen).await?,
            gateway: bind("gateway-listen", args.gateway_listen).await?,
            client: bind("client-listen", args.client_listen).await?,
            peer: bind("peer-listen", args.peer_listen).await?,
            metrics: match args.metrics_listen {
                Some(address) => Some(bind("metrics-listen", address).await?),
                None => None,
            },
        })
    }
}

/// A killed predecessor holds its ports until its last thread is gone: it is given a moment.
async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener> {
    let until = tokio::time::Instant::now() + PREDECESSOR_EXIT_MAX;
    let bound = loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                tokio::time::sleep(BIND_PAUSE).await;
            }
            bound => break bound,
        }
    };
    bound.with_context(|| format!("cannot listen on --{flag} {address}; choose another address"))
}

impl Stages {
    fn new() -> Self {
        let stage = || Tasks::new(CancellationToken::new());
        Self { work: stage(), front: stage(), storage: stage() }
    }

    /// Until a signal or a failure, then stops from top to bottom. A stage that fails takes all with it. A leader hands
    /// over while it still can, so that the others need not notice its absence.
    async fn run(self, store: &Store) -> Result<()> {
        let (work_stop, front_stop, storage_stop) =
            (self.work.stop().clone(), self.front.stop().clone(), self.storage.stop().clone());
        let work = async {
            let ended = self.work.join(STAGE_GRACE).await;
            front_stop.cancel();
            ended
        };
        let front = async {
            let ended = self.front.join(STAGE_GRACE).await;
            work_stop.cancel();
            if !storage_stop.is_cancelled()
                && tokio::time::timeout(STAGE_GRACE, store.step_down()).await.is_err()
            {
                warn!("nobody took over leadership in time");
            }
            storage_stop.cancel();
            ended
        };
        let storage = async {
            let ended = self.storage.join(STAGE_GRACE).await;
            work_stop.cancel();
            front_stop.cancel();
            ended
        };
        let (work, front, storage) = tokio::join!(work, front, storage);
        storage.and(front).and(work).map_err(anyhow::Error::from)
    }
}

fn credentials(args: &ServerArgs, clock: &dyn Clock) -> Result<Credentials> {
    let folder = args.pki_dir.clone().unwrap_or_else(|| args.data_dir.join("pki"));
    if args.init {
        make_credentials(args, &folder, clock)?;
    }
    let files = |suffix: &str| CertificateFiles {
        certificate: folder.join(format!("{}-{suffix}.crt", args.name)),
        key: folder.join(format!("{}-{suffix}.key", args.name)),
    };
    let credentials = Credentials {
        api_authority: folder.join("api-ca.crt"),
        store_authority: folder.join("store-ca.crt"),
        api: files("api"),
        store: files("store"),
        folder,
    };
    if !credentials.api_authority.exists() {
        bail!(
            "no certificates in {}: make them with --init, or name their folder with --pki-dir",
            credentials.folder.display()
        );
    }
    Ok(credentials)
}

fn service_network(args: &ServerArgs) -> Result<ServiceNetwork> {
    let (ranges, ports) = (&args.service_cluster_ip_range, &args.service_node_port_range);
    ServiceNetwork::parse(ranges, ports).with_context(|| {
        format!("--service-cluster-ip-range {ranges} or --service-node-port-range {ports} is unusable")
    })
}

/// `--init`: authorities, this server's certificates, and an administrator's.
fn make_credentials(args: &ServerArgs, folder: &Path, clock: &dyn Clock) -> Result<()> {
    let now = clock.now();
    let pki = Pki::open(folder, now)?;
    let host = args.api_listen.ip().to_string();
    let service = service_network(args)?.first_address().map(|address| address.to_string());
    let names = ["localhost", "127.0.0.1", &host].into_iter().chain(SERVICE_NAMES);
    let serves: Vec<String> = names.map(str::to_owned).chain(service).collect();
    let (api, store) = (format!("{}-api", args.name), format!("{}-store", args.name));
    let own = |authority, file, group| Subject { authority, file, name: &args.name, group, serves: &serves };
    pki.issue(&own(Authority::Api, &api, None), now)?;
    pki.issue(&own(Authority::Store, &store, Some(MEMBERS)), now)?;
    let client =
        |authority, name, group| Subject { authority, file: name, name, group: Some(group), serves: &[] };
    pki.issue(&client(Authority::Store, "etcd-client", STORE_CLIENTS), now)?;
    let admin = pki.issue(&client(Authority::Api, "admin", "system:masters"), now)?;
    let url = format!("https://{}", args.api_listen);
    std::fs::create_dir_all(&args.data_dir)
        .with_context(|| format!("cannot create --data-dir {}", args.data_dir.display()))?;
    let path = args.data_dir.join("kubeconfig");
    crate::local::kubeconfig::write_kubeconfig(&path, &pki, &admin, &[(args.name.clone(), url)])
}

/// Writes what every cluster has, as soon as there is a leader to write through.
async fn bootstrap(api: ApiServer, stop: CancellationToken) {
    loop {
        match api.bootstrap().await {
            Ok(()) => return,
            Err(error) => warn!(%error, "cannot write the system's own objects yet"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BOOTSTRAP_PAUSE) => {}
        }
    }
}

/// Whose rights the controllers have, and the caches that all share.
const CONTROLLERS: &str = "kube-controller-manager";

/// A client of this process's own API server.
fn component(api: &ApiServer, name: &str) -> Client {
    let identity = Identity::component(format!("system:{name}"));
    Client::new(Arc::new(InProcess { server: api.clone(), identity }))
}

fn start_gateway(
    args: &ServerArgs,
    api: &ApiServer,
    machine: &Machine,
    informers: &Informers,
    tunnels: Tunnels,
    tasks: &Tasks,
) -> Gateway {
    let server = api.clone();
    let act_as_node = move |node: &str| {
        let identity = Identity::known(format!("system:node:{node}"), &["system:nodes"]);
        Client::new(Arc::new(InProcess { server: server.clone(), identity }))
    };
    let config = GatewayConfig {
        client: component(api, "navarch:gateway"),
        informers: informers.clone(),
        act_as_node: Arc::new(act_as_node),
        clock: machine.clock.clone(),
        entropy: machine.entropy.clone(),
        server: args.name.clone(),
        cluster_cidr: args.cluster_cidr.clone(),
        tunnels,
    };
    Gateway::start(config, tasks)
}

/// Opens the disks, lets the members and etcd's clients in.
async fn start_store(
    args: ServerArgs,
    credentials: Credentials,
    (peer, client): (TcpListener, TcpListener),
    render: RenderMetrics,
    machine: Machine,
    tasks: Tasks,
) -> Result<Store> {
    let founding = NodeConfig::founding(
        args.name.clone(),
        args.data_dir.join("store"),
        args.cluster_name.clone(),
        Vec::new(),
    );
    let quota_bytes = match args.quota_backend_bytes {
        0 => founding.quota_bytes,
        bytes => u64::try_from(bytes).ok(),
    };
    let config = NodeConfig {
        cluster: members::cluster(&args)?,
        history: history(&args),
        quota_bytes,
        disk_reserve_bytes: args.disk_reserve_bytes,
        snapshot_every_entries: args.snapshot_count,
        watch_ring_bytes: args.watch_ring_bytes,
        limits: args.limits.limits(),
        ..founding
    };
    let entrance = Entrance::open(config, machine.clock, machine.entropy)?;
    let tls = |admitted: &[&str]| store_tls(&credentials, admitted);
    let stop = tasks.stop().clone();
    // The others may need an answer before this node knows who it is.
    let port = PeerPort { listener: peer, tls: tls(&[MEMBERS])?, me: entrance.badge(), tasks: tasks.clone() };
    tasks.spawn("store peers", rpc::serve_peers(entrance.service(), port));
    let network = Arc::new(Network::new(entrance.badge(), &tls(&[MEMBERS])?, tasks.clone())?);
    let node = entrance.enter(network, &tasks).await.context("cannot start the store")?;
    let metrics = Some(MetricsPage { render, is_public: args.public_metrics });
    let port = ClientPort { listener: client, tls: tls(&[MEMBERS, STORE_CLIENTS])?, metrics, stop };
    tasks.spawn("store clients", rpc::serve_clients(node.store.clone(), port));
    Ok(node.store)
}

/// 0 means that this is no reason to forget.
fn history(args: &ServerArgs) -> History {
    let minutes = u64::from(args.history_minutes);
    let mebibytes = u64::from(args.history_mebibytes);
    History {
        age: (minutes > 0).then(|| Duration::from_secs(minutes * 60)),
        bytes: (mebibytes > 0).then_some(mebibytes * 1024 * 1024),
    }
}

fn store_tls(credentials: &Credentials, admitted: &[&str]) -> Result<Tls> {
    Ok(Tls {
        ca_pem: read(&credentials.store_authority)?,
        certificate_pem: read(&credentials.store.certificate)?,
        key_pem: read(&credentials.store.key)?,
        admitted_organizations: admitted.iter().map(|name| (*name).to_owned()).collect(),
    })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Controllers and scheduler: candidates in every control node, leaders in one.
fn start_controllers(
    args: &ServerArgs,
    credentials: &Credentials,
    api: &ApiServer,
    machine: &Machine,
    informers: &Informers,
    tasks: &Tasks,
) -> Result<()> {
    // A process and its successor must not share a name in elections.
    let identity = format!("{}-{}", args.name, machine.entropy.name_suffix(5));
    let cluster_cidr = args
        .cluster_cidr
        .parse()
        .with_context(|| format!("--cluster-cidr {} is unusable", args.cluster_cidr))?;
    let config = ControllersConfig {
        client: component(api, CONTROLLERS),
        clock: machine.clock.clone(),
        entropy: machine.entropy.clone(),
        informers: informers.clone(),
        identity: identity.clone(),
        election: ElectionConfig::default(),
        cluster_cidr,
        root_ca: Some(read(&credentials.api_authority)?),
    };
    controllers::run(config, tasks);
    let config = SchedulerConfig {
        client: component(api, "kube-scheduler"),
        clock: machine.clock.clone(),
        entropy: machine.entropy.clone(),
        informers: informers.clone(),
        identity,
        election: ElectionConfig::default(),
    };
    scheduler::run(config, tasks);
    Ok(())
}
