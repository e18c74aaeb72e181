//! nfs: a share of another machine, mounted by the system's own `mount`, which finds the server and its version.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::NFSVolumeSource;
use thiserror::Error;
use tokio::process::Command;

use super::{make_dir, mounting};

/// A server that does not answer must not hold up the pod's worker for ever.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub(crate) enum NfsError {
    #[error(
        "mount failed: {status}\nMounting command: mount\nMounting arguments: {arguments}\nOutput: {output}"
    )]
    Refused { status: String, arguments: String, output: String },
    #[error("mount failed: {server} did not answer within {} s", ANSWER_MAX.as_secs())]
    Silent { server: String },
    #[error("mount failed: {0}")]
    Files(#[from] std::io::Error),
}

pub(super) async fn prepare(
    dir: &Path,
    source: &NFSVolumeSource,
    options: &[String],
    read_only: bool,
) -> Result<(), NfsError> {
    if mounting::is_mounted(dir) {
        return Ok(());
    }
    make_dir(dir, 0o750)?;
    let arguments = arguments(dir, source, options, read_only);
    let running = Command::new("mount").args(&arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(ANSWER_MAX, running).await {
        Err(_elapsed) => return Err(NfsError::Silent { server: source.server.clone() }),
        Ok(output) => output?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NfsError::Refused { status: output.status.to_string(), arguments: arguments.join(" "), output: said })
}

/// As the kubelet calls it.
fn arguments(dir: &Path, source: &NFSVolumeSource, options: &[String], read_only: bool) -> Vec<String> {
    let mut all: Vec<String> = options.to_vec();
    if read_only {
        all.push("ro".to_owned());
    }
    let server =
        if source.server.contains(':') { format!("[{}]", source.server) } else { source.server.clone() };
    let mut arguments = vec!["-t".to_owned(), "nfs".to_owned()];
    if !all.is_empty() {
        arguments.extend(["-o".to_owned(), all.join(",")]);
    }
    arguments.extend([format!("{server}:{}", source.path), dir.display().to_string()]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_mounted_with_the_options_of_its_volume() {
        let source =
            |server: &str| NFSVolumeSource { path: "/export".into(), read_only: None, server: server.into() };
        let dir = Path::new("/pods/u/v");
        let plain = arguments(dir, &source("files.example"), &[], false);
        assert_eq!(plain, ["-t", "nfs", "files.example:/export", "/pods/u/v"]);
        let options = ["nfsvers=4.1".to_owned(), "hard".to_owned()];
        let full = arguments(dir, &source("fd00::7"), &options, true);
        assert_eq!(full, ["-t", "nfs", "-o", "nfsvers=4.1,hard,ro", "[fd00::7]:/export", "/pods/u/v"]);
    }
}
