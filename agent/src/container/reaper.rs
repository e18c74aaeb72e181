//! The first process of a PID namespace that a pod's containers share: it outlives each of them, and reaps what
//! they leave behind.

use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Ends on SIGTERM, and its namespace with it.
pub(super) fn run() -> ExitCode {
    // Whoever holds the pod together takes it along, however it ends.
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("navarch: cannot follow the shim: {error}");
        return ExitCode::FAILURE;
    }
    let mut woken_by = SigSet::empty();
    woken_by.add(Signal::SIGCHLD);
    woken_by.add(Signal::SIGTERM);
    // A signal that is blocked reaches even the first process of a namespace, and waits for it.
    if let Err(error) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&woken_by), None) {
        eprintln!("navarch: cannot wait for signals: {error}");
        return ExitCode::FAILURE;
    }
    loop {
        reap_all();
        match woken_by.wait() {
            Ok(Signal::SIGTERM) => return ExitCode::SUCCESS,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                eprintln!("navarch: cannot wait for signals: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

fn reap_all() {
    while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
}
