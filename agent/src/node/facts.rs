//! What the machine says about itself. What cannot be read is empty or zero: no fact is worth failing for.

use std::path::Path;

use nix::sys::statvfs::statvfs;

pub(super) const OS: &str = "linux";
/// In Go's words, as Kubernetes has it.
pub(super) const ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

/// The version of Kubernetes that we speak, and ours.
pub(super) fn version() -> String {
    format!("v1.36.0+navarch.{}", env!("CARGO_PKG_VERSION"))
}

/// What does not change while the agent runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) cpus: u64,
    pub(super) kernel: String,
    pub(super) os_image: String,
    pub(super) machine_id: String,
    pub(super) system_uuid: String,
    pub(super) boot_id: String,
}

/// How much there is, and how much of it is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: u64,
    pub(crate) memory_free_bytes: u64,
    pub(crate) storage_bytes: u64,
    pub(crate) storage_free_bytes: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
    pub(crate) pids: u64,
    pub(crate) pids_max: u64,
}

impl Facts {
    pub(super) fn read() -> Self {
        let machine_id = word("/etc/machine-id");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
            kernel: word("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
            system_uuid: Some(word("/sys/class/dmi/id/product_uuid"))
                .filter(|uuid| !uuid.is_empty())
                .unwrap_or_else(|| machine_id.clone()),
            machine_id,
            boot_id: word("/proc/sys/kernel/random/boot_id"),
        }
    }
}

impl Usage {
    pub(crate) fn read(data_dir: &Path) -> Self {
        let memory = text("/proc/meminfo");
        let mut usage = Self {
            memory_bytes: kibibytes(&memory, "MemTotal:") * 1024,
            memory_free_bytes: kibibytes(&memory, "MemAvailable:") * 1024,
            pids: processes(&word("/proc/loadavg")),
            pids_max: word("/proc/sys/kernel/pid_max").parse().unwrap_or(0),
            ..Self::default()
        };
        if let Ok(stat) = statvfs(data_dir) {
            usage.storage_bytes = stat.blocks() * stat.fragment_size();
            usage.storage_free_bytes = stat.blocks_available() * stat.fragment_size();
            usage.inodes = stat.files();
            usage.inodes_free = stat.files_available();
        }
        usage
    }
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn word(path: &str) -> String {
    text(path).trim().to_owned()
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".into())
}

fn kibibytes(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// `0.20 0.18 0.12 1/80 11206`: the part after the slash counts everything that has a process id.
fn processes(loadavg: &str) -> u64 {
    let counts = loadavg.split_whitespace().nth(3).and_then(|counts| counts.split_once('/'));
    counts.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_prints() {
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_image(""), "Linux");
        assert_eq!(kibibytes("MemTotal:       16384 kB\nMemFree: 1 kB\n", "MemTotal:"), 16384);
        assert_eq!(processes("0.20 0.18 0.12 1/80 11206"), 80);
        assert_eq!(processes(""), 0);
    }

    #[test]
    fn this_machine_has_facts() {
        let (facts, usage) = (Facts::read(), Usage::read(Path::new("/")));
        assert!(facts.cpus > 0 && !facts.kernel.is_empty() && !facts.boot_id.is_empty());
        assert!(usage.memory_bytes > usage.memory_free_bytes && usage.memory_free_bytes > 0);
        assert!(usage.storage_bytes > 0 && usage.pids > 0 && usage.pids_max > 0, "{usage:?}");
        assert_eq!(Usage::read(Path::new("/no/such/dir")).storage_bytes, 0);
    }
}
