//! An IPv4 network in CIDR notation.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An IPv4 network such as `10.244.1.0/24`. The host bits of its address are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix_length: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubnetError {
    #[error("{0:?} is not an IPv4 network in CIDR notation, such as 10.244.1.0/24")]
    Syntax(String),
    #[error("{text:?} has host bits set, the network is {network}")]
    HostBits { text: String, network: Subnet },
}

impl Subnet {
    /// The network of this size that holds `address`.
    ///
    /// `prefix_length` above 32 counts as 32.
    pub fn of(address: Ipv4Addr, prefix_length: u8) -> Self {
        let prefix_length = prefix_length.min(32);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix_length)), prefix_length }
    }

    /// The first address: the network itself.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    pub fn prefix_length(self) -> u8 {
        self.prefix_length
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_length) == self.address.to_bits()
    }

    /// The last address: broadcast, on a shared link.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !mask(self.prefix_length))
    }

    /// The address `offset` places after the first one, when it is inside.
    pub fn nth(self, offset: u32) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from_bits(self.address.to_bits().checked_add(offset)?);
        self.contains(address).then_some(address)
    }
}

fn mask(prefix_length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_length)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let parsed = text.split_once('/').and_then(|(address, length)| {
            let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
            Some((address.parse::<Ipv4Addr>().ok()?, length))
        });
        let (address, length) = parsed.ok_or_else(|| SubnetError::Syntax(text.to_owned()))?;
        let network = Self::of(address, length);
        if network.address == address {
            Ok(network)
        } else {
            Err(SubnetError::HostBits { text: text.to_owned(), network })
        }
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "expect! makes values")]
    fn check(text: &str, expected: Expect) {
        let outcome = match text.parse::<Subnet>() {
            Ok(subnet) => format!("{subnet} last {}", subnet.last()),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&outcome);
    }

    #[test]
    fn parses_only_networks() {
        check("10.244.1.0/24", expect!["10.244.1.0/24 last 10.244.1.255"]);
        check("0.0.0.0/0", expect!["0.0.0.0/0 last 255.255.255.255"]);
        check("10.0.0.1/32", expect!["10.0.0.1/32 last 10.0.0.1"]);
        check(
            "10.244.1.7/24",
            expect![[r#""10.244.1.7/24" has host bits set, the network is 10.244.1.0/24"#]],
        );
        check(
            "10.244.1.0",
            expect![[r#""10.244.1.0" is not an IPv4 network in CIDR notation, such as 10.244.1.0/24"#]],
        );
        check(
            "10.244.1.0/33",
            expect![[r#""10.244.1.0/33" is not an IPv4 network in CIDR notation, such as 10.244.1.0/24"#]],
        );
    }

    #[test]
    fn knows_its_members() {
        let subnet: Subnet = "10.1.2.0/30".parse().expect("a network");
        assert!(subnet.contains(Ipv4Addr::new(10, 1, 2, 3)));
        assert!(!subnet.contains(Ipv4Addr::new(10, 1, 2, 4)));
        assert_eq!(subnet.nth(3), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(subnet.nth(4), None);
    }
}
