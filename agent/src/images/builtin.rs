//! The pause image and a small web image, made from the machine's own busybox: no registry is needed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use thiserror::Error;
use tokio::process::Command;
use tracing::{info, warn};

use super::archive::{self, Entry, Image};
use super::import::Archive;
use super::store::ImageStore;
use crate::causes::in_full;
use crate::config::Paths;
use crate::containerd::find_program;
use crate::runtime::{Runtime, RuntimeError};

/// Holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/pause:1";
/// Serves the pod's host name on port 8080.
pub const WEB_IMAGE: &str = "localhost/web:1";

/// What scripts in the web image may expect to find.
const APPLETS: &[&str] = &[
    "sh",
    "ash",
    "awk",
    "base64",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "free",
    "grep",
    "head",
    "hostname",
    "httpd",
    "id",
    "ip",
    "kill",
    "killall",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mknod",
    "mktemp",
    "mount",
    "mv",
    "nc",
    "netstat",
    "nslookup",
    "ping",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "top",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "uptime",
    "vi",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
    "yes",
];

/// The shell is process 1, to which signals do nothing unless they are trapped.
const WEB_SCRIPT: &str = "mkdir -p /tmp/www && hostname >/tmp/www/index.html || exit 1
trap 'kill $server; exit 0' TERM INT
httpd -f -vv -p 8080 -h /tmp/www &
server=$!
echo \"serving $(hostname) on port 8080\"
wait $server";

#[derive(Debug, Error)]
pub enum ImageError {
    #[error("busybox is not installed: apt-get install busybox-static")]
    NoBusybox,
    #[error("{} needs shared libraries: apt-get install busybox-static", .0.display())]
    Dynamic(PathBuf),
    #[error("cannot make the image {name}")]
    Build { name: &'static str, source: std::io::Error },
    #[error("cannot import the image {name}: {message}")]
    Import { name: &'static str, message: String },
    #[error("cannot look for the image {name}")]
    Look { name: &'static str, source: RuntimeError },
}

/// Makes and imports the images that the node lacks.
///
/// # Errors
/// When busybox is missing or not static, or containerd does not take the image.
pub async fn ensure(paths: &Paths, runtime: &dyn Runtime) -> Result<(), ImageError> {
    for name in [PAUSE_IMAGE, WEB_IMAGE] {
        let known = runtime.image(name).await.map_err(|source| ImageError::Look { name, source })?;
        if known.is_some() {
            continue;
        }
        let archive = build(name)?;
        import(paths, name, &archive).await?;
        info!(image = name, bytes = archive.len(), "made an image");
    }
    Ok(())
}

/// Makes the web image where the built-in runtime lacks it. It needs no pause image.
///
/// # Errors
/// When busybox is missing or not static, or the store does not take the image.
pub(crate) async fn ensure_stored(store: &ImageStore) -> Result<(), ImageError> {
    let name = WEB_IMAGE;
    if store.image(name).is_some() {
        return Ok(());
    }
    let archive = Archive::Bytes(build(name)?.into());
    let imported = store.import(archive).await;
    imported.map_err(|error| ImageError::Import { name, message: in_full(&error) })?;
    Ok(())
}

/// Imports the archives that somebody has put into `folder` for a node that reaches no registry: `*.tar`, OCI image
/// layouts. One that is no good is said and passed over.
pub(crate) async fn import_from(folder: &Path, store: &ImageStore) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "tar") {
            continue;
        }
        if let Err(error) = store.import(Archive::File(path.clone())).await {
            warn!(error = %in_full(&error), archive = %path.display(), "cannot import images");
        }
    }
}

fn build(name: &'static str) -> Result<Vec<u8>, ImageError> {
    let path = find_program("busybox").ok_or(ImageError::NoBusybox)?;
    let busybox = std::fs::read(&path).map_err(|source| ImageError::Build { name, source })?;
    if is_dynamic(&busybox) {
        return Err(ImageError::Dynamic(path));
    }
    let links: Vec<String> = APPLETS.iter().map(|applet| format!("bin/{applet}")).collect();
    let image = if name == PAUSE_IMAGE {
        archive::build(&Image {
            name,
            entries: &[
                Entry::Directory { path: "bin", mode: 0o755 },
                Entry::File { path: "bin/busybox", mode: 0o755, content: &busybox },
            ],
            entrypoint: &["/bin/busybox", "sleep", "2147483647"],
            exposed_ports: &[],
        })
    } else {
        archive::build(&Image {
            name,
            entries: &web_entries(&busybox, &links),
            entrypoint: &["/bin/sh", "-c", WEB_SCRIPT],
            exposed_ports: &["8080/tcp"],
        })
    };
    image.map_err(|source| ImageError::Build { name, source })
}

fn web_entries<'a>(busybox: &'a [u8], links: &'a [String]) -> Vec<Entry<'a>> {
    let mut entries = vec![
        Entry::Directory { path: "bin", mode: 0o755 },
        Entry::Directory { path: "etc", mode: 0o755 },
        Entry::Directory { path: "root", mode: 0o700 },
        Entry::Directory { path: "tmp", mode: 0o1777 },
        Entry::File {
            path: "etc/passwd",
            mode: 0o644,
            content: b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        },
        Entry::File { path: "etc/group", mode: 0o644, content: b"root:x:0:\nnogroup:x:65534:\n" },
        Entry::File { path: "bin/busybox", mode: 0o755, content: busybox },
    ];
    entries.extend(links.iter().map(|path| Entry::Link { path, target: "busybox" }));
    entries
}

async fn import(paths: &Paths, name: &'static str, archive: &[u8]) -> Result<(), ImageError> {
    let failed = |message: String| ImageError::Import { name, message };
    let file = paths.images_dir().join(format!("{}.tar", name.replace(['/', ':'], "-")));
    std::fs::create_dir_all(paths.images_dir()).map_err(|error| failed(error.to_string()))?;
    std::fs::write(&file, archive).map_err(|error| failed(error.to_string()))?;
    let program = find_program("ctr").ok_or_else(|| failed("ctr is not installed".to_owned()))?;
    let output = Command::new(program)
        .arg("--address")
        .arg(paths.containerd_socket())
        .args(["--namespace", "k8s.io", "images", "import"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .await;
    // The file has done its work, whether it was taken or not.
    let _kept = std::fs::remove_file(&file);
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// True when a 64-bit little-endian ELF program names an interpreter, and so needs libraries.
fn is_dynamic(program: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at =
        |at: usize| program.get(at..at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let u32_at =
        |at: usize| program.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let (table, size, count) = (u32_at(32) as usize, u16_at(54), u16_at(56));
    (0..count).any(|index| u32_at(table + index * size) == PT_INTERP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_interpreter_is_dynamic() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(is_dynamic(&shell));
        assert!(!is_dynamic(b"#!/bin/sh"));
    }

    #[test]
    fn the_web_image_brings_a_shell() {
        let links = vec!["bin/sh".to_owned()];
        let entries = web_entries(b"", &links);
        assert!(entries.iter().any(|entry| matches!(entry, Entry::Link { path: "bin/sh", .. })));
    }
}
