//! What this machine can do for the harness, and what is missing for which faults.

use std::fmt::Write as _;
use std::path::Path;

use crate::cluster::NetworkNamespace;

/// One thing that faults or clusters need.
struct Need {
    what: &'static str,
    found: Found,
    /// What cannot be done without it.
    without: &'static str,
}

enum Found {
    Yes,
    No(String),
}

/// A table for people.
pub fn examine() -> String {
    let mut text = String::new();
    for need in needs() {
        // Writing to a string cannot fail.
        let _written = match need.found {
            Found::Yes => writeln!(text, "yes  {}", need.what),
            Found::No(why) => writeln!(text, "NO   {}: {why}; without it: {}", need.what, need.without),
        };
    }
    text
}

fn needs() -> Vec<Need> {
    let namespace = match NetworkNamespace::create() {
        Ok(_) => Found::Yes,
        Err(error) => Found::No(format!("{error:#}")),
    };
    vec![
        Need { what: "network namespaces", found: namespace, without: "no cluster can be run here" },
        Need { what: "ip (iproute2)", found: program("ip"), without: "no cluster can be run here" },
        Need { what: "nft (nftables)", found: program("nft"), without: "no partitions" },
        Need { what: "/dev/net/tun", found: file("/dev/net/tun"), without: "no delay, loss or reordering" },
        Need { what: "loop devices", found: file("/dev/loop-control"), without: "no faults of the disk" },
        Need { what: "mkfs.ext4", found: program("mkfs.ext4"), without: "no disks with ext4" },
        Need { what: "mkfs.xfs", found: program("mkfs.xfs"), without: "no disks with XFS" },
        Need { what: "xfs_io (xfsprogs)", found: program("xfs_io"), without: "no loss of power" },
        Need { what: "etcd", found: program("etcd"), without: "no calibration with --system etcd" },
    ]
}

/// Where the system's programs are, also those for the administrator.
const PROGRAM_FOLDERS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

fn program(name: &str) -> Found {
    if PROGRAM_FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists()) {
        Found::Yes
    } else {
        Found::No("not installed".to_owned())
    }
}

fn file(path: &str) -> Found {
    if Path::new(path).exists() { Found::Yes } else { Found::No("not there".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        assert!(matches!(program("ls"), Found::Yes));
        assert!(matches!(program("no-such-program"), Found::No(_)));
        assert!(matches!(file("/no/such/file"), Found::No(_)));
    }
}
