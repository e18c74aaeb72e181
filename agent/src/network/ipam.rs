//! Which address of the node's pod network belongs to which container.
//!
//! The state is one small file, replaced atomically, under a lock that is shared by the CNI plugin's processes and the
//! agent. It survives whoever uses it, but not the machine, as the network namespaces do: nothing is flushed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Subnet;
use crate::shim::records;

/// The first place that is given: 0 is the node's own overlay address, 1 is kept for a gateway.
const FIRST_OFFSET: u32 = 2;

/// Why an address cannot be given or taken back.
#[derive(Debug, Error)]
pub(crate) enum IpamError {
    #[error("cannot use the address state in {}", path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("the address state in {} is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("no address is left in {subnet}: {held} are in use")]
    Exhausted { subnet: Subnet, held: usize },
}

/// Who holds an address: one interface of one container (CNI's own notion of identity).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) container: String,
    pub(crate) interface: String,
    /// The container's network namespace. When it is gone, so is the need for the address.
    pub(crate) namespace: PathBuf,
}

/// What is given. Pure; [`Ipam`] keeps it on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Allocations {
    /// The address given last: the next one comes after it, so that an address rests before it is reused.
    last: Option<Ipv4Addr>,
    held: BTreeMap<Ipv4Addr, Holder>,
}

impl Allocations {
    fn of(&self, container: &str, interface: &str) -> Option<Ipv4Addr> {
        let mut held = self.held.iter();
        held.find(|(_, holder)| holder.container == container && holder.interface == interface)
            .map(|(address, _)| *address)
    }

    fn allocate(&mut self, subnet: Subnet, holder: Holder) -> Option<Ipv4Addr> {
        let size = subnet.last().to_bits() - subnet.address().to_bits();
        let first = FIRST_OFFSET;
        let places = size.checked_sub(first)?;
        let after_last = self
            .last
            .filter(|last| subnet.contains(*last))
            .map_or(first, |last| last.to_bits() - subnet.address().to_bits() + 1);
        let start = after_last.saturating_sub(first);
        // The last address, broadcast elsewhere, is not given.
        let address = (0..places)
            .filter_map(|step| subnet.nth(first + (start + step) % places))
            .find(|address| !self.held.contains_key(address))?;
        self.held.insert(address, holder);
        self.last = Some(address);
        Some(address)
    }

    fn release(&mut self, container: &str, interface: &str) -> Vec<Ipv4Addr> {
        let ours = |holder: &Holder| holder.container == container && holder.interface == interface;
        self.release_if(|holder| ours(holder))
    }

    fn release_if(&mut self, gone: impl Fn(&Holder) -> bool) -> Vec<Ipv4Addr> {
        let released = self.held.iter().filter(|(_, holder)| gone(holder)).map(|(address, _)| *address);
        let released: Vec<Ipv4Addr> = released.collect();
        self.held.retain(|_, holder| !gone(holder));
        released
    }
}

/// The addresses of one node, kept in one directory.
pub(crate) struct Ipam {
    path: PathBuf,
    allocations: Allocations,
    /// Holds the lock until dropped.
    _lock: Flock<File>,
}

impl Ipam {
    /// Takes the lock and reads the state. Waits for other processes that hold it: they are brief.
    pub(crate) fn open(directory: &Path) -> Result<Self, IpamError> {
        let failed = |source| IpamError::State { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("lock"))
            .map_err(failed)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
        let path = directory.join("addresses.json");
        let allocations = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| IpamError::Damaged { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Allocations::default(),
            Err(source) => return Err(failed(source)),
        };
        Ok(Self { path, allocations, _lock: lock })
    }

    /// The address that this container's interface holds.
    pub(crate) fn held_by(&self, container: &str, interface: &str) -> Option<Ipv4Addr> {
        self.allocations.of(container, interface)
    }

    /// Gives an address; the same one when asked again, so that a repeated ADD changes nothing.
    pub(crate) fn allocate(&mut self, subnet: Subnet, holder: Holder) -> Result<Ipv4Addr, IpamError> {
        match self.allocations.of(&holder.container, &holder.interface) {
            Some(address) if subnet.contains(address) => return Ok(address),
            Some(_) | None => {}
        }
        self.allocations.release(&holder.container, &holder.interface);
        if self.allocations.held.len() + 8 > usize::try_from(subnet_size(subnet)).unwrap_or(usize::MAX) {
            self.allocations.release_if(|holder| !holder.namespace.exists());
        }
        let address = self
            .allocations
            .allocate(subnet, holder)
            .ok_or(IpamError::Exhausted { subnet, held: self.allocations.held.len() })?;
        self.save()?;
        Ok(address)
    }

    /// Takes the address back, if one is held.
    pub(crate) fn release(&mut self, container: &str, interface: &str) -> Result<Vec<Ipv4Addr>, IpamError> {
        let released = self.allocations.release(container, interface);
        if !released.is_empty() {
            self.save()?;
        }
        Ok(released)
    }

    /// Takes back the addresses of containers whose network namespace is gone: after a reboot, or when the
    /// runtime was removed without calling the plugin.
    pub(crate) fn release_gone(&mut self) -> Result<Vec<Ipv4Addr>, IpamError> {
        let released = self.allocations.release_if(|holder| !holder.namespace.exists());
        if !released.is_empty() {
            self.save()?;
        }
        Ok(released)
    }

    fn save(&self) -> Result<(), IpamError> {
        records::write(&self.path, &self.allocations)
            .map_err(|source| IpamError::State { path: self.path.clone(), source })
    }
}

fn subnet_size(subnet: Subnet) -> u32 {
    (subnet.last().to_bits() - subnet.address().to_bits()).saturating_sub(FIRST_OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(container: &str) -> Holder {
        Holder {
            container: container.into(),
            interface: "eth0".into(),
            namespace: "/proc/self/ns/net".into(),
        }
    }

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("a network")
    }

    #[test]
    fn addresses_rest_before_they_are_given_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let net = subnet("10.1.2.0/29");
        let mut given = Vec::new();
        for container in ["a", "b", "a2", "b2", "c"] {
            let mut ipam = Ipam::open(directory.path()).expect("the state opens");
            given.push(ipam.allocate(net, holder(container)).expect("an address").octets()[3]);
            if container == "a" {
                ipam.release("a", "eth0").expect("released");
            }
        }
        assert_eq!(given, [2, 3, 4, 5, 6], "not .0, .1 or the last, .7");
    }

    #[test]
    fn a_repeated_add_gets_the_same_address_and_a_full_network_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let net = subnet("10.1.2.0/30");
        let mut ipam = Ipam::open(directory.path()).expect("the state opens");
        let first = ipam.allocate(net, holder("a")).expect("an address");
        assert_eq!(ipam.allocate(net, holder("a")).expect("the same"), first);
        let refused = ipam.allocate(net, holder("b")).expect_err("full");
        assert_eq!(refused.to_string(), "no address is left in 10.1.2.0/30: 1 are in use");
        ipam.release("a", "eth0").expect("released");
        ipam.release("a", "eth0").expect("released twice");
        assert_eq!(ipam.allocate(net, holder("b")).expect("the freed one"), first);
    }

    #[test]
    fn the_address_of_a_container_that_vanished_is_reclaimed() {
        let directory = tempfile::tempdir().expect("a directory");
        let net = subnet("10.1.2.0/30");
        let mut ipam = Ipam::open(directory.path()).expect("the state opens");
        let gone = Holder { namespace: "/run/netns/no-such-namespace".into(), ..holder("a") };
        ipam.allocate(net, gone).expect("an address");
        ipam.allocate(net, holder("b")).expect("the address of a is taken back");
        assert_eq!(ipam.held_by("a", "eth0"), None);
    }

    #[test]
    fn a_damaged_state_is_an_error_not_an_empty_one() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("addresses.json"), "{").expect("written");
        let error = Ipam::open(directory.path()).err().expect("refused").to_string();
        assert!(error.contains("is damaged"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_address_is_ever_held_twice(steps in proptest::collection::vec((0_u8..20, proptest::bool::ANY), 1..120)) {
            let net = subnet("10.1.2.0/28");
            let mut allocations = Allocations::default();
            let mut model: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
            for (who, add) in steps {
                let name = who.to_string();
                if add && !model.contains_key(&name) {
                    match allocations.allocate(net, holder(&name)) {
                        Some(address) => {
                            assert!(!model.values().any(|held| *held == address));
                            assert!(net.contains(address) && address != net.last() && address != net.address());
                            model.insert(name, address);
                        }
                        None => assert_eq!(model.len(), 13),
                    }
                } else if !add {
                    let released = allocations.release(&name, "eth0");
                    assert_eq!(released.first().copied(), model.remove(&name));
                }
            }
        }
    }
}
