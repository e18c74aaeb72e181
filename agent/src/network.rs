//! The pod network of one node: its overlay, its masquerading, and the configuration by which containerd
//! calls our own CNI plugin. Reconciled from [`Desired`] as a whole, idempotent, and left in place when the
//! agent stops, since pods go on.
//!
//! Everything happens in the network namespace that the agent was started in. There is no bridge, and no
//! use of br_netfilter, `ip` or the iptables family; `nft` is the only program that is called.

mod ipam;
mod masquerade;
pub(crate) mod namespace;
mod netlink;
mod overlay;
mod pod_link;
mod subnet;
mod sysctl;
#[cfg(test)]
mod tests;
pub mod uplink;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use masquerade::MasqueradeError;
pub use namespace::{NamespaceError, enter};
pub use netlink::NetlinkError;
pub use overlay::OverlayError;
pub use subnet::{Subnet, SubnetError};
pub use sysctl::SysctlError;

pub(crate) use ipam::{Holder, Ipam, IpamError};
pub(crate) use pod_link::{GATEWAY, PodLink, PodLinkError, bring_loopback_up, detach, node_name};

use crate::causes::in_full;
use crate::cni::conflist;
use crate::desired::Desired;

/// How often everything is compared with the kernel although nothing changed: a safety net.
const RESYNC_EVERY: Duration = Duration::from_secs(30);
/// How soon a failed attempt is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The nft table of a node.
const TABLE: &str = "navarch";

/// What the network needs to know about its node.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    pub node_name: String,
    /// The address by which other nodes reach this one; the interface that has it carries the overlay.
    pub node_ip: Ipv4Addr,
    /// The program that containerd calls as CNI plugin: this one.
    pub executable: PathBuf,
    /// Where containerd looks for network configurations.
    pub cni_conf_dir: PathBuf,
    /// Where containerd looks for plugins.
    pub cni_bin_dir: PathBuf,
    /// Where the plugin keeps which addresses it gave.
    pub cni_state_dir: PathBuf,
}

/// Whether pods can be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkHealth {
    Ready,
    /// In words for the node's Ready condition.
    NotReady(String),
}

/// Why the network is not as it should be.
#[derive(Debug, Error)]
pub enum NetworkError {
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error("cannot set up masquerading")]
    Masquerade(#[from] MasqueradeError),
    #[error(transparent)]
    Conflist(#[from] conflist::ConflistError),
    #[error("cannot use the address state")]
    Ipam(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot remove {}", path.display())]
    Remove { path: PathBuf, source: std::io::Error },
}

/// Links the CNI plugin in place, then keeps the network as `desired` says, in a task. To be called before
/// containerd starts.
///
/// # Errors
/// When the plugin directory cannot be written.
pub fn start(
    settings: NetworkSettings,
    desired: watch::Receiver<Arc<Desired>>,
    tasks: &Tasks,
) -> Result<watch::Receiver<NetworkHealth>, NetworkError> {
    conflist::link_plugins(&settings.cni_bin_dir, &settings.executable)?;
    let mut ipam = Ipam::open(&settings.cni_state_dir).map_err(|error| NetworkError::Ipam(error.into()))?;
    let released = ipam.release_gone().map_err(|error| NetworkError::Ipam(error.into()))?;
    if !released.is_empty() {
        info!(count = released.len(), "took back the addresses of pods that are gone");
    }
    drop(ipam);
    let (health, watched) = watch::channel(NetworkHealth::NotReady("the pod network is starting".into()));
    let keeper = Keeper { settings, desired, health };
    tasks.spawn_infallible("network", keeper.run(tasks.stop().clone()));
    Ok(watched)
}

/// The health of a node that has no pod network because it runs nothing (the hollow runtime).
pub fn absent() -> watch::Receiver<NetworkHealth> {
    watch::channel(NetworkHealth::Ready).1
}

struct Keeper {
    settings: NetworkSettings,
    desired: watch::Receiver<Arc<Desired>>,
    health: watch::Sender<NetworkHealth>,
}

impl Keeper {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            let outcome = reconcile(&self.settings, &desired).await;
            let again = match &outcome {
                Ok(_) => RESYNC_EVERY,
                Err(error) => {
                    warn!(error = %in_full(error), "the pod network is not as it should be, trying again");
                    RETRY_AFTER
                }
            };
            self.publish(outcome);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    fn publish(&self, outcome: Result<NetworkHealth, NetworkError>) {
        let health = outcome.unwrap_or_else(|error| NetworkHealth::NotReady(in_full(&error)));
        self.health.send_if_modified(|present| {
            let changed = *present != health;
            if changed {
                info!(?health, "pod network");
                *present = health;
            }
            changed
        });
    }
}

/// Makes the node's namespace as `desired` says.
async fn reconcile(settings: &NetworkSettings, desired: &Desired) -> Result<NetworkHealth, NetworkError> {
    let (Some(pod_cidr), Some(cluster_cidr)) = (desired.pod_cidr, desired.cluster_cidr) else {
        return Ok(NetworkHealth::NotReady("no pod network has been assigned to the node yet".into()));
    };
    sysctl::set("ip_forward", "1")?;
    let peers = desired.peers.iter().filter(|(node, _)| ***node != *settings.node_name);
    let wanted = overlay::Entries::wanted(peers.map(|(_, peer)| *peer));
    let node_ip = settings.node_ip;
    let mtu = netlink::connected(|netlink| async move {
        overlay::reconcile(&netlink, node_ip, pod_cidr, &wanted).await?;
        let uplink = overlay::uplink(&netlink, node_ip).await?;
        Ok::<_, OverlayError>(uplink.mtu.saturating_sub(overlay::OVERHEAD_BYTES))
    })
    .await?;
    let masquerade = masquerade::Masquerade { table: TABLE.into(), inside: pod_cidr, spared: cluster_cidr };
    if !masquerade.in_place().await? {
        masquerade.apply().await?;
    }
    conflist::write(
        &settings.cni_conf_dir,
        &conflist::PluginConfig { subnet: pod_cidr, mtu, state_dir: settings.cni_state_dir.clone() },
    )?;
    Ok(NetworkHealth::Ready)
}

/// Removes all that [`start`] made and the cables of pods, for a node that is taken down for good.
///
/// # Errors
/// At the first thing that cannot be removed.
pub async fn purge(settings: &NetworkSettings) -> Result<(), NetworkError> {
    netlink::connected(|netlink| async move {
        for link in netlink.links().await? {
            if link.name.starts_with(pod_link::NAME_PREFIX) {
                netlink.remove(&link.name).await?;
            }
        }
        Ok::<_, NetlinkError>(())
    })
    .await?;
    masquerade::remove(TABLE).await?;
    for path in [&settings.cni_conf_dir, &settings.cni_bin_dir, &settings.cni_state_dir] {
        match std::fs::remove_dir_all(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(NetworkError::Remove { path: path.clone(), source });
            }
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}
