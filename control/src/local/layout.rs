//! What a cluster's folder holds, and which ports, names and addresses follow from it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cli::{CLUSTER_CIDR, RuntimeChoice, UpArgs};

/// Ports that one server may use.
const PORTS_PER_SERVER: u16 = 10;

/// What `up` decided when it made the cluster; kept in the folder so that `down` and a later `up` agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) servers: u16,
    pub(crate) agents: u16,
    pub(crate) hollow_agents: u16,
    pub(crate) base_port: u16,
    pub(crate) default_toleration_seconds: u32,
    /// Absent in folders from before there was a choice.
    #[serde(default)]
    pub(crate) legacy_api_versions: bool,
    /// Absent likewise.
    #[serde(default)]
    pub(crate) runtime: RuntimeChoice,
    /// Absent likewise.
    #[serde(default = "usual_cluster_cidr")]
    pub(crate) cluster_cidr: String,
    /// Eight hex digits from the folder's path: part of every name that is global on this machine.
    pub(crate) id: String,
    /// The first three numbers of the /24 that joins the agents' namespaces.
    pub(crate) uplink: [u8; 3],
}

fn usual_cluster_cidr() -> String {
    CLUSTER_CIDR.to_owned()
}

/// The folder of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) shape: Shape,
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) gateway: u16,
    pub(crate) client: u16,
    pub(crate) peer: u16,
    pub(crate) metrics: u16,
}

impl Layout {
    /// The cluster of this folder, as an earlier `up` left it.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| format!("no cluster in --dir {}", dir.display()))?;
        let file = dir.join("cluster.json");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("no cluster in --dir {}: cannot read cluster.json", dir.display()))?;
        let shape = serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
        Ok(Self { dir, shape })
    }

    /// The cluster of this folder, made if there is none. What it is made of cannot change later.
    pub(crate) async fn open(args: &UpArgs) -> Result<Self> {
        fs::create_dir_all(&args.dir)
            .with_context(|| format!("cannot create --dir {}", args.dir.display()))?;
        let dir = fs::canonicalize(&args.dir)
            .with_context(|| format!("cannot open --dir {}", args.dir.display()))?;
        if dir.join("cluster.json").exists() {
            let layout = Self::load(&dir)?;
            layout.refuse_other_shape(args)?;
            return Ok(layout);
        }
        let id = format!("{:08x}", crc32fast::hash(dir.as_os_str().as_encoded_bytes()));
        let shape = Shape {
            servers: args.servers,
            agents: args.agents,
            hollow_agents: args.hollow_agents,
            base_port: args.base_port,
            default_toleration_seconds: args.default_toleration_seconds,
            legacy_api_versions: args.legacy_api_versions,
            runtime: args.runtime,
            cluster_cidr: args.cluster_cidr.clone(),
            uplink: free_uplink(&id).await?,
            id,
        };
        if u32::from(args.base_port) + u32::from(PORTS_PER_SERVER) * u32::from(args.servers)
            > u32::from(u16::MAX)
        {
            bail!(
                "--base-port {} leaves no room for {} servers below port 65535",
                args.base_port,
                args.servers
            );
        }
        Ok(Self { dir, shape })
    }

    /// Makes the shape lasting: from here on `down` knows what to clean.
    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.shape).context("cannot encode the cluster's shape")?;
        crate::pki::write_private(&self.dir.join("cluster.json"), &text)
    }

    fn refuse_other_shape(&self, args: &UpArgs) -> Result<()> {
        let has = &self.shape;
        let wanted = (args.servers, args.agents, args.hollow_agents, args.base_port);
        if wanted != (has.servers, has.agents, has.hollow_agents, has.base_port) {
            bail!(
                "--dir {} holds a cluster of --servers {} --agents {} --hollow-agents {} --base-port {}: give the same, \
                 or another --dir, or remove it with `navarch down --purge --dir {}`",
                self.dir.display(),
                has.servers,
                has.agents,
                has.hollow_agents,
                has.base_port,
                self.dir.display()
            );
        }
        Ok(())
    }

    pub(crate) fn ports(&self, server: u16) -> Ports {
        let first = self.shape.base_port + PORTS_PER_SERVER * (server - 1);
        Ports { api: first, gateway: first + 1, client: first + 2, peer: first + 3, metrics: first + 4 }
    }

    pub(crate) fn server_numbers(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.shape.servers
    }

    pub(crate) fn agent_numbers(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.shape.agents
    }

    /// Where the host is reachable from the agents' namespaces.
    pub(crate) fn host_address(&self) -> Ipv4Addr {
        self.uplink_address(1)
    }

    pub(crate) fn agent_address(&self, agent: u16) -> Ipv4Addr {
        self.uplink_address(u8::try_from(agent + 10).unwrap_or(u8::MAX))
    }

    fn uplink_address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.shape.uplink;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Agents dial the host's end of the bridge; without agents in namespaces, loopback does.
    pub(crate) fn gateway_address(&self, server: u16) -> SocketAddr {
        let address = if self.shape.agents > 0 { self.host_address() } else { Ipv4Addr::LOCALHOST };
        SocketAddr::from((address, self.ports(server).gateway))
    }

    pub(crate) fn gateways(&self) -> Vec<String> {
        self.server_numbers().map(|server| self.gateway_address(server).to_string()).collect()
    }

    pub(crate) fn bridge(&self) -> String {
        format!("nv{}", self.shape.id)
    }

    /// The namespace of an agent; the id in front makes it this cluster's.
    pub(crate) fn netns(&self, agent: u16) -> String {
        format!("nv{}-{agent}", self.shape.id)
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    /// How this cluster's nodes reach registries, if not as the machine says: REGISTRY/hosts.toml.
    pub(crate) fn registries(&self) -> PathBuf {
        self.dir.join("certs.d")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(crate) fn process_dir(&self, process: &str) -> PathBuf {
        self.dir.join(process)
    }

    /// Every process of the cluster, servers first.
    pub(crate) fn processes(&self) -> Vec<String> {
        let servers = self.server_numbers().map(server_name);
        let agents = self.agent_numbers().map(agent_name);
        let hollow = (self.shape.hollow_agents > 0).then(|| HOLLOW.to_owned());
        servers.chain(agents).chain(hollow).collect()
    }

    /// Every node that should become Ready.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let hollow = (1..=self.shape.hollow_agents).map(|number| format!("{HOLLOW}-{number}"));
        self.agent_numbers().map(agent_name).chain(hollow).collect()
    }
}

/// The process, and the prefix of the nodes, of all hollow agents.
pub(crate) const HOLLOW: &str = "hollow";

pub(crate) fn server_name(server: u16) -> String {
    format!("server-{server}")
}

pub(crate) fn agent_name(agent: u16) -> String {
    format!("agent-{agent}")
}

/// A /24 that nothing on this machine uses. The search starts at a place that follows from the cluster's id,
/// so that two clusters that start at once rarely meet.
async fn free_uplink(id: &str) -> Result<[u8; 3]> {
    let start = u8::from_str_radix(&id[..2], 16).unwrap_or(0);
    let network = agent::network::uplink::free_network(start)
        .await
        .context("cannot choose a network for the agents")?;
    let [a, b, c, _] = network.address().octets();
    Ok([a, b, c])
}
