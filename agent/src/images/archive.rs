//! An OCI image layout in one tar, from files in memory. Pure: the same input gives the same bytes.

use std::io;

use serde_json::json;
use sha2::{Digest, Sha256};

/// What an image holds and how it starts. One layer, uncompressed.
pub(super) struct Image<'a> {
    /// The name to import it under, for example `localhost/web:1`.
    pub(super) name: &'a str,
    pub(super) entries: &'a [Entry<'a>],
    pub(super) entrypoint: &'a [&'a str],
    pub(super) exposed_ports: &'a [&'a str],
}

/// One thing in the layer; paths have no leading slash, parents come before children.
pub(super) enum Entry<'a> {
    Directory { path: &'a str, mode: u32 },
    File { path: &'a str, mode: u32, content: &'a [u8] },
    Link { path: &'a str, target: &'a str },
}

/// The archive that `ctr images import` reads.
pub(super) fn build(image: &Image<'_>) -> io::Result<Vec<u8>> {
    let layer = layer(image.entries)?;
    let config = serde_json::to_vec(&json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "ExposedPorts": image.exposed_ports.iter().map(|port| ((*port).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>(),
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest(&layer),
            "size": layer.len(),
        }],
    }))?;
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&manifest),
            "size": manifest.len(),
            "platform": { "architecture": architecture(), "os": "linux" },
            "annotations": {
                "io.containerd.image.name": image.name,
                "org.opencontainers.image.ref.name": image.name.rsplit(':').next(),
            },
        }],
    }))?;
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", 0o644, &index)?;
    for blob in [&config, &layer, &manifest] {
        append(&mut tar, &format!("blobs/sha256/{}", hex_sha256(blob)), 0o644, blob)?;
    }
    tar.into_inner()
}

fn layer(entries: &[Entry<'_>]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        match entry {
            Entry::Directory { path, mode } => {
                let mut header = header(*mode, 0);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, io::empty())?;
            }
            Entry::File { path, mode, content } => append(&mut tar, path, *mode, content)?,
            Entry::Link { path, target } => {
                let mut header = header(0o777, 0);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    tar.into_inner()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let size = u64::try_from(content.len()).map_err(io::Error::other)?;
    tar.append_data(&mut header(mode, size), path, content)
}

fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The machine's name in Go's words, as OCI uses them.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex_sha256(bytes))
}

pub(super) fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use expect_test::{Expect, expect};

    use super::*;

    const IMAGE: Image<'_> = Image {
        name: "localhost/web:1",
        entries: &[
            Entry::Directory { path: "bin", mode: 0o755 },
            Entry::File { path: "bin/busybox", mode: 0o755, content: b"program" },
            Entry::Link { path: "bin/sh", target: "busybox" },
        ],
        entrypoint: &["/bin/sh"],
        exposed_ports: &["8080/tcp"],
    };

    fn check(archive: &[u8], expected: Expect) {
        let mut listed = String::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let short: String =
                path.split('/').map(|part| &part[..part.len().min(12)]).collect::<Vec<_>>().join("/");
            listed +=
                &format!("{short} {:?} {:o}\n", entry.header().entry_type(), entry.header().mode().unwrap());
        }
        expected.assert_eq(&listed);
    }

    #[test]
    fn the_layer_holds_what_was_asked_for() {
        check(
            &layer(IMAGE.entries).unwrap(),
            expect![[r#"
                bin Directory 755
                bin/busybox Regular 755
                bin/sh Symlink 777
            "#]],
        );
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        assert_eq!(build(&IMAGE).unwrap(), build(&IMAGE).unwrap());
    }

    #[test]
    fn every_blob_is_named_by_its_digest() {
        let archive = build(&IMAGE).unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert_eq!(name, hex_sha256(&content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }
}
