//! Replaces all files of a volume at once, so that a reader sees the old set or the new one.
//!
//! Kubernetes' layout (AtomicWriter): the files live in a hidden folder, `..data` links to it, and the names
//! that users see link through `..data`. One rename swaps everything.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::content::Content;
use super::ownership::Ownership;

const CURRENT: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Does nothing when the content is already there.
pub(super) fn publish(dir: &Path, content: &Content, group: Option<&Ownership>) -> io::Result<()> {
    let generation = generation(content);
    let before = std::fs::read_link(dir.join(CURRENT)).ok();
    if before.as_deref() == Some(Path::new(&generation)) {
        return Ok(());
    }
    let target = dir.join(&generation);
    write_all(&target, content, group)?;
    let next = dir.join(NEXT);
    remove_if_there(std::fs::remove_file(&next))?;
    symlink(&generation, &next)?;
    std::fs::rename(&next, dir.join(CURRENT))?;
    let names: BTreeSet<&str> = content.keys().filter_map(|path| path.split('/').next()).collect();
    link_names(dir, &names)?;
    if let Some(old) = before {
        remove_if_there(std::fs::remove_dir_all(dir.join(old)))?;
    }
    Ok(())
}

fn write_all(target: &Path, content: &Content, group: Option<&Ownership>) -> io::Result<()> {
    remove_if_there(std::fs::remove_dir_all(target))?;
    std::fs::create_dir_all(target)?;
    std::fs::set_permissions(target, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in content {
        let path = target.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.bytes)?;
        std::os::unix::fs::chown(&path, file.owner, None)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))?;
    }
    group.map_or(Ok(()), |group| group.take(target))
}

fn link_names(dir: &Path, names: &BTreeSet<&str>) -> io::Result<()> {
    for name in names {
        let link = dir.join(name);
        if !link.is_symlink() {
            symlink(Path::new(CURRENT).join(name), link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(name.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Names the content, so that the same content is never written twice.
fn generation(content: &Content) -> String {
    let mut digest = Sha256::new();
    for (path, file) in content {
        digest.update(path.as_bytes());
        digest.update([0]);
        digest.update(file.mode.to_be_bytes());
        digest.update(file.bytes.len().to_be_bytes());
        digest.update(&file.bytes);
    }
    let hex: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("..{hex}")
}

fn remove_if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
