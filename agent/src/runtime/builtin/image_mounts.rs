//! Images as volumes: their layers on one another at a folder of the node, to be looked at only.
//!
//! The table of mounts is the only memory of which images are volumes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag, fsmount, move_mount,
};

use crate::container::overlay;
use crate::images::StoredImage;

/// Mounts the image at `target`, unless it is there. `nothing` is an empty folder, since it takes two for an overlay.
pub(super) fn mount(image: &StoredImage, nothing: &Path, target: &Path) -> io::Result<()> {
    std::fs::create_dir_all(nothing)?;
    std::fs::create_dir_all(target)?;
    if table()?.lines().any(|line| is_at(line, target)) {
        return Ok(());
    }
    let layers: Vec<&Path> = image.layers.iter().map(PathBuf::as_path).chain([nothing]).collect();
    match layered(&image.id, &layers) {
        Ok(mount) => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            Ok(move_mount(&mount, "", CWD, target, flags)?)
        }
        // Kernels before 6.7 take all layers in one text only.
        Err(rustix::io::Errno::INVAL) => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let settings = overlay::lowerdir(layers.iter().copied());
            Ok(nix::mount::mount(
                Some(image.id.as_str()),
                target,
                Some("overlay"),
                flags,
                Some(&settings[..]),
            )?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the image with this id is a volume now.
pub(super) fn is_mounted(id: &str) -> bool {
    // An image that cannot be told from one in use is kept.
    table().map_or(true, |table| table.lines().any(|line| is_of(line, id)))
}

fn layered(id: &str, layers: &[&Path]) -> rustix::io::Result<OwnedFd> {
    let context = overlay::over_layers(id, layers.iter().copied())?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn table() -> io::Result<String> {
    std::fs::read_to_string("/proc/self/mountinfo")
}

/// `ID PARENT DEVICE ROOT TARGET OPTIONS … - overlay SOURCE …`
fn is_of(line: &str, id: &str) -> bool {
    let about = line.split_once(" - ").map(|(_, about)| about.split(' ').collect::<Vec<_>>());
    about.is_some_and(|about| about.first() == Some(&"overlay") && about.get(1) == Some(&id))
}

fn is_at(line: &str, target: &Path) -> bool {
    let real = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    // The kernel writes a space as \040; a pod's folder has none but in the node's own path to it.
    let at = line.split(' ').nth(4).map(|at| at.replace("\\040", " "));
    at.is_some_and(|at| Path::new(&at) == real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_tells_its_image_and_its_place() {
        let line = "600 29 0:50 / /d\\040d/v ro,nosuid shared:3 - overlay sha256:ab ro,lowerdir+=/l/1";
        assert!(is_of(line, "sha256:ab") && !is_of(line, "sha256:abc") && !is_of("", ""));
        assert!(is_at(line, Path::new("/d d/v")) && !is_at(line, Path::new("/d d")));
        assert!(!is_of("1 2 0:3 / /x rw - bind sha256:ab rw", "sha256:ab"));
    }

    #[test]
    fn old_kernels_are_told_in_one_text() {
        let text = overlay::lowerdir([Path::new("/a:b"), Path::new("/c")]);
        assert_eq!(str::from_utf8(&text), Ok("lowerdir=/a\\:b:/c"));
    }
}
