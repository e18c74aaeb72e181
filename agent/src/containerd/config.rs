//! containerd's configuration file. The text is pure; writing it also makes the folders that it names.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ContainerdError;
use crate::config::Paths;
use crate::images::PAUSE_IMAGE;

pub(super) fn config_path(paths: &Paths) -> PathBuf {
    paths.containerd_dir().join("config.toml")
}

pub(super) fn pid_path(paths: &Paths) -> PathBuf {
    paths.containerd_dir().join("pid")
}

pub(super) fn log_path(paths: &Paths) -> PathBuf {
    paths.containerd_dir().join("log")
}

/// Writes the file and makes the folders, all readable by root alone.
pub(super) fn write(paths: &Paths, hosts_dirs: &[PathBuf]) -> Result<(), ContainerdError> {
    let folders =
        [paths.run_dir().to_owned(), paths.containerd_dir(), paths.cni_conf_dir(), paths.cni_bin_dir()];
    for folder in folders {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| ContainerdError::Write { path: folder, source })?;
    }
    let path = config_path(paths);
    write_private(&path, &text(paths, hosts_dirs)).map_err(|source| ContainerdError::Write { path, source })
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Understood by containerd 1.6 and 1.7; 2.x migrates it.
fn text(paths: &Paths, hosts_dirs: &[PathBuf]) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    let dir = paths.containerd_dir();
    let hosts: Vec<_> = hosts_dirs.iter().map(|dir| dir.display().to_string()).collect();
    format!(
        r#"version = 2
root = {root}
state = {state}
# Lowering it needs a capability that containers and some machines lack; containerd would only complain.
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.restart",
]
[grpc]
  address = {socket}
[ttrpc]
  address = {ttrpc}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  # Without CAP_SYS_RESOURCE runc dies when it is asked to lower oom_score_adj.
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {cni_bin}
    conf_dir = {cni_conf}
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {hosts:?}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        root = quoted(dir.join("root")),
        state = quoted(paths.run_dir().join("state")),
        socket = quoted(paths.containerd_socket()),
        ttrpc = quoted(paths.run_dir().join("containerd.sock.ttrpc")),
        opt = quoted(dir.join("opt")),
        cni_bin = quoted(paths.cni_bin_dir()),
        cni_conf = quoted(paths.cni_conf_dir()),
        hosts = hosts.join(":"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_the_agents_own() {
        let text = text(&Paths::new(Path::new("/var/lib/navarch")), &["/var/lib/navarch/certs.d".into()]);
        for line in text.lines().filter(|line| line.contains("= \"/")) {
            assert!(line.contains("/var/lib/navarch/") || line.contains("/run/navarch/"), "{line}");
        }
    }

    #[test]
    fn a_quote_in_a_path_does_not_end_the_string() {
        let text = text(&Paths::new(Path::new("/odd\"path")), &[]);
        assert!(text.contains(r#"root = "/odd\"path/containerd/root""#), "{text}");
    }
}
