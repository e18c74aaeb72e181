//! The descriptors and signals that the process was started with.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{fstat, makedev};
use nix::unistd::{Uid, close, fchown};

use super::failure::{Explain as _, refusal};
use super::kernel;
use super::spec::StartFailure;

const STANDARD: i32 = 2;

/// Takes the status descriptor over as one that a started program does not have, and closes every other that is
/// not a standard stream.
pub(super) fn take_over(number: &OsStr) -> Result<File, StartFailure> {
    let number: i32 = number
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| *number > STANDARD)
        .ok_or_else(|| refusal(format!("{} is no descriptor for the status", number.display())))?;
    let path = format!("/proc/self/fd/{number}");
    let status = File::options().write(true).open(&path).at("open the status", &path)?;
    for other in open_descriptors()? {
        if other > STANDARD && other != status.as_raw_fd() {
            // The one that listed them is closed already.
            let _not_open = close(other);
        }
    }
    Ok(status)
}

fn open_descriptors() -> Result<Vec<i32>, StartFailure> {
    let entries = std::fs::read_dir("/proc/self/fd").at("list", "/proc/self/fd")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// The user may open its own streams again by their names in `/dev`.
pub(super) fn hand_over(user: Uid) -> Result<(), StartFailure> {
    hand_over_one(&std::io::stdin(), user).step("hand over the standard input")?;
    hand_over_one(&std::io::stdout(), user).step("hand over the standard output")?;
    hand_over_one(&std::io::stderr(), user).step("hand over the standard error")
}

fn hand_over_one(stream: &impl AsFd, user: Uid) -> nix::Result<()> {
    let found = fstat(stream)?;
    if found.st_rdev == makedev(1, 3) || found.st_uid == user.as_raw() {
        return Ok(());
    }
    match fchown(stream, Some(user), None) {
        // Some kinds have no owner to change, and what is read-only keeps its own.
        Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS | Errno::ENOSYS) => Ok(()),
        other => other,
    }
}

/// A program begins with every signal as the kernel has it, whatever those before it ignored or blocked.
pub(super) fn reset_signals() -> Result<(), StartFailure> {
    kernel::reset_signals();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("unblock signals")
}
