//! A terminal of the container's own: a pair on the container's `/dev/pts`, one end for this process, the other for
//! the shim.
//!
//! The shim leaves a socket as the standard input of a process that is to have a terminal. Nothing is opened by a name
//! that the container could have bent but the multiplexer, and that is looked at.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use super::failure::{Explain as _, refusal};
use super::spec::StartFailure;

const TERMINALS: &str = "/dev/pts";
const DEVPTS_MAGIC: FsType = FsType(0x1cd1);

/// Opens a new one on the file system of terminals that is open here, and makes it the standard streams.
/// Returns what to mount as `/dev/console`.
pub(super) fn take(terminals: &OwnedFd) -> Result<OwnedFd, StartFailure> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let controller = openat(terminals, "ptmx", flags, Mode::empty()).step("open a terminal")?;
    check(&controller)?;
    unlockpt(&controller).step("unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&controller, flags).step("open the terminal's other end")?;
    give(&controller)?;
    dup2_stdin(&terminal).step("take the terminal as standard input")?;
    dup2_stdout(&terminal).step("take the terminal as standard output")?;
    dup2_stderr(&terminal).step("take the terminal as standard error")?;
    Ok(terminal)
}

/// The same beside a process that has been here for long.
pub(super) fn take_inside() -> Result<(), StartFailure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let terminals = nix::fcntl::open(Path::new(TERMINALS), flags, Mode::empty()).at("open", TERMINALS)?;
    take(&terminals).map(drop)
}

/// It is a multiplexer of terminals, whatever else may lie there.
fn check(controller: &OwnedFd) -> Result<(), StartFailure> {
    let found = fstat(controller).step("look at the terminal")?;
    let is_device = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    let kind = fstatfs(controller).map_err(|error: Errno| error).step("look at the terminal")?;
    if is_device && found.st_rdev == makedev(5, 2) && kind.filesystem_type() == DEVPTS_MAGIC {
        return Ok(());
    }
    Err(refusal(format!("{TERMINALS}/ptmx makes no terminals")))
}

/// To the shim, which waits for nothing else.
fn give(controller: &OwnedFd) -> Result<(), StartFailure> {
    let descriptors = [controller.as_fd()];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut room);
    message.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(std::io::stdin(), &[IoSlice::new(b"t")], &mut message, SendFlags::empty());
    sent.map(drop).step("hand over the terminal")
}
