//! The thin shell over rtnetlink: every message that this crate sends to the kernel's network stack.
//!
//! Each method is idempotent: what is already so is success, and so is removing what is not there.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use thiserror::Error;

use super::Subnet;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

/// Why the kernel did not do what it was asked.
#[derive(Debug, Error)]
pub enum NetlinkError {
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    #[error("cannot {action}")]
    Refused { action: String, source: io::Error },
    #[error("the netlink connection ended early")]
    Ended,
    #[error("there is no network interface called {0}")]
    NoLink(String),
}

/// One conversation with the network stack of the calling thread's namespace.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: Handle,
}

/// A network interface, as far as we look.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) controller: Option<u32>,
    /// What is particular to its kind.
    pub(crate) data: Option<InfoData>,
}

/// Opens a conversation, does `work`, closes it. Nothing is spawned: dropping the future ends both.
pub(crate) async fn connected<T, E, F>(work: impl FnOnce(Netlink) -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: From<NetlinkError>,
{
    let (connection, handle, _notifications) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
    let work = work(Netlink { handle });
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = connection => Err(NetlinkError::Ended.into()),
    }
}

impl Netlink {
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found {
            Ok(message) => Ok(message.map(|message| Link::read(&message))),
            Err(error) => match refusal(error) {
                source if source.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
                source => Err(NetlinkError::Refused { action: format!("look up {name}"), source }),
            },
        }
    }

    pub(crate) async fn link(&self, name: &str) -> Result<Link, NetlinkError> {
        self.find(name).await?.ok_or_else(|| NetlinkError::NoLink(name.to_owned()))
    }

    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(refused(|| "list links".into()))?;
        Ok(messages.iter().map(Link::read).collect())
    }

    /// Makes a link; one of that name is an error, as it may be another.
    pub(crate) async fn create(&self, name: &str, message: LinkMessage) -> Result<Link, NetlinkError> {
        self.handle.link().add(message).execute().await.map_err(refused(|| format!("create {name}")))?;
        self.link(name).await
    }

    pub(crate) async fn bring_up(&self, link: &Link) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        self.change(&link.name, message).await
    }

    pub(crate) async fn change(&self, name: &str, message: LinkMessage) -> Result<(), NetlinkError> {
        self.handle.link().change(message).execute().await.map_err(refused(|| format!("change {name}")))
    }

    /// Removes a link, and with it its peer, addresses and routes.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), NetlinkError> {
        let Some(link) = self.find(name).await? else { return Ok(()) };
        let removed = self.handle.link().del(link.index).execute().await;
        unless(removed, &[nix::libc::ENODEV], || format!("remove {name}"))
    }

    /// All IPv4 addresses: the index of their link, the address, its prefix length.
    pub(crate) async fn addresses(&self) -> Result<Vec<(u32, Ipv4Addr, u8)>, NetlinkError> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(refused(|| "list addresses".into()))?;
        Ok(messages
            .iter()
            .filter_map(|message| {
                message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => {
                        Some((message.header.index, *address, message.header.prefix_len))
                    }
                    _ => None,
                })
            })
            .collect())
    }

    pub(crate) async fn add_address(
        &self,
        link: &Link,
        address: Ipv4Addr,
        prefix_length: u8,
    ) -> Result<(), NetlinkError> {
        let added = self.handle.address().add(link.index, address.into(), prefix_length).execute().await;
        unless(added, &[nix::libc::EEXIST], || format!("give {address} to {}", link.name))
    }

    pub(crate) async fn remove_address(
        &self,
        link: &Link,
        address: Ipv4Addr,
        prefix_length: u8,
    ) -> Result<(), NetlinkError> {
        let message = rtnetlink::AddressMessageBuilder::<Ipv4Addr>::new()
            .index(link.index)
            .address(address, prefix_length)
            .build();
        let removed = self.handle.address().del(message).execute().await;
        unless(removed, &[nix::libc::EADDRNOTAVAIL], || format!("take {address} from {}", link.name))
    }

    /// Adds a route or replaces the one to the same destination.
    pub(crate) async fn set_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let set = self.handle.route().add(route.message()).replace().execute().await;
        set.map_err(refused(|| format!("route {}", route.destination)))
    }

    pub(crate) async fn remove_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let removed = self.handle.route().del(route.message()).execute().await;
        unless(removed, &[nix::libc::ESRCH], || format!("remove the route to {}", route.destination))
    }

    /// The routes of the main table that leave by this link.
    pub(crate) async fn routes(&self, link: &Link) -> Result<Vec<Route>, NetlinkError> {
        let every = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<RouteMessage> = self
            .handle
            .route()
            .get(every)
            .execute()
            .try_collect()
            .await
            .map_err(refused(|| "list routes".into()))?;
        Ok(messages.iter().filter_map(Route::read).filter(|route| route.link == link.index).collect())
    }

    /// Fixes the Ethernet address behind an IP address.
    pub(crate) async fn set_neighbour(
        &self,
        link: &Link,
        address: Ipv4Addr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.neighbours().add(link.index, address.into()).link_layer_address(&mac.0);
        let set = request.state(NeighbourState::Permanent).replace().execute().await;
        set.map_err(refused(|| format!("fix the neighbour {address}")))
    }

    /// Tells a VXLAN device behind which endpoint an Ethernet address is.
    pub(crate) async fn set_forward(
        &self,
        link: &Link,
        mac: Mac,
        endpoint: Ipv4Addr,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.neighbours().add_bridge(link.index, &mac.0).destination(endpoint.into());
        // Without NTF_SELF the kernel looks for a bridge above the device and refuses.
        let set = request.flags(NeighbourFlags::Own).replace().execute().await;
        set.map_err(refused(|| format!("forward {mac} to {endpoint}")))
    }

    /// The permanent neighbours of a link.
    pub(crate) async fn neighbours(&self, link: &Link) -> Result<Vec<(Ipv4Addr, Mac)>, NetlinkError> {
        let messages = self.neighbour_messages(link, AddressFamily::Inet).await?;
        Ok(messages
            .iter()
            .filter(|message| message.header.state == NeighbourState::Permanent)
            .filter_map(neighbour_parts)
            .collect())
    }

    /// The forwarding entries of a VXLAN device: Ethernet address and endpoint.
    pub(crate) async fn forwards(&self, link: &Link) -> Result<Vec<(Mac, Ipv4Addr)>, NetlinkError> {
        let messages = self.neighbour_messages(link, AddressFamily::Bridge).await?;
        Ok(messages.iter().filter_map(neighbour_parts).map(|(endpoint, mac)| (mac, endpoint)).collect())
    }

    pub(crate) async fn remove_neighbour(&self, link: &Link, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = link.index;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        let removed = self.handle.neighbours().del(message).execute().await;
        unless(removed, &[nix::libc::ENOENT], || format!("forget the neighbour {address}"))
    }

    pub(crate) async fn remove_forward(
        &self,
        link: &Link,
        mac: Mac,
        endpoint: Ipv4Addr,
    ) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = link.index;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(endpoint)));
        let removed = self.handle.neighbours().del(message).execute().await;
        unless(removed, &[nix::libc::ENOENT], || format!("stop forwarding {mac} to {endpoint}"))
    }

    async fn neighbour_messages(
        &self,
        link: &Link,
        family: AddressFamily,
    ) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        let request = self.handle.neighbours().get().set_address_family(family);
        let messages: Vec<NeighbourMessage> = request
            .execute()
            .try_collect()
            .await
            .map_err(refused(|| format!("list the neighbours of {}", link.name)))?;
        Ok(messages.into_iter().filter(|message| message.header.ifindex == link.index).collect())
    }
}

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Subnet,
    pub(crate) via: Option<Ipv4Addr>,
    /// The index of the link by which it leaves.
    pub(crate) link: u32,
}

impl Route {
    fn message(&self) -> RouteMessage {
        use rtnetlink::packet_route::route::RouteScope;
        let builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(self.destination.address(), self.destination.prefix_length())
            .output_interface(self.link);
        match self.via {
            // The gateway's own address lies in no network of the link: "onlink" says that it is there.
            Some(gateway) => builder.gateway(gateway).onlink().build(),
            None => builder.scope(RouteScope::Link).build(),
        }
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let main = rtnetlink::packet_route::route::RouteHeader::RT_TABLE_MAIN;
        if message.header.table != main || message.header.address_family != AddressFamily::Inet {
            return None;
        }
        let mut destination = Ipv4Addr::UNSPECIFIED;
        let (mut via, mut link) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
                RouteAttribute::Oif(index) => link = Some(*index),
                _ => {}
            }
        }
        let destination = Subnet::of(destination, message.header.destination_prefix_length);
        Some(Self { destination, via, link: link? })
    }
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            controller: None,
            data: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = Mac::read(bytes),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    link.data = infos.iter().find_map(|info| match info {
                        LinkInfo::Data(data) => Some(data.clone()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

impl Mac {
    /// A locally administered address made of two fixed bytes and an IPv4 address: whoever knows the one
    /// knows the other.
    pub(crate) const fn derived(prefix: [u8; 2], address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([prefix[0], prefix[1], a, b, c, d])
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

fn neighbour_parts(message: &NeighbourMessage) -> Option<(Ipv4Addr, Mac)> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(*found),
            // In the bridge family the endpoint's address is not parsed for us.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                address = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::read(bytes),
            _ => {}
        }
    }
    Some((address?, mac?))
}

fn unless(
    outcome: Result<(), rtnetlink::Error>,
    fine: &[i32],
    action: impl FnOnce() -> String,
) -> Result<(), NetlinkError> {
    let Err(error) = outcome else { return Ok(()) };
    let source = refusal(error);
    if source.raw_os_error().is_some_and(|errno| fine.contains(&errno)) {
        return Ok(());
    }
    Err(NetlinkError::Refused { action: action(), source })
}

fn refused(action: impl FnOnce() -> String) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    |error| NetlinkError::Refused { action: action(), source: refusal(error) }
}

fn refusal(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
