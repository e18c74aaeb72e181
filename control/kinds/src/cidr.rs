//! Ranges of addresses: `10.0.0.0/8`, `2001:db8::/64`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// What is said of a text that is none.
pub const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let first: IpAddr = address.parse().ok()?;
        let good = !bits.is_empty()
            && bits.bytes().all(|c| c.is_ascii_digit())
            && (bits == "0" || !bits.starts_with('0'));
        let prefix_bits: u32 = bits.parse().ok().filter(|_| good)?;
        (prefix_bits <= width(first)).then_some(Self { first, prefix_bits })
    }

    pub fn is_v4(self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether the address is in here.
    pub fn holds(self, address: IpAddr) -> bool {
        self.is_v4() == address.is_ipv4() && self.start_of(address) == self.start_of(self.first)
    }

    /// The addresses that hosts may have, as numbers: not the network's own, nor that of all of its hosts (IPv4). None of
    /// a network without room for any.
    pub fn hosts(self) -> Option<RangeInclusive<u128>> {
        let free_bits = width(self.first) - self.prefix_bits;
        let network = self.start_of(self.first).checked_shl(free_bits).unwrap_or_default();
        let span = 1_u128.checked_shl(free_bits).map_or(u128::MAX, |size| size - 1);
        let last = network + span - u128::from(self.is_v4() && span > 0);
        (network < last).then(|| network + 1..=last)
    }

    /// The address of a number, in this family.
    pub fn address(self, number: u128) -> IpAddr {
        match u32::try_from(number) {
            Ok(bits) if self.is_v4() => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            Ok(_) | Err(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }
    }

    /// Whether `part` is in here, and something else too.
    pub(crate) fn strictly_holds(self, part: Self) -> bool {
        let same_family = self.is_v4() == part.is_v4();
        same_family
            && part.prefix_bits > self.prefix_bits
            && self.start_of(part.first) == self.start_of(self.first)
    }

    /// The bits of an address that say in which range of this size it is.
    fn start_of(self, address: IpAddr) -> u128 {
        number(address).checked_shr(width(address) - self.prefix_bits).unwrap_or_default()
    }
}

/// The address as a number.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_room_for_hosts() {
        let hosts = |text: &str| {
            let cidr = Cidr::parse(text).expect("a range");
            let hosts = cidr.hosts()?;
            Some(format!("{} {}", cidr.address(*hosts.start()), cidr.address(*hosts.end())))
        };
        assert_eq!(hosts("10.96.0.0/12").as_deref(), Some("10.96.0.1 10.111.255.254"));
        assert_eq!(hosts("10.0.0.4/30").as_deref(), Some("10.0.0.5 10.0.0.6"));
        assert_eq!(hosts("10.0.0.4/31"), None);
        assert_eq!(hosts("10.0.0.4/32"), None);
        assert_eq!(hosts("fd00::/112").as_deref(), Some("fd00::1 fd00::ffff"));
        assert_eq!(hosts("::1:0:0/96").as_deref(), Some("::1:0:1 ::1:ffff:ffff"));
        assert_eq!(hosts("0.0.0.0/0").as_deref(), Some("0.0.0.1 255.255.255.254"));
        let cidr = Cidr::parse("10.96.0.0/12").expect("a range");
        assert!(cidr.holds("10.111.0.9".parse().expect("an address")));
        assert!(!cidr.holds("10.112.0.1".parse().expect("an address")));
        assert!(!cidr.holds("::1".parse().expect("an address")));
    }

    #[test]
    fn ranges_are_read_and_hold_smaller_ones() {
        let cidr = |text: &str| Cidr::parse(text).expect("a range");
        for wrong in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "x/8", "::/129"]
        {
            assert_eq!(Cidr::parse(wrong), None, "{wrong}");
        }
        assert!(cidr("10.0.0.0/8").strictly_holds(cidr("10.1.0.0/16")));
        assert!(cidr("0.0.0.0/0").strictly_holds(cidr("192.168.1.1/32")));
        assert!(cidr("::/0").strictly_holds(cidr("2001:db8::/64")));
        assert!(!cidr("10.0.0.0/8").strictly_holds(cidr("10.0.0.0/8")));
        assert!(!cidr("10.0.0.0/8").strictly_holds(cidr("11.0.0.0/16")));
        assert!(!cidr("::/0").strictly_holds(cidr("10.0.0.0/8")));
    }
}
