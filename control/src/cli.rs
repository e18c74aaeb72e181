//! The command line: every command, flag and default of `navarch`, in one place.

mod authentication;
pub(crate) mod chaos;
mod limits;
mod reclaim;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use agent::ShutdownPolicy;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use authentication::AuthenticationArgs;
pub(crate) use reclaim::ReclaimArgs;

/// openraft narrates every election, and every try to reach a member that is away; the store says what changed.
const DEFAULT_LOG: &str = "info,openraft=error";

/// Where containerd and Docker have it, each for themselves.
pub(crate) const HOSTS_DIRS: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];
/// Of pods, unless told otherwise: 256 nodes.
pub(crate) const CLUSTER_CIDR: &str = "10.244.0.0/16";

/// Kubernetes from the ground up, as one program.
#[derive(Debug, Parser)]
#[command(name = "navarch", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster on this machine: control nodes, agents, a folder, a kubeconfig
    Up(UpArgs),
    /// Stop the cluster of a folder and remove all it made on this machine, also after a crash of `up`
    Down(DownArgs),
    /// Show the members, nodes and pods of the cluster of a folder
    Status(StatusArgs),
    /// Run one control node: store, API server, controllers and scheduler
    Server(Box<ServerArgs>),
    /// Look after one member of the store
    Member(MemberArgs),
    /// Run one node's agent: it dials the control nodes and runs the pods that they assign
    Agent(Box<AgentArgs>),
    /// Look into a snapshot of the store, or found a new cluster with it
    Snapshot(SnapshotArgs),
    /// Make a cluster of this member alone, when the majority of its cluster is lost for good
    Recover(RecoverArgs),
    /// Break a cluster on purpose, and judge what it answers meanwhile
    Chaos(chaos::ChaosArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Check a snapshot that `etcdctl snapshot save` made, and show what it holds
    Status(SnapshotStatusArgs),
    /// Make one member's data directory of a new cluster; run it for each member, with the same file and members
    Restore(SnapshotRestoreArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotStatusArgs {
    /// The snapshot
    pub(crate) file: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotRestoreArgs {
    /// The snapshot
    pub(crate) file: PathBuf,
    /// Folder of everything that the server will keep; must hold no store yet
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Name of the control node that will use the folder
    #[arg(long)]
    pub(crate) name: String,
    /// Every member of the new cluster as NAME=HOST:PEERPORT/CLIENTPORT, comma-separated
    #[arg(long, value_name = "MEMBERS", value_delimiter = ',', required = true)]
    pub(crate) initial_cluster: Vec<String>,
    /// Name of the new cluster, as its servers will be told
    #[arg(long, default_value = "navarch", alias = "initial-cluster-token")]
    pub(crate) cluster_name: String,
    /// Raise the revision by this much, for clients that saw later ones than the snapshot has
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000))]
    pub(crate) bump_revision: u64,
    /// Refuse watches and reads at every revision before the raised one, so that caches start anew
    #[arg(long, requires = "bump_revision")]
    pub(crate) mark_compacted: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UpArgs {
    /// Folder of the cluster; made if missing, resumed if it holds a cluster
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// How many control nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) servers: u16,
    /// How many agents that run containers, each in a network namespace of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=50))]
    pub(crate) agents: u16,
    /// What runs the containers of agents
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Auto)]
    pub(crate) runtime: RuntimeChoice,
    /// How many agents that run nothing and report success, all in one process
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=5000))]
    pub(crate) hollow_agents: u16,
    /// The first port; server N uses ten ports from BASE + 10 (N - 1)
    #[arg(long, default_value_t = 16443, value_parser = clap::value_parser!(u16).range(1..=65000))]
    pub(crate) base_port: u16,
    /// Seconds that a pod stays on a node that is not ready or unreachable, unless it says otherwise
    #[arg(long, default_value_t = 300)]
    pub(crate) default_toleration_seconds: u32,
    /// Network of the pods; each node gets a /24 of it
    #[arg(long, value_name = "CIDR", default_value = CLUSTER_CIDR)]
    pub(crate) cluster_cidr: String,
    /// Also serve versions of kinds that Kubernetes has given up, for old clients: batch/v1beta1 CronJob and its like
    #[arg(long)]
    pub(crate) legacy_api_versions: bool,
    /// Return when the cluster is ready, and leave it running
    #[arg(long)]
    pub(crate) detach: bool,
    /// Do not apply the example Deployment
    #[arg(long)]
    pub(crate) no_example: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Folder of the server, which must not run
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DownArgs {
    /// Folder of the cluster
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Also delete the folder: certificates, logs and everything stored
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    /// Folder of the cluster
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    pub(crate) command: MemberCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Replace the member's copy of the data by another member's; its vote and its log stay
    Rebuild(EndpointArgs),
}

/// One member's port for etcd clients, and what to show there.
#[derive(Clone, Debug, Args)]
pub(crate) struct EndpointArgs {
    /// The member's address for etcd clients, for example https://127.0.0.1:2379
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: String,
    /// Folder with store-ca.crt, etcd-client.crt and etcd-client.key
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pki_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct ServerArgs {
    /// YAML file with these flags as keys, without the dashes in front; flags win
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of this control node, unique in the cluster
    #[arg(long)]
    pub(crate) name: String,
    /// Folder of everything that this server keeps
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Make the certificates and the key that are missing, in DATA_DIR/pki, and an admin kubeconfig in DATA_DIR
    #[arg(long)]
    pub(crate) init: bool,
    /// Address of the Kubernetes API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6443")]
    pub(crate) api_listen: SocketAddr,
    /// Address that agents dial
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6444")]
    pub(crate) gateway_listen: SocketAddr,
    /// Address of the store, for etcd clients
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2379")]
    pub(crate) client_listen: SocketAddr,
    /// Address of the store, for the other control nodes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2380")]
    pub(crate) peer_listen: SocketAddr,
    /// Address of /metrics without TLS, loopback only; absent: only over the API
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Serve the store's /metrics also to who shows no certificate
    #[arg(long)]
    pub(crate) public_metrics: bool,
    #[command(flatten)]
    pub(crate) limits: limits::LimitArgs,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    /// Every first control node as NAME=HOST:PEERPORT/CLIENTPORT, comma-separated; default: this one alone
    #[arg(long, value_name = "MEMBERS", value_delimiter = ',')]
    pub(crate) initial_cluster: Vec<String>,
    /// Peer addresses of a running cluster's members as HOST:PORT, comma-separated: this node asks to be let in
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', conflicts_with = "initial_cluster")]
    pub(crate) join: Vec<String>,
    /// Where the others find this node when it joins; default: --peer-listen and --client-listen
    #[arg(long, value_name = "HOST:PEERPORT/CLIENTPORT", requires = "join")]
    pub(crate) advertise: Option<String>,
    /// Name of the cluster: members of another are refused
    #[arg(long, default_value = "navarch")]
    pub(crate) cluster_name: String,
    /// Minutes of history that can be read and watched from; 0: any age
    #[arg(long, value_name = "MINUTES", default_value_t = 24 * 60)]
    pub(crate) history_minutes: u32,
    /// Mebibytes of changes kept as history; 0: any amount
    #[arg(long, value_name = "MEBIBYTES", default_value_t = 2048)]
    pub(crate) history_mebibytes: u32,
    /// Folder with api-ca, store-ca, NAME-api and NAME-store as .crt and .key, and service-accounts.key; default
    /// DATA_DIR/pki
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pki_dir: Option<PathBuf>,
    /// Network of the pods; each node gets a /24 of it
    #[arg(long, value_name = "CIDR", default_value = CLUSTER_CIDR)]
    pub(crate) cluster_cidr: String,
    /// Addresses of services: a range, or one of IPv4 and one of IPv6, comma-separated
    #[arg(long, value_name = "CIDRS", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: String,
    /// Ports of all nodes for services of the types NodePort and LoadBalancer
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767")]
    pub(crate) service_node_port_range: String,
    /// Seconds that a pod stays on a node that is not ready or unreachable, unless it says otherwise
    #[arg(long, default_value_t = 300)]
    pub(crate) default_toleration_seconds: u32,
    /// Also serve versions of kinds that Kubernetes has given up, for old clients: batch/v1beta1 CronJob and its like
    #[arg(long)]
    pub(crate) legacy_api_versions: bool,
    /// How large the store may grow before it only takes deletions; 0: 8 GiB, negative: as it likes
    #[arg(long, value_name = "BYTES", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) quota_backend_bytes: i64,
    /// How many bytes of the disk are left to deletions when it fills up; never more than a twentieth of it
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024 * 1024)]
    pub(crate) disk_reserve_bytes: u64,
    /// After how many entries, or changed keys, the store takes a snapshot and shortens its log
    #[arg(long, value_name = "NUMBER", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) snapshot_count: u64,
    /// How many bytes of recent changes stay in memory for watches; what is older they read from the disk. Less costs
    /// less memory, and reads when watches are slow or begin in the past
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub(crate) watch_ring_bytes: usize,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged, for example info or info,store=debug
    #[arg(long, value_name = "FILTER", default_value = DEFAULT_LOG)]
    pub(crate) log: String,
    /// A bug to have on purpose, so that a test of tests can find it; what is stored will be damaged
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "NAME", value_parser = seeded_bug, hide = true)]
    pub(crate) seeded_bug: Option<store::seeded::Bug>,
}

#[cfg(debug_assertions)]
fn seeded_bug(name: &str) -> Result<store::seeded::Bug, String> {
    store::seeded::Bug::named(name).ok_or_else(|| {
        let names = store::seeded::Bug::ALL.map(store::seeded::Bug::name);
        format!("there are {}", names.join(", "))
    })
}

#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct AgentArgs {
    /// YAML file with these flags as keys, without the dashes in front; flags win
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of this node, as in its certificate
    #[arg(long)]
    pub(crate) name: String,
    /// Folder of everything that this agent keeps
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Gateways of the control nodes as HOST:PORT, comma-separated
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', required = true)]
    pub(crate) servers: Vec<String>,
    /// Certificate of the API's authority, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: PathBuf,
    /// This node's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    /// This node's key, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// What runs the containers
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Auto)]
    pub(crate) runtime: RuntimeChoice,
    /// Folders where it is written how to reach registries, as REGISTRY/hosts.toml, comma-separated; the first that
    /// says something of a registry counts
    #[arg(long, value_name = "FOLDERS", value_delimiter = ',', default_values = HOSTS_DIRS)]
    pub(crate) hosts_dir: Vec<PathBuf>,
    /// How many hollow nodes to be, named NAME-1, NAME-2 …, with certificates beside CERTIFICATE
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) hollow_nodes: u16,
    /// Network namespace to enter first, by name; absent: the one it was started in
    #[arg(long, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    /// This node's address, where the other nodes reach it
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) node_ip: Option<Ipv4Addr>,
    /// Parent of the pods' cgroups
    #[arg(long, value_name = "PATH", default_value = "/kubepods")]
    pub(crate) cgroup_root: String,
    /// Folder of pods to run with or without control nodes, one YAML file each
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reclaim: ReclaimArgs,
    /// Seconds in which all pods of the node end when the agent is stopped; 0 leaves them running
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) shutdown_grace_period: u64,
    /// Seconds of these that are kept for critical pods, which end last
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) shutdown_grace_period_critical_pods: u64,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged, for example info or info,agent=debug
    #[arg(long, value_name = "FILTER", default_value = DEFAULT_LOG)]
    pub(crate) log: String,
    /// Stop every pod and remove all that this agent made, then exit
    #[arg(long)]
    pub(crate) purge: bool,
}

impl AgentArgs {
    pub(crate) fn shutdown(&self) -> ShutdownPolicy {
        ShutdownPolicy {
            grace: Duration::from_secs(self.shutdown_grace_period),
            critical: Duration::from_secs(self.shutdown_grace_period_critical_pods),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeChoice {
    /// What the node had before; on a new one the system's containerd, where it is installed, else `builtin`
    #[default]
    Auto,
    /// The system's containerd and runc
    Containerd,
    /// Navarch's own, which needs nothing installed
    Builtin,
    /// Nothing: every pod is said to run
    Hollow,
}
