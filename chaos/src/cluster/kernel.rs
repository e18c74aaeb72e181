//! The few calls to the kernel that no safe function makes.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Kills what the command starts as soon as the thread that starts it ends.
#[expect(unsafe_code, reason = "what runs between fork and exec must not allocate: one system call does not")]
pub(super) fn die_with_parent(command: &mut Command) {
    let ask = || set_pdeathsig(Signal::SIGKILL).map_err(Into::into);
    unsafe { command.pre_exec(ask) };
}
