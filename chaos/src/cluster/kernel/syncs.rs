//! Seccomp's user notifications for fsync and fdatasync: the calls of another process wait here for their answer.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;

/// What the process knows the listener as, out of the way of its own files.
const LISTENER: RawFd = 900;
/// Where the number of the call is in what a filter sees.
const CALL_AT: u32 = 0;

/// A sync that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Waiting(u64);

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Answer {
    /// The kernel does what was asked.
    Sync,
    /// It is not done, and the caller is told that the disk failed.
    Fail,
}

/// Has every sync of what the command starts wait for an answer.
#[expect(unsafe_code, reason = "what runs between fork and exec must not allocate: two system calls do not")]
pub(in crate::cluster) fn hold(command: &mut Command) {
    unsafe { command.pre_exec(install_filter) };
}

/// The other end, of a process that was started by such a command.
#[expect(
    unsafe_code,
    reason = "two system calls that take numbers, and the descriptor that one of them made"
)]
pub(in crate::cluster) fn listener(pid: u32) -> Result<OwnedFd> {
    let open = |number: i64, a: i64, b: i64| -> Result<OwnedFd, Errno> {
        let file = Errno::result(unsafe { libc::syscall(number, a, b, 0) })?;
        Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(file).map_err(|_| Errno::EBADF)?) })
    };
    let process = open(libc::SYS_pidfd_open, pid.into(), 0).context("cannot hold the process")?;
    open(libc::SYS_pidfd_getfd, process.as_raw_fd().into(), LISTENER.into())
        .context("the syncs of the process cannot be held")
}

/// A sync that waits, if there is one.
#[expect(unsafe_code, reason = "the kernel fills structures of our own, which outlive the calls")]
pub(in crate::cluster) fn receive(listener: RawFd) -> io::Result<Option<Waiting>> {
    loop {
        let mut asked = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
        if Errno::result(unsafe { libc::poll(&raw mut asked, 1, 0) })? == 0
            || asked.revents & libc::POLLIN == 0
        {
            return Ok(None);
        }
        let mut seen: libc::seccomp_notif = unsafe { zeroed() };
        match Errno::result(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut seen) }) {
            Ok(_) => return Ok(Some(Waiting(seen.id))),
            // Its caller was killed meanwhile.
            Err(Errno::ENOENT | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets the caller go on. One that was killed needs no answer.
#[expect(unsafe_code, reason = "the kernel reads a structure of its own, which outlives the call")]
pub(in crate::cluster) fn answer(listener: RawFd, waiting: Waiting, answer: Answer) {
    let mut told: libc::seccomp_notif_resp = unsafe { zeroed() };
    told.id = waiting.0;
    match answer {
        Answer::Sync => told.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
        Answer::Fail => told.error = -libc::EIO,
    }
    let _gone = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut told) };
}

#[expect(unsafe_code, reason = "the filter outlives the call")]
fn install_filter() -> io::Result<()> {
    let step = |code: u32, on_match: u8, otherwise: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: on_match,
        jf: otherwise,
        k,
    };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, CALL_AT),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, libc::SYS_fsync as u32),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, libc::SYS_fdatasync as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
    ];
    let program = libc::sock_fprog { len: 5, filter: filter.as_mut_ptr() };
    let listener = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Once it is here, only a kill ends its wait: not the signals that Go sends to its own threads.
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            &raw const program,
        )
    })?;
    // The listener itself does not survive the start of the program; its copy does.
    Errno::result(unsafe { libc::dup2(listener as RawFd, LISTENER) })?;
    Ok(())
}
