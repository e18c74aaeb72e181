//! From the node to where the container is: cgroups, namespaces, its files.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, umask};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::failure::Explain as _;
use super::spec::{ContainerSpec, ProcessSpec, StartFailure};
use super::{root, terminal};
use crate::cgroups;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Makes what the container sees, and goes there.
pub(super) fn into_own(container: &ContainerSpec) -> Result<(), StartFailure> {
    prepare(container, &container.process)?;
    let mut namespaces = CloneFlags::CLONE_NEWNS;
    // What is privileged sees the node's.
    if cgroups::is_one_tree() && !container.privileged {
        namespaces |= CloneFlags::CLONE_NEWCGROUP;
    }
    unshare(namespaces).step("make the container's namespaces")?;
    root::build(container)
}

/// Goes where the container already is.
pub(super) fn beside(
    container: &ContainerSpec,
    leader: i32,
    process: &ProcessSpec,
) -> Result<(), StartFailure> {
    let open = |name: &str| {
        let path = format!("/proc/{leader}/ns/{name}");
        File::open(&path).at("open", &path)
    };
    let (mounts, cgroup) = (open("mnt")?, open("cgroup")?);
    prepare(container, process)?;
    if cgroups::is_one_tree() && !container.privileged {
        setns(cgroup, CloneFlags::CLONE_NEWCGROUP).step("enter the container's cgroup namespace")?;
    }
    setns(mounts, CloneFlags::CLONE_NEWNS).step("enter the container's mounts")?;
    if process.tty { terminal::take_inside() } else { Ok(()) }
}

/// What is done where the node's own files are seen.
fn prepare(container: &ContainerSpec, process: &ProcessSpec) -> Result<(), StartFailure> {
    // Nothing of this program may be looked into by those whose namespaces it enters.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("hide this process")?;
    umask(Mode::empty());
    for folder in &container.cgroups {
        cgroups::join(folder).at("join the cgroup", folder)?;
    }
    set_oom_score(process.oom_score_adj)
}

/// Lower than what this process was started with takes a capability; without it the score stays.
fn set_oom_score(score: i32) -> Result<(), StartFailure> {
    match std::fs::write(Path::new(OOM_SCORE), score.to_string()) {
        Err(error)
            if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EACCES | Errno::EPERM)) =>
        {
            Ok(())
        }
        other => other.at("write", OOM_SCORE),
    }
}
