//! A pod's cable: a veth pair, routed, without a bridge.
//!
//! The pod has a /32 address and sends everything to 169.254.1.1, whose Ethernet address is fixed to that of
//! the node's end; the node has one route per pod. So traffic between pods of one node is forwarded like any
//! other, no bridge filter is involved, and a pod cannot use another's address (strict reverse path).

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{LinkUnspec, LinkVeth};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::namespace::{self, NamespaceError};
use super::netlink::{self, Mac, Netlink, NetlinkError, Route};
use super::{Subnet, sysctl};

/// The gateway of every pod. Link-local, and nobody's: only its Ethernet address matters.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The Ethernet address of the node's end of every cable.
const NODE_MAC: Mac = Mac([0xee; 6]);
const POD_MAC_PREFIX: [u8; 2] = [0x0a, 0x58];
/// The beginning of the name of each link of ours in a node's namespace.
pub(crate) const NAME_PREFIX: &str = "nv-";

/// Why a pod is not connected.
#[derive(Debug, Error)]
pub(crate) enum PodLinkError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
    #[error("{0}")]
    NotAsMade(String),
}

/// One end in the node's namespace, the other in the pod's.
#[derive(Clone, Debug)]
pub(crate) struct PodLink {
    /// The name of the node's end.
    pub(crate) node_name: String,
    /// The name of the pod's end, `eth0` mostly.
    pub(crate) pod_name: String,
    pub(crate) namespace: PathBuf,
    pub(crate) address: Ipv4Addr,
    pub(crate) mtu: u32,
}

/// The name of the node's end for this interface of this container.
pub(crate) fn node_name(container: &str, interface: &str) -> String {
    let digest = Sha256::digest(format!("{container}\0{interface}"));
    let short: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    // A link's name has at most 15 bytes.
    format!("{NAME_PREFIX}{}", &short[..11])
}

impl PodLink {
    pub(crate) fn pod_mac(&self) -> Mac {
        Mac::derived(POD_MAC_PREFIX, self.address)
    }

    pub(crate) fn node_mac() -> Mac {
        NODE_MAC
    }

    /// Connects the pod. What an attempt that failed half-way left is replaced.
    pub(crate) async fn attach(&self) -> Result<(), PodLinkError> {
        netlink::connected(|netlink| async move {
            self.remove_stale_route(&netlink).await?;
            netlink.remove(&self.node_name).await?;
            self.create(&netlink).await
        })
        .await?;
        namespace::run_in(&self.namespace, || self.inside())??;
        netlink::connected(|netlink| async move { self.outside(&netlink).await }).await
    }

    /// Another cable may still have the route: its pod is gone, but its namespace is not freed yet.
    async fn remove_stale_route(&self, netlink: &Netlink) -> Result<(), PodLinkError> {
        for link in netlink.links().await? {
            if !link.name.starts_with(NAME_PREFIX) || link.name == self.node_name {
                continue;
            }
            let stale = netlink.routes(&link).await?;
            for route in stale.iter().filter(|route| route.destination == self.destination()) {
                netlink.remove_route(route).await?;
            }
        }
        Ok(())
    }

    /// Both ends at once, the pod's directly in its namespace, so that its name cannot clash with ours.
    async fn create(&self, netlink: &Netlink) -> Result<(), PodLinkError> {
        let namespace = namespace::open(&self.namespace)?;
        let mut peer = LinkUnspec::new_with_name(&self.pod_name)
            .mtu(self.mtu)
            .address(self.pod_mac().0.to_vec())
            .build();
        peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let message = LinkVeth::new(&self.node_name, &self.pod_name)
            .mtu(self.mtu)
            .address(NODE_MAC.0.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        netlink.create(&self.node_name, message).await?;
        Ok(())
    }

    async fn inside(&self) -> Result<(), PodLinkError> {
        netlink::connected(|netlink| async move {
            let loopback = netlink.link("lo").await?;
            netlink.bring_up(&loopback).await?;
            let link = netlink.link(&self.pod_name).await?;
            netlink.bring_up(&link).await?;
            netlink.add_address(&link, self.address, 32).await?;
            netlink.set_neighbour(&link, GATEWAY, NODE_MAC).await?;
            for route in default_routes(link.index) {
                netlink.set_route(&route).await?;
            }
            Ok(())
        })
        .await
    }

    async fn outside(&self, netlink: &Netlink) -> Result<(), PodLinkError> {
        sysctl::set_interface(&self.node_name, "rp_filter", "1")?;
        sysctl::set_interface(&self.node_name, "forwarding", "1")?;
        let link = netlink.link(&self.node_name).await?;
        netlink.bring_up(&link).await?;
        netlink.set_neighbour(&link, self.address, self.pod_mac()).await?;
        netlink.set_route(&Route { destination: self.destination(), via: None, link: link.index }).await?;
        Ok(())
    }

    /// Whether the cable is as [`attach`](Self::attach) made it.
    pub(crate) async fn check(&self) -> Result<(), PodLinkError> {
        let wrong = |what: String| Err(PodLinkError::NotAsMade(what));
        let routed = netlink::connected(|netlink| async move {
            let link = netlink.link(&self.node_name).await?;
            let routes = netlink.routes(&link).await?;
            Ok::<_, NetlinkError>(
                link.up && routes.iter().any(|route| route.destination == self.destination()),
            )
        })
        .await?;
        if !routed {
            return wrong(format!("{} is down or has no route to {}", self.node_name, self.address));
        }
        let addressed = namespace::run_in(&self.namespace, || {
            netlink::connected(|netlink| async move {
                let link = netlink.link(&self.pod_name).await?;
                let addresses = netlink.addresses().await?;
                Ok::<_, NetlinkError>(link.up && addresses.contains(&(link.index, self.address, 32)))
            })
        })??;
        if !addressed {
            return wrong(format!("{} in the pod is down or lacks {}", self.pod_name, self.address));
        }
        Ok(())
    }

    fn destination(&self) -> Subnet {
        Subnet::of(self.address, 32)
    }
}

/// The gateway's own route first: the default route needs it.
fn default_routes(link: u32) -> [Route; 2] {
    [
        Route { destination: Subnet::of(GATEWAY, 32), via: None, link },
        Route { destination: Subnet::of(Ipv4Addr::UNSPECIFIED, 0), via: Some(GATEWAY), link },
    ]
}

/// Disconnects a pod, whether or not it was connected.
pub(crate) async fn detach(node_name: &str) -> Result<(), NetlinkError> {
    netlink::connected(|netlink| async move { netlink.remove(node_name).await }).await
}

/// Brings up `lo` in a namespace.
pub(crate) fn bring_loopback_up(namespace: &Path) -> Result<(), PodLinkError> {
    let up = || {
        netlink::connected(|netlink| async move {
            let loopback = netlink.link("lo").await?;
            netlink.bring_up(&loopback).await
        })
    };
    Ok(namespace::run_in(namespace, up)??)
}
