//! Logs that have grown too long are put aside, and the oldest go: the kubelet's `containerLogMaxSize` and
//! `containerLogMaxFiles`.
//!
//! The file is renamed first, so between renaming and reopening the container writes into the renamed one: no line
//! is lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Paths;
use crate::runtime::{Runtime, RuntimeError, Which};

const LOG_BYTES_MAX: u64 = 10 << 20;
/// The one that is written included.
const LOG_FILES_MAX: usize = 5;
const PERIOD: Duration = Duration::from_secs(10);

/// Looks after the logs of all running containers.
pub(crate) struct Rotation {
    pub(crate) paths: Paths,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Rotation {
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            if let Err(error) = self.pass().await {
                warn!(%error, "cannot look after the containers' logs");
            }
        }
    }

    async fn pass(&self) -> Result<(), RuntimeError> {
        for pod in self.runtime.observe(Which::All).await?.values() {
            let folder = self.paths.pod_logs_dir(&pod.namespace, &pod.name, &pod.uid);
            for container in pod.containers.iter().filter(|container| container.is_running()) {
                let log = folder.join(&container.name).join(format!("{}.log", container.attempt));
                let is_full = std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX);
                if !is_full {
                    continue;
                }
                match put_aside(&log, self.clock.now()) {
                    Ok(()) => self.runtime.reopen_log(&container.id).await?,
                    Err(error) => warn!(%error, log = %log.display(), "cannot put a log aside"),
                }
            }
        }
        Ok(())
    }
}

/// Renames the log after the time, and removes what is too old.
fn put_aside(log: &Path, now: Timestamp) -> io::Result<()> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    std::fs::rename(log, folder.join(format!("{prefix}{}", now.strftime("%Y%m%d-%H%M%S"))))?;
    let mut old: Vec<PathBuf> = std::fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    for path in old.iter().rev().skip(LOG_FILES_MAX - 1) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        std::fs::write(folder.path().join("1.log"), "another's").unwrap();
        for second in 0..8 {
            std::fs::write(&log, second.to_string()).unwrap();
            put_aside(&log, Timestamp::from_second(second).unwrap()).unwrap();
        }
        let mut left: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let newest = ["04", "05", "06", "07"].map(|second| format!("0.log.19700101-0000{second}"));
        assert_eq!(left[..4], newest);
        assert_eq!(left[4..], ["1.log"]);
    }
}
