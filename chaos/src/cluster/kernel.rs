//! The few calls to the kernel that no safe function makes.

pub(super) mod syncs;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// `XFS_IOC_GOINGDOWN`, which ext4 has too.
const GOING_DOWN: libc::Ioctl = 0x8004_587d;
/// Nothing more reaches the disk, not even the journal: as when the power goes.
const WITHOUT_FLUSH: u32 = 2;

/// Puts what the command starts into a network namespace, and has it killed as soon as the thread that starts it ends.
#[expect(unsafe_code, reason = "what runs between fork and exec must not allocate: two system calls do not")]
pub(super) fn confine(command: &mut Command, namespace: OwnedFd) {
    let confine = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    };
    unsafe { command.pre_exec(confine) };
}

/// A TUN device in the calling thread's namespace; it goes away with the last copy of the file, which does not block.
#[expect(unsafe_code, reason = "the one way to make a device; the request outlives the call")]
pub(super) fn tun(name: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let file = file.context("cannot open /dev/net/tun")?;
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
        .context("cannot make a TUN device")?;
    Ok(file)
}

/// Cuts the power of the file system that is mounted here: whatever was not synced is lost.
#[expect(unsafe_code, reason = "the one way to cut it; the flags outlive the call")]
pub(super) fn cut_power(mounted: &Path) -> Result<()> {
    let folder = File::open(mounted).with_context(|| format!("cannot open {}", mounted.display()))?;
    let mut flags = WITHOUT_FLUSH;
    Errno::result(unsafe { libc::ioctl(folder.as_raw_fd(), GOING_DOWN, &raw mut flags) })
        .with_context(|| format!("cannot cut the power of {}", mounted.display()))?;
    Ok(())
}
