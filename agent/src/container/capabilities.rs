//! Capabilities: from names to what a process is left with.
//!
//! As with other runtimes a container's set is what it is bounded by, what it may have and what it has; nothing is
//! inheritable or ambient, so that a user other than root has only what a program's file gives.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::failure::{Explain as _, refusal};
use super::spec::{Capabilities, StartFailure};

/// In the kernel's order: the index is the number.
const NAMES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of all that there are.
pub(crate) fn every_capability() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// What the container may have of what this process has.
pub(super) fn wanted(of: &Capabilities) -> Result<CapabilitySet, StartFailure> {
    let own = capabilities(None).step("read the capabilities")?.permitted;
    match of {
        Capabilities::All => Ok(own),
        Capabilities::Only(names) => Ok(parse(names)? & own),
    }
}

/// Their names, for what depends on them.
pub(super) fn names(of: &Capabilities) -> Result<Vec<String>, StartFailure> {
    let set = wanted(of)?;
    let has = |number: usize| set.contains(CapabilitySet::from_bits_retain(1 << number));
    let names = NAMES.iter().enumerate().filter(|(number, _)| has(*number));
    Ok(names.map(|(_, name)| format!("CAP_{name}")).collect())
}

/// Nothing that is started from here on can have more.
pub(super) fn bound(wanted: CapabilitySet) -> Result<(), StartFailure> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !wanted.contains(one) => {
                remove_capability_from_bounding_set(one).step("bound the capabilities")?;
            }
            Ok(_) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).step("read the bounding set"),
        }
    }
    Ok(())
}

/// What this process itself is left with.
pub(super) fn keep(wanted: CapabilitySet) -> Result<(), StartFailure> {
    let sets = CapabilitySets { effective: wanted, permitted: wanted, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).step("set the capabilities")
}

/// The names that a set stands for, as containers name them.
pub(super) fn parse(names: &[String]) -> Result<CapabilitySet, StartFailure> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let known =
            name.strip_prefix("CAP_").and_then(|short| NAMES.iter().position(|known| *known == short));
        let number = known.ok_or_else(|| refusal(format!("unknown capability {name:?}")))?;
        set |= CapabilitySet::from_bits_retain(1 << number);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        let parsed = |name: &str| parse(&[name.to_owned()]).map_err(|failure| failure.message);
        assert_eq!(parsed("CAP_CHOWN"), Ok(CapabilitySet::CHOWN));
        assert_eq!(parsed("CAP_NET_ADMIN"), Ok(CapabilitySet::NET_ADMIN));
        assert_eq!(parsed("CAP_SETFCAP"), Ok(CapabilitySet::SETFCAP));
        assert_eq!(parsed("CAP_CHECKPOINT_RESTORE"), Ok(CapabilitySet::CHECKPOINT_RESTORE));
        assert_eq!(parsed("NET_ADMIN"), Err("unknown capability \"NET_ADMIN\"".to_owned()));
    }
}
