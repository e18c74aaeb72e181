//! What an agent must be told. Checked by `main`, passed down in pieces; nothing else reads flags or the
//! environment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::reclaim::ReclaimPolicy;
use crate::shutdown::ShutdownPolicy;

/// One agent. Two agents on a machine differ in every field but `servers` and the CA.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The name of the Node object; the client certificate's common name is `system:node:<node_name>`.
    pub node_name: String,
    /// `host:port` of the gateways, in the order in which to try them.
    pub servers: Vec<String>,
    pub tls: AgentTls,
    /// Everything that must survive a restart of the agent lives here: images, logs, volumes. Absolute.
    pub data_dir: PathBuf,
    pub runtime: RuntimeChoice,
    /// Where it is written how to reach registries, a folder for each, as containerd has them in `certs.d`.
    pub hosts_dirs: Vec<PathBuf>,
    /// Where in every cgroup hierarchy the pods of this node live, for example `/navarch-agent-1`.
    pub cgroup_root: String,
    /// The address by which other nodes reach this one; its interface carries the VXLAN.
    pub node_ip: Ipv4Addr,
    /// Labels that the Node object should carry.
    pub labels: BTreeMap<String, String>,
    /// The program that containerd starts as CNI plugin: this one.
    pub executable: PathBuf,
    /// A folder of pods to run with or without a control plane.
    pub manifests_dir: Option<PathBuf>,
    /// When images are removed and pods evicted.
    pub reclaim: ReclaimPolicy,
    /// How long pods get when the agent is stopped.
    pub shutdown: ShutdownPolicy,
    /// True: a graceful stop takes the pods and containerd down with the agent. False: they stay and are
    /// adopted by the next agent.
    pub purge_on_stop: bool,
}

/// The agent's identity, PEM.
#[derive(Clone)]
pub struct AgentTls {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for AgentTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentTls")
    }
}

/// What runs the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// What the node had before; on a new node the system's containerd, where it is installed, else our own.
    Auto,
    /// The system's containerd and runc, started and supervised by the agent.
    Containerd,
    /// Our own: nothing needs to be installed.
    Builtin,
    /// Nothing runs; every pod is reported as running. For scale tests.
    Hollow,
}

impl RuntimeChoice {
    /// Whether it runs anything.
    pub(crate) fn is_real(self) -> bool {
        self != Self::Hollow
    }

    /// What [`RuntimeChoice::Auto`] is on this node: pods stay with the runtime that has them.
    pub(crate) fn backend(self, paths: &Paths, containerd_is_installed: bool) -> Backend {
        match self {
            Self::Auto if paths.containerd_dir().exists() => Backend::Containerd,
            Self::Auto if paths.builtin_dir().exists() => Backend::Builtin,
            Self::Auto if containerd_is_installed => Backend::Containerd,
            Self::Auto | Self::Builtin => Backend::Builtin,
            Self::Containerd => Backend::Containerd,
            Self::Hollow => Backend::Hollow,
        }
    }
}

/// A choice that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Containerd,
    Builtin,
    Hollow,
}

/// Every path that the agent uses, derived from its `data_dir` alone, so that the next agent finds them.
#[derive(Clone, Debug)]
pub struct Paths {
    data_dir: PathBuf,
    run_dir: PathBuf,
}

impl Paths {
    pub fn new(data_dir: &Path) -> Self {
        let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
        let short: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        // A unix socket's path has at most 107 bytes, so sockets cannot live below an arbitrary data_dir.
        Self { data_dir: data_dir.to_owned(), run_dir: Path::new("/run/navarch").join(short) }
    }

    /// Everything below `data_dir` that the agent makes, to remove it without touching what others keep there.
    pub fn own_dirs(&self) -> Vec<PathBuf> {
        let below = ["containerd", "builtin", "cni", "images", "pods", "logs"];
        let mut dirs: Vec<PathBuf> = below.iter().map(|dir| self.data_dir.join(dir)).collect();
        dirs.push(self.run_dir.clone());
        dirs
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// containerd's state, socket and mounts.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    pub fn containerd_dir(&self) -> PathBuf {
        self.data_dir.join("containerd")
    }

    /// The images and the state of the built-in runtime.
    pub fn builtin_dir(&self) -> PathBuf {
        self.data_dir.join("builtin")
    }

    pub fn containerd_socket(&self) -> PathBuf {
        self.run_dir.join("containerd.sock")
    }

    /// Where containerd looks for network configurations.
    pub fn cni_conf_dir(&self) -> PathBuf {
        self.data_dir.join("cni/conf")
    }

    /// Where containerd looks for network plugins: links to this program.
    pub fn cni_bin_dir(&self) -> PathBuf {
        self.data_dir.join("cni/bin")
    }

    /// What the CNI plugin keeps about the addresses that it gave; gone after a boot, as who holds them is.
    pub fn cni_state_dir(&self) -> PathBuf {
        self.run_dir.join("addresses")
    }

    pub fn images_dir(&self) -> PathBuf {
        self.data_dir.join("images")
    }

    pub fn pods_dir(&self) -> PathBuf {
        self.data_dir.join("pods")
    }

    /// The volumes and files that the agent makes for one pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    pub fn logs_dir(&self) -> PathBuf {
        self.data_dir.join("logs")
    }

    /// A pod's log directory; the log of a container's n-th run is `<container>/<n>.log` in it.
    pub fn pod_logs_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs_dir().join(format!("{namespace}_{name}_{uid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_path_stays_short_however_deep_the_data_dir_is() {
        let deep = PathBuf::from("/").join("d".repeat(200));
        let socket = Paths::new(&deep).containerd_socket();
        assert!(socket.as_os_str().len() < 64, "{}", socket.display());
    }

    #[test]
    fn pods_stay_with_the_runtime_that_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        assert_eq!(RuntimeChoice::Auto.backend(&paths, true), Backend::Containerd);
        assert_eq!(RuntimeChoice::Auto.backend(&paths, false), Backend::Builtin);
        assert_eq!(RuntimeChoice::Builtin.backend(&paths, true), Backend::Builtin);
        std::fs::create_dir(paths.builtin_dir()).unwrap();
        assert_eq!(RuntimeChoice::Auto.backend(&paths, true), Backend::Builtin);
        std::fs::create_dir(paths.containerd_dir()).unwrap();
        assert_eq!(RuntimeChoice::Auto.backend(&paths, false), Backend::Containerd);
    }

    #[test]
    fn two_data_dirs_never_share_a_run_dir() {
        assert_ne!(Paths::new(Path::new("/a")).run_dir(), Paths::new(Path::new("/b")).run_dir());
    }
}
