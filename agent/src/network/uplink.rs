//! A little outside world on one machine: a bridge in the root namespace, and for each agent a network
//! namespace that is connected to it. `navarch up` makes it before the agents and removes it after them.
//!
//! The names are the caller's, one set per cluster, so two clusters never meet, and removal needs nothing but
//! the names, also after a crash. Agents on machines of their own need none of this.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;

use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};
use thiserror::Error;

use super::masquerade::{self, Masquerade, MasqueradeError};
use super::namespace::{self, NamespaceError};
use super::netlink::{self, Mac, Netlink, NetlinkError, Route};
use super::{Subnet, SysctlError, sysctl};

/// The interface inside an agent's namespace.
const INSIDE: &str = "eth0";
/// The network that bridge and agents share is a /24.
const PREFIX_LENGTH: u8 = 24;
/// Free networks are looked for from here on, one /24 each.
const NETWORKS: [u8; 2] = [172, 30];
const BRIDGE_MAC_PREFIX: [u8; 2] = [0x02, 0x62];

/// The world of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The bridge's name, at most 10 bytes and unique on the machine: every link of this world begins with it.
    pub bridge: String,
    /// The machine's own address on the bridge, in a /24. It is the agents' way out, and where they reach
    /// servers that listen on it.
    pub address: Ipv4Addr,
    pub attachments: Vec<Attachment>,
}

/// One agent's namespace. In it, `lo` is up, `eth0` has the address, and the default route leads to the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The namespace's name, as `ip netns` shows it; unique on the machine.
    pub netns: String,
    /// In the same /24 as the bridge; to be the agent's `node_ip`.
    pub address: Ipv4Addr,
}

/// Why the little world is not there.
#[derive(Debug, Error)]
pub enum UplinkError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error("cannot let the agents reach the outside")]
    Masquerade(#[from] MasqueradeError),
    #[error("every network from 172.30.0.0/24 to 172.30.255.0/24 is in use on this machine")]
    NoNetworkLeft,
}

/// Moves the calling thread, and all that it starts later, into the named namespace. To move a process, call
/// it before there is a second thread.
///
/// # Errors
/// When there is no such namespace, or the caller may not enter it.
pub fn enter(netns: &str) -> Result<(), UplinkError> {
    Ok(namespace::enter(&namespace::named(netns))?)
}

/// Runs `work` on a thread of its own inside the named namespace, and waits for it.
///
/// # Errors
/// When there is no such namespace, or the caller may not enter it.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> Result<T, UplinkError> {
    Ok(namespace::run_in(&namespace::named(netns), || std::future::ready(work()))?)
}

/// A /24 that overlaps no address and no route of this machine. The search begins at `172.30.<start>.0`, so
/// that one caller finds the same network each time, and two callers rarely the same.
///
/// # Errors
/// When none of 256 is free.
pub async fn free_network(start: u8) -> Result<Subnet, UplinkError> {
    let used = netlink::connected(|netlink| async move {
        let addresses = netlink.addresses().await?;
        let mut used: Vec<Subnet> =
            addresses.iter().map(|(_, address, length)| Subnet::of(*address, *length)).collect();
        for link in netlink.links().await? {
            used.extend(netlink.routes(&link).await?.iter().map(|route| route.destination));
        }
        Ok::<_, NetlinkError>(used)
    })
    .await?;
    first_free(start, &used).ok_or(UplinkError::NoNetworkLeft)
}

fn first_free(start: u8, used: &[Subnet]) -> Option<Subnet> {
    let [a, b] = NETWORKS;
    let mut candidates =
        (0..=u8::MAX).map(|step| Subnet::of(Ipv4Addr::new(a, b, start.wrapping_add(step), 0), PREFIX_LENGTH));
    candidates.find(|candidate| {
        let mut taken = used.iter().filter(|network| network.prefix_length() > 0);
        !taken.any(|network| candidate.contains(network.address()) || network.contains(candidate.address()))
    })
}

impl Uplink {
    /// Makes what is not there yet, and opens the world to the outside.
    ///
    /// # Errors
    /// When the caller may not, or `nft` is missing. What was made so far stays: call [`remove`](Self::remove).
    pub async fn create(&self) -> Result<(), UplinkError> {
        self.create_bridge().await?;
        for (number, attachment) in self.attachments.iter().enumerate() {
            let path = namespace::create_named(&attachment.netns)?;
            netlink::connected(|netlink| self.connect(netlink, number, &path)).await?;
            namespace::run_in(&path, || configure_inside(attachment.address, self.address))??;
        }
        self.open_to_outside().await
    }

    /// Removes everything of this world, whatever of it there is. Processes inside must have ended before,
    /// else the kernel keeps their namespace, without a name, until they do.
    ///
    /// # Errors
    /// At the first thing that cannot be removed.
    pub async fn remove(&self) -> Result<(), UplinkError> {
        for attachment in &self.attachments {
            namespace::remove_named(&attachment.netns)?;
        }
        netlink::connected(|netlink| async move {
            for link in netlink.links().await? {
                if link.name.starts_with(&self.bridge) {
                    netlink.remove(&link.name).await?;
                }
            }
            Ok::<_, NetlinkError>(())
        })
        .await?;
        masquerade::remove(&self.table()).await?;
        Ok(())
    }

    async fn create_bridge(&self) -> Result<(), UplinkError> {
        netlink::connected(|netlink| async move {
            let link = match netlink.find(&self.bridge).await? {
                Some(link) => link,
                None => {
                    // Otherwise the bridge would take the lowest address of its ports, and change it.
                    let mac = Mac::derived(BRIDGE_MAC_PREFIX, self.address).0.to_vec();
                    netlink.create(&self.bridge, LinkBridge::new(&self.bridge).address(mac).build()).await?
                }
            };
            netlink.add_address(&link, self.address, PREFIX_LENGTH).await?;
            Ok(netlink.bring_up(&link).await?)
        })
        .await
    }

    async fn connect(&self, netlink: Netlink, number: usize, namespace: &Path) -> Result<(), UplinkError> {
        let name = format!("{}-{}", self.bridge, number + 1);
        let bridge = netlink.link(&self.bridge).await?;
        let link = match netlink.find(&name).await? {
            Some(link) => link,
            None => {
                let file = namespace::open(namespace)?;
                let mut peer = LinkUnspec::new_with_name(INSIDE).build();
                peer.attributes.push(LinkAttribute::NetNsFd(file.as_raw_fd()));
                let message =
                    LinkVeth::new(&name, INSIDE).set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
                netlink.create(&name, message).await?
            }
        };
        if link.controller != Some(bridge.index) {
            let message = LinkUnspec::new_with_index(link.index).controller(bridge.index).build();
            netlink.change(&name, message).await?;
        }
        Ok(netlink.bring_up(&link).await?)
    }

    /// Lets agents and their pods reach what this machine reaches: forwarding on the bridge and on the
    /// interface of the default route, and source translation. Without a default route, nothing to do.
    async fn open_to_outside(&self) -> Result<(), UplinkError> {
        let outside = netlink::connected(|netlink| async move {
            for link in netlink.links().await? {
                let routes = netlink.routes(&link).await?;
                if routes.iter().any(|route| route.destination.prefix_length() == 0) {
                    return Ok::<_, NetlinkError>(Some(link.name));
                }
            }
            Ok(None)
        })
        .await?;
        let Some(outside) = outside else { return Ok(()) };
        sysctl::set_interface(&self.bridge, "forwarding", "1")?;
        sysctl::set_interface(&outside, "forwarding", "1")?;
        let network = Subnet::of(self.address, PREFIX_LENGTH);
        let masquerade = Masquerade { table: self.table(), inside: network, spared: network };
        Ok(masquerade.apply().await?)
    }

    fn table(&self) -> String {
        format!("navarch-{}", self.bridge)
    }
}

async fn configure_inside(address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), NetlinkError> {
    netlink::connected(|netlink| async move {
        let loopback = netlink.link("lo").await?;
        netlink.bring_up(&loopback).await?;
        let link = netlink.link(INSIDE).await?;
        netlink.bring_up(&link).await?;
        netlink.add_address(&link, address, PREFIX_LENGTH).await?;
        let everything = Subnet::of(Ipv4Addr::UNSPECIFIED, 0);
        netlink.set_route(&Route { destination: everything, via: Some(gateway), link: link.index }).await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_network_overlaps_none_that_is_used() {
        let used = |text: &str| -> Vec<Subnet> {
            text.split_whitespace().map(|network| network.parse().expect("a network")).collect()
        };
        let found = |start, text| first_free(start, &used(text)).map(|network| network.to_string());
        assert_eq!(found(7, "0.0.0.0/0 10.0.0.0/8").as_deref(), Some("172.30.7.0/24"));
        assert_eq!(found(7, "172.30.7.5/32 172.30.8.0/23").as_deref(), Some("172.30.10.0/24"));
        assert_eq!(found(255, "172.30.255.0/24").as_deref(), Some("172.30.0.0/24"));
        assert_eq!(found(0, "172.16.0.0/12"), None);
    }
}
