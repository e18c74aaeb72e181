//! One member of ours: the store and its two ports, without the API server above them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base::{OwnThread, SystemClock, SystemEntropy, Tasks};
use store::rpc::{ClientPort, Network, PeerPort, Tls, serve_clients, serve_peers};
use store::{Identity, InitialMember, Node, NodeConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// In every certificate of a run.
pub(crate) const ORGANIZATION: &str = "bench";

/// `member DIRECTORY CERTIFICATES NUMBER CLIENT-PORT PEER-PORT…`: the member with this number, of those with these
/// peer ports.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let [dir, certificates, number, client_port, peer_ports @ ..] = arguments else {
        bail!("a member needs to know who it is");
    };
    let number: usize = number.parse()?;
    let tls = tls(Path::new(certificates))?;
    let members: Vec<InitialMember> = (1..)
        .zip(peer_ports)
        .map(|(number, port): (usize, _)| InitialMember {
            name: format!("member-{number}"),
            peer_url: format!("https://127.0.0.1:{port}"),
            client_urls: Vec::new(),
        })
        .collect();
    let name = format!("member-{number}");
    let peer_port = peer_ports.get(number - 1).context("there is no such member")?;
    let config = NodeConfig::founding(name, dir.into(), "bench".to_owned(), members);
    let me = config.identity()?;
    let tasks = Tasks::new(CancellationToken::new());
    // As `navarch server` does it.
    let thread = OwnThread::start("store")?;
    let ports = (format!("127.0.0.1:{peer_port}"), format!("127.0.0.1:{client_port}"));
    thread.run(start(config, me, tls, ports, tasks.clone())).await?;
    tasks.join(Duration::from_secs(5)).await?;
    Ok(())
}

async fn start(
    config: NodeConfig,
    me: Identity,
    tls: Tls,
    (peers, clients): (String, String),
    tasks: Tasks,
) -> Result<()> {
    let network = Arc::new(Network::new(me.clone(), &tls, tasks.clone())?);
    let node = Node::start(config, network, Arc::new(SystemClock), Arc::new(SystemEntropy), &tasks).await?;
    let stop = tasks.stop().clone();
    let listener = TcpListener::bind(peers).await?;
    let port = PeerPort { listener, tls: tls.clone(), me: me.into(), tasks: tasks.clone() };
    tasks.spawn("peers", serve_peers(node.service, port));
    let listener = TcpListener::bind(clients).await?;
    tasks.spawn("clients", serve_clients(node.store, ClientPort { listener, tls, metrics: None, stop }));
    Ok(())
}

fn tls(certificates: &Path) -> Result<Tls> {
    let read = |name: &str| fs::read_to_string(certificates.join(name)).with_context(|| name.to_owned());
    Ok(Tls {
        ca_pem: read("ca.pem")?,
        certificate_pem: read("cert.pem")?,
        key_pem: read("key.pem")?,
        admitted_organizations: vec![ORGANIZATION.to_owned()],
    })
}
