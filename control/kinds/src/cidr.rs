//! Ranges of addresses: `10.0.0.0/8`, `2001:db8::/64`.

use std::net::IpAddr;

pub(crate) const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    first: IpAddr,
    prefix_bits: u32,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let first: IpAddr = address.parse().ok()?;
        let good = !bits.is_empty()
            && bits.bytes().all(|c| c.is_ascii_digit())
            && (bits == "0" || !bits.starts_with('0'));
        let prefix_bits: u32 = bits.parse().ok().filter(|_| good)?;
        (prefix_bits <= width(first)).then_some(Self { first, prefix_bits })
    }

    pub(crate) fn is_v4(self) -> bool {
        self.first.is_ipv4()
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
        let bits = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        bits.checked_shr(width(address) - self.prefix_bits).unwrap_or_default()
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

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
