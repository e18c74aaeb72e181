//! What a pod needs on its node besides the runtime: folders, `/etc/hosts`, termination logs, cgroups.

use std::io::{self, Read, Seek};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use proto::cri::{Mount, MountPropagation};

use super::configuration::{self, NodeFiles};
use super::environment::Sources;
use crate::cgroups::Cgroups;
use crate::config::Paths;
use crate::desired::PodKey;
use crate::runtime::Container;
use crate::volumes::{self, Prepared, VolumeError};

/// As much of a termination message as the status takes: the end of it.
const LAST_WORDS_BYTES_MAX: usize = 4096;
/// As much of a log as stands in for a termination message.
const LOG_LINES_MAX: usize = 80;
const LOG_BYTES_MAX: usize = 2048;
/// As much as is read to find that: the lines of a log are at most 16 KiB, and only their ends are of use.
const LOG_BYTES_READ: u64 = 256 << 10;
const LAST_WORDS_PATH: &str = "/dev/termination-log";

pub(crate) struct Host {
    pub(crate) paths: Paths,
    pub(crate) cgroups: Cgroups,
    /// The machine's memory, which OOM scores are shares of.
    pub(crate) memory_bytes: i64,
}

impl Host {
    pub(crate) fn new(paths: Paths, cgroups: Cgroups) -> Self {
        if let Err(error) = volumes::share(&paths.pods_dir()) {
            tracing::warn!(%error, "mounts cannot pass between containers and this node");
        }
        Self { paths, cgroups, memory_bytes: memory_bytes() }
    }

    pub(crate) async fn prepare_volumes(
        &self,
        uid: &str,
        sources: &Sources<'_>,
    ) -> Result<Prepared, VolumeError> {
        volumes::prepare(&self.paths.pod_dir(uid), sources).await
    }

    pub(crate) fn sandbox_files(&self, pod: &Pod, key: &PodKey, uid: &str) -> NodeFiles {
        NodeFiles {
            logs: self.paths.pod_logs_dir(&key.namespace, &key.name, uid),
            cgroup_parent: self.cgroups.pod_path(uid, crate::cgroups::qos_class(pod)),
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        }
    }

    /// The mounts that every container gets, unless it mounts something of its own there.
    pub(crate) fn own_mounts(
        &self,
        pod: &Pod,
        spec: &ContainerSpec,
        pod_ip: &str,
        attempt: u32,
    ) -> io::Result<Vec<Mount>> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let taken = |path: &str| spec.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
        let mut mounts = Vec::new();
        if !taken("/etc/hosts") {
            let of_node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            let path = self.paths.pod_dir(uid).join("etc-hosts");
            std::fs::create_dir_all(self.paths.pod_dir(uid))?;
            std::fs::write(&path, configuration::hosts_file(pod, pod_ip, &of_node))?;
            mounts.push(file_mount("/etc/hosts", path));
        }
        let last_words = spec.termination_message_path.as_deref().unwrap_or(LAST_WORDS_PATH);
        if last_words.starts_with('/') && !taken(last_words) {
            let path = self.last_words_path(uid, &spec.name, attempt);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, "")?;
            // Any user in the container may write it.
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
            mounts.push(file_mount(last_words, path));
        }
        Ok(mounts)
    }

    /// What an ended container wrote into its termination log; with `FallbackToLogsOnError`, the end of its
    /// log when it failed in silence.
    pub(crate) fn last_words(&self, pod: &Pod, container: &Container) -> String {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let words = std::fs::read(self.last_words_path(uid, &container.name, container.attempt));
        let words = words.unwrap_or_default();
        let failed = container.exit().is_some_and(|exit| exit.code != 0);
        if !words.is_empty() || !failed {
            return text(&words[words.len().saturating_sub(LAST_WORDS_BYTES_MAX)..]);
        }
        let spec = super::containers::named(pod, &container.name);
        let falls_back =
            spec.and_then(|spec| spec.termination_message_policy).as_deref() == Some("FallbackToLogsOnError");
        if falls_back { self.log_end(pod, container) } else { String::new() }
    }

    /// Removes volumes, files and cgroups. False when the kernel still holds some of it.
    pub(crate) fn clean_up(&self, uid: &str) -> bool {
        let no_cgroup = self.cgroups.remove(uid);
        volumes::clean_up(&self.paths.pod_dir(uid)) && no_cgroup
    }

    /// False when the kernel still holds some of them.
    pub(crate) fn remove_volumes(&self, uid: &str) -> bool {
        volumes::clean_up(&self.paths.pod_dir(uid).join("volumes"))
    }

    pub(crate) fn remove_logs(&self, namespace: &str, name: &str, uid: &str) {
        let dir = self.paths.pod_logs_dir(namespace, name, uid);
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, dir = %dir.display(), "cannot remove the logs of a pod");
        }
    }

    /// The uids of pods that have a folder here.
    pub(crate) fn pods_with_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.paths.pods_dir()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn last_words_path(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.paths.pod_dir(uid).join("containers").join(container).join(attempt.to_string())
    }

    fn log_end(&self, pod: &Pod, container: &Container) -> String {
        let part = |value: &Option<String>| value.clone().unwrap_or_default();
        let dir = self.paths.pod_logs_dir(
            &part(&pod.metadata.namespace),
            &part(&pod.metadata.name),
            &part(&pod.metadata.uid),
        );
        let log = std::fs::File::open(dir.join(&container.name).join(format!("{}.log", container.attempt)));
        let Ok(mut log) = log else { return String::new() };
        let length = log.metadata().map_or(0, |metadata| metadata.len());
        let mut end = Vec::new();
        let read = log
            .seek(io::SeekFrom::Start(length.saturating_sub(LOG_BYTES_READ)))
            .and_then(|_| log.read_to_end(&mut end));
        if read.is_err() { String::new() } else { log_words(&end) }
    }
}

/// The texts of the last lines of a log in CRI's format, `<time> <stream> <P|F> <text>`.
fn log_words(log: &[u8]) -> String {
    let log = text(log);
    let lines: Vec<&str> = log.lines().collect();
    let mut words = String::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
        let mut parts = line.splitn(4, ' ').skip(2);
        if let (Some(tag), Some(part)) = (parts.next(), parts.next()) {
            words += part;
            if tag == "F" {
                words.push('\n');
            }
        }
    }
    let mut begin = words.len().saturating_sub(LOG_BYTES_MAX);
    while !words.is_char_boundary(begin) {
        begin += 1;
    }
    words.split_off(begin)
}

fn file_mount(container_path: &str, host_path: PathBuf) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        readonly: false,
        propagation: MountPropagation::PropagationPrivate.into(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// From `/proc/meminfo`, whose numbers are in KiB.
fn memory_bytes() -> i64 {
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_eighty_lines_and_two_kibibytes() {
        let line = |number: usize| format!("2026-01-01T00:00:00Z stdout F line {number}\n");
        let log: String = (0..100).map(line).collect();
        let words = log_words(log.as_bytes());
        assert!(words.starts_with("line 20\n") && words.ends_with("line 99\n"), "{words}");
        let long = format!(
            "2026-01-01T00:00:00Z stderr P {}\n2026-01-01T00:00:00Z stderr F end\n",
            "x".repeat(3000)
        );
        let words = log_words(long.as_bytes());
        assert_eq!((words.len(), words.ends_with("xend\n")), (LOG_BYTES_MAX, true));
        assert_eq!(log_words(b"nonsense"), "");
    }
}
