//! Which addresses and ports there are for services, and how a range is divided: its lower part is for those who name
//! theirs, its upper one for all others, as long as it lasts (KEP-3070, KEP-3668).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use kinds::cidr::Cidr;
use kinds::core::service::{IPV4, IPV6};
use thiserror::Error;

/// The part for those who name theirs: a sixteenth of the addresses, within these bounds.
const LOWER_ADDRESSES: RangeInclusive<u128> = 16..=256;
/// Of ports a thirty-second.
const LOWER_PORTS: RangeInclusive<u16> = 16..=128;
const PORTS_PER_LOWER: u16 = 32;

/// The addresses and ports that services are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNetwork {
    /// One of a family; the first is that of services that do not say theirs.
    pub(crate) ranges: Vec<Cidr>,
    pub(crate) node_ports: RangeInclusive<u16>,
}

/// Why texts say no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ServiceNetworkError {
    #[error("{0:?} is no range of addresses like 10.96.0.0/12")]
    Cidr(String),
    #[error("{0} has no room for services")]
    Small(String),
    #[error("there may be one range, or one of IPv4 and one of IPv6")]
    Families,
    #[error("{0:?} is no range of ports like 30000-32767")]
    Ports(String),
}

impl ServiceNetwork {
    /// From `10.96.0.0/12` or `10.96.0.0/12,fd00::/112`, and `30000-32767`.
    ///
    /// # Errors
    /// One of them says nothing of the sort.
    pub fn parse(ranges: &str, node_ports: &str) -> Result<Self, ServiceNetworkError> {
        let parsed = |text: &str| {
            let range = Cidr::parse(text.trim()).ok_or_else(|| ServiceNetworkError::Cidr(text.to_owned()))?;
            range.hosts().ok_or_else(|| ServiceNetworkError::Small(text.to_owned())).map(|_| range)
        };
        let ranges = ranges.split(',').map(parsed).collect::<Result<Vec<Cidr>, _>>()?;
        let has_two_families = |ranges: &[Cidr]| ranges[0].is_v4() != ranges[1].is_v4();
        if ranges.len() > 2 || ranges.len() == 2 && !has_two_families(&ranges) {
            return Err(ServiceNetworkError::Families);
        }
        let wrong = || ServiceNetworkError::Ports(node_ports.to_owned());
        let (first, last) = node_ports.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        let node_ports = port(first).ok_or_else(wrong)?..=port(last).ok_or_else(wrong)?;
        if node_ports.is_empty() {
            return Err(wrong());
        }
        Ok(Self { ranges, node_ports })
    }

    /// The address of the service `kubernetes`: the first of the first range.
    pub fn first_address(&self) -> Option<IpAddr> {
        let range = self.ranges.first()?;
        Some(range.address(*range.hosts()?.start()))
    }

    pub(crate) fn families(&self) -> Vec<&'static str> {
        self.ranges.iter().map(|range| if range.is_v4() { IPV4 } else { IPV6 }).collect()
    }
}

/// 10.96.0.0/12 and 30000-32767.
impl Default for ServiceNetwork {
    fn default() -> Self {
        Self { ranges: Cidr::parse("10.96.0.0/12").into_iter().collect(), node_ports: 30_000..=32_767 }
    }
}

/// The parts of a range, in the order in which chance takes of them.
pub(super) fn bands(range: Cidr) -> Vec<RangeInclusive<u128>> {
    let Some(hosts) = range.hosts() else { return Vec::new() };
    let (first, last) = (*hosts.start(), *hosts.end());
    let size = last - first;
    let lower = (size / 16).clamp(*LOWER_ADDRESSES.start(), *LOWER_ADDRESSES.end());
    match size > lower {
        true => vec![first + lower..=last, first..=first + lower - 1],
        false => vec![hosts],
    }
}

pub(super) fn port_bands(ports: &RangeInclusive<u16>) -> Vec<RangeInclusive<u16>> {
    let (first, last) = (*ports.start(), *ports.end());
    let size = last - first;
    let lower = (size / PORTS_PER_LOWER).clamp(*LOWER_PORTS.start(), *LOWER_PORTS.end());
    match size > lower {
        true => vec![first + lower..=last, first..=first + lower - 1],
        false => vec![ports.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(ranges: &str, ports: &str, expected: Expect) {
        let told = match ServiceNetwork::parse(ranges, ports) {
            Ok(network) => format!(
                "{} {:?}",
                network.first_address().map(|address| address.to_string()).unwrap_or_default(),
                network.families()
            ),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn texts_say_the_network() {
        check("10.96.0.0/12", "30000-32767", expect![[r#"10.96.0.1 ["IPv4"]"#]]);
        check("fd00::/112, 10.0.0.0/24", "1-2", expect![[r#"fd00::1 ["IPv6", "IPv4"]"#]]);
        check(
            "10.0.0.0/24,10.1.0.0/24",
            "1-2",
            expect!["there may be one range, or one of IPv4 and one of IPv6"],
        );
        check("10.0.0.0", "1-2", expect![[r#""10.0.0.0" is no range of addresses like 10.96.0.0/12"#]]);
        check("10.0.0.0/32", "1-2", expect!["10.0.0.0/32 has no room for services"]);
        check("10.0.0.0/24", "2-1", expect![[r#""2-1" is no range of ports like 30000-32767"#]]);
        check("10.0.0.0/24", "0-1", expect![[r#""0-1" is no range of ports like 30000-32767"#]]);
    }

    #[test]
    fn the_lower_part_is_left_for_those_who_ask() {
        let bands = |text: &str| {
            let range = Cidr::parse(text).expect("a range");
            let shown = |band: RangeInclusive<u128>| {
                format!("{}-{}", range.address(*band.start()), range.address(*band.end()))
            };
            bands(range).into_iter().map(shown).collect::<Vec<_>>().join(" ")
        };
        expect!["10.96.1.1-10.111.255.254 10.96.0.1-10.96.1.0"].assert_eq(&bands("10.96.0.0/12"));
        expect!["10.0.0.17-10.0.0.254 10.0.0.1-10.0.0.16"].assert_eq(&bands("10.0.0.0/24"));
        expect!["10.0.0.1-10.0.0.14"].assert_eq(&bands("10.0.0.0/28"));
        assert_eq!(port_bands(&(30_000..=32_767)), [30_086..=32_767, 30_000..=30_085]);
        assert_eq!(port_bands(&(1..=3)), [1..=3]);
    }
}
