//! hostPath: something of the node's own, checked to be what the pod takes it for.

use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;
use thiserror::Error;

use super::make_dir;

#[derive(Debug, Error)]
pub(crate) enum HostPathError {
    #[error("hostPath type check failed: {} is not a {wanted}", path.display())]
    IsNot { path: PathBuf, wanted: &'static str },
    #[error("{0} is an invalid volume type")]
    Type(String),
    #[error("{0}")]
    Files(#[from] io::Error),
}

/// The path, made first where the type says so.
pub(super) fn prepare(source: &HostPathVolumeSource) -> Result<PathBuf, HostPathError> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if !path.exists() {
        match kind {
            // A runtime makes what is missing.
            "DirectoryOrCreate" | "" => make_dir(&path, 0o755)?,
            "FileOrCreate" => make_file(&path)?,
            _ => {}
        }
    }
    let file_type = path.metadata().ok().map(|metadata| metadata.file_type());
    let is = |test: fn(&std::fs::FileType) -> bool| file_type.as_ref().is_some_and(test);
    let (fits, wanted) = match kind {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (is(std::fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(std::fs::FileType::is_file), "file"),
        "Socket" => (is(FileTypeExt::is_socket), "socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "block device"),
        other => return Err(HostPathError::Type(other.to_owned())),
    };
    if fits { Ok(path) } else { Err(HostPathError::IsNot { path, wanted }) }
}

/// Its folder must exist.
fn make_file(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_its_type_says_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let null = "/dev/null".to_owned();
        let cases = [
            (at("made"), "DirectoryOrCreate", None),
            (at("made.txt"), "FileOrCreate", None),
            (at("unset"), "", None),
            (at("file"), "File", None),
            (at("socket"), "Socket", None),
            (null.clone(), "CharDevice", None),
            (at("gone"), "Directory", Some("is not a directory")),
            (at("file"), "DirectoryOrCreate", Some("is not a directory")),
            (at("made"), "FileOrCreate", Some("is not a file")),
            (at("gone"), "File", Some("is not a file")),
            (at("file"), "Socket", Some("is not a socket file")),
            (at("file"), "CharDevice", Some("is not a character device")),
            (null, "BlockDevice", Some("is not a block device")),
            (at("file"), "Spoon", Some("Spoon is an invalid volume type")),
        ];
        for (path, kind, problem) in cases {
            let source = HostPathVolumeSource { path: path.clone(), type_: Some(kind.to_owned()) };
            match (prepare(&source), problem) {
                (Ok(made), None) => assert!(made.exists()),
                (Err(error), Some(problem)) => {
                    assert!(error.to_string().ends_with(problem), "{path} {kind}: {error}");
                }
                (outcome, _) => panic!("{path} {kind}: {outcome:?}"),
            }
        }
    }
}
