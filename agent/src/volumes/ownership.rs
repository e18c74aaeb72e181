//! fsGroup: a volume's files are given to a group of the pod, which may write them (as the kubelet does).

use std::fs::{DirEntry, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

const READ_WRITE: u32 = 0o660;
const READ: u32 = 0o440;
/// Folders are entered, and what is made in them belongs to the group, too.
const FOLDER: u32 = 0o2110;

#[derive(Clone, Copy, Debug)]
pub(super) struct Ownership {
    group: u32,
    mask: u32,
    /// Nothing is looked at when the volume itself is as it should be.
    on_root_mismatch: bool,
}

impl Ownership {
    /// `None`: the pod does not ask for any.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let context = pod.spec.as_ref()?.security_context.as_ref()?;
        let policy = context.fs_group_change_policy.as_deref();
        Some(Self {
            group: u32::try_from(context.fs_group?).ok()?,
            mask: READ_WRITE,
            on_root_mismatch: policy == Some("OnRootMismatch"),
        })
    }

    /// Of a volume that no container may write.
    pub(super) fn for_reading(self) -> Self {
        Self { mask: READ, ..self }
    }

    pub(super) fn take(&self, root: &Path) -> io::Result<()> {
        if self.on_root_mismatch && self.owns(&root.symlink_metadata()?) {
            return Ok(());
        }
        self.take_tree(root)
    }

    /// The folder last: it tells that all of it is done.
    fn take_tree(&self, path: &Path) -> io::Result<()> {
        let metadata = path.symlink_metadata()?;
        if metadata.is_dir() {
            let entries: Vec<DirEntry> = std::fs::read_dir(path)?.collect::<Result<_, _>>()?;
            for entry in entries {
                self.take_tree(&entry.path())?;
            }
        }
        self.take_one(path, &metadata)
    }

    fn take_one(&self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        lchown(path, None, Some(self.group))?;
        if metadata.is_symlink() {
            return Ok(());
        }
        // Whoever puts a link in its place meanwhile gains nothing.
        let file = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let held = format!("/proc/self/fd/{}", file.as_raw_fd());
        if std::fs::metadata(&held)?.ino() != metadata.ino() {
            return Ok(());
        }
        std::fs::set_permissions(held, Permissions::from_mode(self.wanted_mode(metadata)))
    }

    fn wanted_mode(&self, metadata: &Metadata) -> u32 {
        let folder = if metadata.is_dir() { FOLDER } else { 0 };
        (metadata.mode() & 0o7777) | self.mask | folder
    }

    fn owns(&self, root: &Metadata) -> bool {
        root.gid() == self.group && root.mode() & 0o7777 == self.wanted_mode(root)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ownership(policy: &str) -> Ownership {
        let context = json!({"fsGroup": 1234, "fsGroupChangePolicy": policy});
        let pod = json!({"spec": {"containers": [], "securityContext": context}});
        Ownership::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn of(path: &Path) -> (u32, u32) {
        let metadata = path.symlink_metadata().unwrap();
        (metadata.gid(), metadata.mode() & 0o7777)
    }

    #[test]
    fn a_group_gets_a_whole_tree_and_no_link_leads_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("v"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("d")).unwrap();
        for file in [&root.join("d/f"), &outside] {
            std::fs::write(file, "x").unwrap();
            std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let before = of(&outside);
        ownership("Always").take(&root).unwrap();
        assert_eq!(of(&root.join("d/f")), (1234, 0o660));
        assert_eq!(of(&root.join("d")).0, 1234);
        assert_eq!(of(&root.join("d")).1 & FOLDER, FOLDER);
        assert_eq!(of(&root.join("link")).0, 1234);
        assert_eq!(of(&outside), before);
    }

    #[test]
    fn on_root_mismatch_looks_at_the_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        ownership("Always").take(dir.path()).unwrap();
        let late = dir.path().join("late");
        std::fs::write(&late, "x").unwrap();
        std::fs::set_permissions(&late, Permissions::from_mode(0o600)).unwrap();
        ownership("OnRootMismatch").take(dir.path()).unwrap();
        assert_eq!(of(&late).1, 0o600, "the root is right: nothing is touched");
        ownership("Always").for_reading().take(dir.path()).unwrap();
        assert_eq!(of(&late).1, 0o640);
    }
}
