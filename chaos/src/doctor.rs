//! What this machine can do: which faults are possible here, and what to install for those that are not.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::cluster::{clock, memory};

/// Something that faults need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    pub name: &'static str,
    pub is_there: bool,
    /// Without it nothing runs at all.
    pub is_needed: bool,
    /// What is not possible without it.
    pub serves: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

/// Looks at everything; changes nothing.
pub fn examine() -> Vec<Capability> {
    let capability =
        |name, is_there, serves, remedy| Capability { name, is_there, is_needed: false, serves, remedy };
    let needed = |name, is_there, serves, remedy| Capability {
        is_needed: true,
        ..capability(name, is_there, serves, remedy)
    };
    vec![
        needed("root", nix::unistd::geteuid().is_root(), "everything", "run as root"),
        needed(
            "namespaces",
            Path::new("/proc/self/ns/net").exists(),
            "members apart from each other",
            "a kernel with NET_NS",
        ),
        needed("tun", opens("/dev/net/tun"), "the members' network", "modprobe tun"),
        needed("ip", runs("ip", "-V"), "the members' network", "apt-get install iproute2"),
        capability("loop", opens("/dev/loop-control"), "disks of their own", "modprobe loop"),
        capability(
            "ext4",
            knows("ext4") && runs("mkfs.ext4", "-V"),
            "disks of their own",
            "apt-get install e2fsprogs",
        ),
        capability(
            "xfs",
            knows("xfs") && runs("mkfs.xfs", "-V"),
            "disks of their own",
            "apt-get install xfsprogs",
        ),
        capability(
            "fsfreeze",
            runs("fsfreeze", "-V"),
            "disks that stand still",
            "apt-get install util-linux",
        ),
        capability(
            "seccomp",
            notifies(),
            "syncs that fail, or take long",
            "a kernel with SECCOMP_FILTER, 5.19 or newer",
        ),
        capability(
            "memory",
            memory::limits_memory(),
            "members that may use no more memory",
            "mount the control group's memory controller",
        ),
        capability("libfaketime", clock::library().is_some(), "clocks that jump", "apt-get install faketime"),
        capability(
            "etcd",
            runs("etcd", "--version"),
            "calibration with a foreign system",
            "apt-get install etcd-server",
        ),
    ]
}

/// For people: what there is, and what to do about what there is not.
pub fn table(capabilities: &[Capability]) -> String {
    let line = |capability: &Capability| match (capability.is_there, capability.is_needed) {
        (true, _) => format!("yes  {}: {}\n", capability.name, capability.serves),
        (false, true) => {
            format!(
                "NO   {}: {}; nothing runs without it: {}\n",
                capability.name, capability.serves, capability.remedy
            )
        }
        (false, false) => format!("no   {}: {}; {}\n", capability.name, capability.serves, capability.remedy),
    };
    capabilities.iter().map(line).collect()
}

/// Whether what is called so is there.
pub fn has(name: &str) -> bool {
    examine().iter().any(|capability| capability.name == name && capability.is_there)
}

fn opens(device: &str) -> bool {
    fs::OpenOptions::new().read(true).write(true).open(device).is_ok()
}

fn runs(program: &str, flag: &str) -> bool {
    Command::new(program)
        .arg(flag)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether the kernel has the file system; as a module it is loaded when it is first used.
fn knows(file_system: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().next_back() == Some(file_system))
}

fn notifies() -> bool {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    actions.split_whitespace().any(|action| action == "user_notif")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_to_be() {
        assert!(!opens("/dev/no-such-device"));
        assert!(!runs("no-such-program", "--version"));
        assert!(!knows("no-such-file-system"));
        assert!(has("ip") && !has("magic"));
    }
}
