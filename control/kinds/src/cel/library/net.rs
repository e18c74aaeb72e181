//! Addresses and ranges of addresses. IPv4 within IPv6 is refused, as in Kubernetes: it means two things.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::functions::{Overload, Ran, function, method};
use super::super::meter::{Failure, Meter};
use super::super::types::Pattern as P;
use super::super::value::Val;

pub(in super::super) static ALL: &[Overload] = &[
    function("ip", &[P::Text], P::Ip, |args, _| address(args[0].as_text()?).map(Val::Ip)),
    function("isIP", &[P::Text], P::Bool, |args, _| Ok(Val::Bool(address(args[0].as_text()?).is_ok()))),
    function("ip.isCanonical", &[P::Text], P::Bool, |args, _| {
        let text = args[0].as_text()?;
        Ok(Val::Bool(address(text)?.to_string() == text))
    }),
    function("string", &[P::Ip], P::Text, text),
    function("string", &[P::Cidr], P::Text, text),
    method("family", &[P::Ip], P::Int, |args, _| Ok(Val::Int(if ip(&args[0])?.is_ipv4() { 4 } else { 6 }))),
    method("isUnspecified", &[P::Ip], P::Bool, |args, _| Ok(Val::Bool(ip(&args[0])?.is_unspecified()))),
    method("isLoopback", &[P::Ip], P::Bool, |args, _| Ok(Val::Bool(ip(&args[0])?.is_loopback()))),
    method("isLinkLocalMulticast", &[P::Ip], P::Bool, |args, _| {
        Ok(Val::Bool(match ip(&args[0])? {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }))
    }),
    method("isLinkLocalUnicast", &[P::Ip], P::Bool, |args, _| Ok(Val::Bool(is_link_local(ip(&args[0])?)))),
    method("isGlobalUnicast", &[P::Ip], P::Bool, |args, _| {
        let ip = ip(&args[0])?;
        let is_special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip);
        Ok(Val::Bool(!is_special && ip != IpAddr::V4(Ipv4Addr::BROADCAST)))
    }),
    function("cidr", &[P::Text], P::Cidr, |args, _| network(args[0].as_text()?).map(Val::Cidr)),
    function("isCIDR", &[P::Text], P::Bool, |args, _| Ok(Val::Bool(network(args[0].as_text()?).is_ok()))),
    method("containsIP", &[P::Cidr, P::Ip], P::Bool, contains_ip),
    method("containsIP", &[P::Cidr, P::Text], P::Bool, contains_ip),
    method("containsCIDR", &[P::Cidr, P::Cidr], P::Bool, contains_network),
    method("containsCIDR", &[P::Cidr, P::Text], P::Bool, contains_network),
    method("ip", &[P::Cidr], P::Ip, |args, _| Ok(Val::Ip(cidr(&args[0])?.address))),
    method("prefixLength", &[P::Cidr], P::Int, |args, _| Ok(Val::Int(i64::from(cidr(&args[0])?.bits)))),
    method("masked", &[P::Cidr], P::Cidr, |args, _| Ok(Val::Cidr(cidr(&args[0])?.masked()))),
];

/// An address, and how many of its bits say which range it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self { address, bits: self.bits }
    }

    fn holds(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self { address, ..self }.masked() == self.masked()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn text<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    Ok(Val::text(super::conversions::printed(&args[0])))
}

fn ip(value: &Val<'_>) -> Result<IpAddr, Failure> {
    match value {
        Val::Ip(ip) => Ok(*ip),
        _ => Err(Failure::NoOverload),
    }
}

fn cidr(value: &Val<'_>) -> Result<Network, Failure> {
    match value {
        Val::Cidr(network) => Ok(*network),
        _ => Err(Failure::NoOverload),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn address(text: &str) -> Result<IpAddr, Failure> {
    let wrong = |why: &str| {
        Failure::said(format!("IP Address {text:?} parse error during conversion from string: {why}"))
    };
    let parsed = text.parse().map_err(|_| wrong("unable to parse IP"))?;
    match parsed {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(Failure::said(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn network(text: &str) -> Result<Network, Failure> {
    let wrong = || {
        Failure::said(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?})"
        ))
    };
    let (front, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address = address(front)?;
    let is_plain = bits.bytes().all(|it| it.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    match bits.parse().ok().filter(|bits| is_plain && *bits <= bits_max) {
        Some(bits) => Ok(Network { address, bits }),
        None => Err(wrong()),
    }
}

fn contains_ip<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let inner = match &args[1] {
        Val::Text(text) => address(text)?,
        value => ip(value)?,
    };
    Ok(Val::Bool(cidr(&args[0])?.holds(inner)))
}

fn contains_network<'a>(args: &[Val<'a>], _: &mut Meter) -> Ran<'a> {
    let inner = match &args[1] {
        Val::Text(text) => network(text)?,
        value => cidr(value)?,
    };
    let outer = cidr(&args[0])?;
    Ok(Val::Bool(outer.bits <= inner.bits && outer.holds(inner.address)))
}
