//! The calls that no safe interface offers. Everything else of a container goes through one.
#![expect(
    unsafe_code,
    reason = "seccomp(2) without no_new_privs, mount_setattr(2), keyctl(2) and signal(2) have no safe wrapper"
)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Loads a filter program for this thread, which is the only one.
pub(super) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let flags: libc::c_uint = 0;
    // SAFETY: the kernel copies `len` instructions from a slice that outlives the call, and writes nothing.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(done)?;
    Ok(())
}

/// What mount_setattr(2) changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MountChange {
    /// Also of everything mounted below.
    pub(super) recursive: bool,
    pub(super) read_only: bool,
    /// One of `MS_PRIVATE` and `MS_SLAVE`, or nothing.
    pub(super) propagation: libc::c_ulong,
}

/// Changes a mount, attached or not. Linux 5.12 and newer.
pub(super) fn change_mount(mount: &OwnedFd, change: MountChange) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: if change.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: 0,
        propagation: change.propagation,
        userns_fd: 0,
    };
    let recursive = if change.recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = (libc::AT_EMPTY_PATH | recursive).cast_unsigned();
    // SAFETY: the path is an empty string that is static, and the kernel reads as many bytes of the attributes as
    // it is told that they have.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// Begins a session keyring of this process's own: the one that it was started with holds the node's keys.
pub(super) fn leave_session_keyring() -> io::Result<()> {
    let name: *const libc::c_char = std::ptr::null();
    // SAFETY: without a name the call takes nothing of this process's memory.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) };
    match Errno::result(done) {
        // A kernel without keys has none to leave.
        Err(Errno::ENOSYS) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Every signal does again what the kernel does by default.
pub(super) fn reset_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler of ours is named, so nothing of ours runs later. Those that cannot be changed
        // (SIGKILL, SIGSTOP and the C library's own) are refused and stay.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}
