//! The pod network between nodes: one VXLAN device, and for each peer one forwarding entry, one neighbour
//! and one route. Nothing is learnt from traffic; what the control plane says is all there is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rtnetlink::LinkVxlan;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan};
use thiserror::Error;
use tracing::{debug, info};

use super::netlink::{Link, Mac, Netlink, NetlinkError, Route};
use super::{Subnet, sysctl};
use crate::desired::Peer;

/// The device's name. Agents that share a machine have a network namespace each.
pub(crate) const DEVICE: &str = "nv-vxlan";
/// VXLAN network identifier and port, the same on every node. The port is Linux' own default.
const NETWORK_ID: u32 = 1;
const PORT: u16 = 8472;
/// What the outer Ethernet, IP, UDP and VXLAN headers need of each packet.
pub(crate) const OVERHEAD_BYTES: u32 = 50;
/// The first bytes of a VXLAN device's Ethernet address; its node's address is the rest.
const MAC_PREFIX: [u8; 2] = [0x02, 0x76];

/// Why the overlay is not as it should be.
#[derive(Debug, Error)]
pub enum OverlayError {
    #[error("no network interface has this node's address {0}")]
    NoUplink(Ipv4Addr),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
}

/// What the device should know, or knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Pod network of a peer → the address of its device.
    routes: BTreeMap<Subnet, Ipv4Addr>,
    /// The address of a peer's device → its Ethernet address.
    neighbours: BTreeMap<Ipv4Addr, Mac>,
    /// The Ethernet address of a peer's device → the address of its node.
    forwards: BTreeMap<Mac, Ipv4Addr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SetForward { mac: Mac, endpoint: Ipv4Addr },
    SetNeighbour { address: Ipv4Addr, mac: Mac },
    SetRoute { destination: Subnet, via: Ipv4Addr },
    RemoveRoute { destination: Subnet, via: Ipv4Addr },
    RemoveNeighbour { address: Ipv4Addr },
    RemoveForward { mac: Mac, endpoint: Ipv4Addr },
}

impl Entries {
    pub(crate) fn wanted(peers: impl IntoIterator<Item = Peer>) -> Self {
        let mut wanted = Self::default();
        for peer in peers {
            let mac = Mac::derived(MAC_PREFIX, peer.internal_ip);
            let address = peer.pod_cidr.address();
            wanted.routes.insert(peer.pod_cidr, address);
            wanted.neighbours.insert(address, mac);
            wanted.forwards.insert(mac, peer.internal_ip);
        }
        wanted
    }

    async fn observed(netlink: &Netlink, device: &Link) -> Result<Self, NetlinkError> {
        let routes = netlink.routes(device).await?;
        Ok(Self {
            routes: routes.iter().filter_map(|route| Some((route.destination, route.via?))).collect(),
            neighbours: netlink.neighbours(device).await?.into_iter().collect(),
            forwards: netlink.forwards(device).await?.into_iter().collect(),
        })
    }
}

/// Pure: what makes `observed` equal to `wanted`. A peer's route comes after what the route needs, and goes
/// before it.
pub(crate) fn plan(wanted: &Entries, observed: &Entries) -> Vec<Action> {
    let mut actions = Vec::new();
    for (destination, via) in differing(&observed.routes, &wanted.routes) {
        if !wanted.routes.contains_key(&destination) {
            actions.push(Action::RemoveRoute { destination, via });
        }
    }
    for (address, _) in differing(&observed.neighbours, &wanted.neighbours) {
        if !wanted.neighbours.contains_key(&address) {
            actions.push(Action::RemoveNeighbour { address });
        }
    }
    for (mac, endpoint) in differing(&observed.forwards, &wanted.forwards) {
        if !wanted.forwards.contains_key(&mac) {
            actions.push(Action::RemoveForward { mac, endpoint });
        }
    }
    let forwards = differing(&wanted.forwards, &observed.forwards);
    actions.extend(forwards.map(|(mac, endpoint)| Action::SetForward { mac, endpoint }));
    let neighbours = differing(&wanted.neighbours, &observed.neighbours);
    actions.extend(neighbours.map(|(address, mac)| Action::SetNeighbour { address, mac }));
    let routes = differing(&wanted.routes, &observed.routes);
    actions.extend(routes.map(|(destination, via)| Action::SetRoute { destination, via }));
    actions
}

/// The entries of `left` that `right` lacks or has otherwise.
fn differing<'a, K: Ord + Copy, V: PartialEq + Copy>(
    left: &'a BTreeMap<K, V>,
    right: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, V)> + 'a {
    left.iter().filter(|(key, value)| right.get(key) != Some(value)).map(|(key, value)| (*key, *value))
}

/// Makes the device and its entries as wanted.
pub(crate) async fn reconcile(
    netlink: &Netlink,
    node_ip: Ipv4Addr,
    pod_cidr: Subnet,
    wanted: &Entries,
) -> Result<(), OverlayError> {
    let device = device(netlink, node_ip).await?;
    address(netlink, &device, pod_cidr.address()).await?;
    for action in plan(wanted, &Entries::observed(netlink, &device).await?) {
        debug!(?action, "changing the overlay");
        perform(netlink, &device, &action).await?;
    }
    Ok(())
}

async fn perform(netlink: &Netlink, device: &Link, action: &Action) -> Result<(), NetlinkError> {
    let route = |destination, via| Route { destination, via: Some(via), link: device.index };
    match *action {
        Action::SetForward { mac, endpoint } => netlink.set_forward(device, mac, endpoint).await,
        Action::SetNeighbour { address, mac } => netlink.set_neighbour(device, address, mac).await,
        Action::SetRoute { destination, via } => netlink.set_route(&route(destination, via)).await,
        Action::RemoveRoute { destination, via } => netlink.remove_route(&route(destination, via)).await,
        Action::RemoveNeighbour { address } => netlink.remove_neighbour(device, address).await,
        Action::RemoveForward { mac, endpoint } => netlink.remove_forward(device, mac, endpoint).await,
    }
}

/// The link that carries this node's address.
pub(crate) async fn uplink(netlink: &Netlink, node_ip: Ipv4Addr) -> Result<Link, OverlayError> {
    let addresses = netlink.addresses().await?;
    let index = addresses.iter().find(|(_, address, _)| *address == node_ip).map(|(index, _, _)| *index);
    let link = netlink.links().await?.into_iter().find(|link| Some(link.index) == index);
    link.ok_or(OverlayError::NoUplink(node_ip))
}

/// The VXLAN device, made anew when it is absent or not ours any more.
async fn device(netlink: &Netlink, node_ip: Ipv4Addr) -> Result<Link, OverlayError> {
    let uplink = uplink(netlink, node_ip).await?;
    let mac = Mac::derived(MAC_PREFIX, node_ip);
    let mtu = uplink.mtu.saturating_sub(OVERHEAD_BYTES);
    let existing = netlink.find(DEVICE).await?;
    let device = match existing {
        Some(link) if link.mac == Some(mac) && link.mtu == mtu && fits(&link, node_ip, uplink.index) => link,
        other => {
            if other.is_some() {
                netlink.remove(DEVICE).await?;
            }
            info!(uplink = %uplink.name, %node_ip, mtu, "making the overlay device");
            let message = LinkVxlan::new(DEVICE, NETWORK_ID)
                .dev(uplink.index)
                .local(node_ip)
                .port(PORT)
                .learning(false)
                .address(mac.0.to_vec())
                .mtu(mtu)
                .build();
            netlink.create(DEVICE, message).await?
        }
    };
    // A peer's node may answer from an address that is not routed through the overlay: loose, not strict.
    sysctl::set_interface(DEVICE, "rp_filter", "2")?;
    if !device.up {
        netlink.bring_up(&device).await?;
    }
    Ok(device)
}

fn fits(link: &Link, node_ip: Ipv4Addr, uplink: u32) -> bool {
    let Some(InfoData::Vxlan(infos)) = &link.data else { return false };
    let has = |wanted: InfoVxlan| infos.contains(&wanted);
    has(InfoVxlan::Id(NETWORK_ID))
        && has(InfoVxlan::Local(node_ip))
        && has(InfoVxlan::Link(uplink))
        && has(InfoVxlan::Port(PORT))
}

/// The device has one address, the first of the node's pod network: peers see it as the source of what
/// the node itself sends.
async fn address(netlink: &Netlink, device: &Link, wanted: Ipv4Addr) -> Result<(), NetlinkError> {
    for (index, address, prefix_length) in netlink.addresses().await? {
        if index == device.index && address != wanted {
            netlink.remove_address(device, address, prefix_length).await?;
        }
    }
    netlink.add_address(device, wanted, 32).await
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn peers(text: &str) -> Vec<Peer> {
        text.split_whitespace()
            .map(|peer| {
                let (ip, cidr) = peer.split_once('=').expect("ip=cidr");
                Peer {
                    internal_ip: ip.parse().expect("an address"),
                    pod_cidr: cidr.parse().expect("a network"),
                }
            })
            .collect()
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
    fn check(before: &str, after: &str, expected: Expect) {
        let (before, after) = (peers(before), peers(after));
        let actions = plan(&Entries::wanted(after), &Entries::wanted(before));
        let lines: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_new_peer_gets_its_route_last() {
        check(
            "",
            "172.30.0.12=10.50.2.0/24",
            expect![[r"
                SetForward { mac: 02:76:ac:1e:00:0c, endpoint: 172.30.0.12 }
                SetNeighbour { address: 10.50.2.0, mac: 02:76:ac:1e:00:0c }
                SetRoute { destination: Subnet { address: 10.50.2.0, prefix_length: 24 }, via: 10.50.2.0 }"]],
        );
    }

    #[test]
    fn a_peer_that_left_loses_its_route_first() {
        check(
            "172.30.0.12=10.50.2.0/24 172.30.0.13=10.50.3.0/24",
            "172.30.0.13=10.50.3.0/24",
            expect![[r"
                RemoveRoute { destination: Subnet { address: 10.50.2.0, prefix_length: 24 }, via: 10.50.2.0 }
                RemoveNeighbour { address: 10.50.2.0 }
                RemoveForward { mac: 02:76:ac:1e:00:0c, endpoint: 172.30.0.12 }"]],
        );
    }

    #[test]
    fn a_pod_network_that_moved_to_another_node_is_replaced_in_place() {
        check(
            "172.30.0.12=10.50.2.0/24",
            "172.30.0.14=10.50.2.0/24",
            expect![[r"
                RemoveForward { mac: 02:76:ac:1e:00:0c, endpoint: 172.30.0.12 }
                SetForward { mac: 02:76:ac:1e:00:0e, endpoint: 172.30.0.14 }
                SetNeighbour { address: 10.50.2.0, mac: 02:76:ac:1e:00:0e }"]],
        );
    }

    #[test]
    fn what_is_right_is_left_alone() {
        check("172.30.0.12=10.50.2.0/24", "172.30.0.12=10.50.2.0/24", expect![""]);
    }
}
