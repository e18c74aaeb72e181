//! The process that becomes a container of the built-in runtime.
//!
//! A pod's shim starts this program once for every process of a container, with its standard streams and with the
//! pod's namespaces already its own. What to become stands in a file. It builds what the container sees, gives up
//! what the container may not do, and is replaced by the container's program. There is one thread from start to
//! end: namespaces and credentials belong to threads.

mod accounts;
mod capabilities;
mod devices;
mod entering;
mod failure;
mod filling;
mod inside;
mod kernel;
mod mounts;
pub(crate) mod overlay;
mod process;
mod program;
mod reaper;
mod root;
pub(crate) mod sealing;
mod seccomp;
pub(crate) mod spec;
mod streams;
mod system;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;

pub(crate) use capabilities::every_capability;
use failure::{Explain as _, refusal};
use seccomp::Filter;
use spec::{ContainerSpec, Launch, ProcessSpec, StartFailure};

/// The first argument that asks for this. For the shim alone, so no part of the command line that is documented.
pub const COMMAND: &str = "container-process";

/// What `main` does with `container-process LAUNCH_FILE STATUS_FD`. Returns only when there is nothing to become;
/// the reason then stands on the descriptor `STATUS_FD`, which a program that has started closes unwritten.
pub fn become_process(arguments: &[OsString]) -> ExitCode {
    let [launch, status] = arguments else {
        eprintln!("navarch: {COMMAND} takes a file and a descriptor");
        return ExitCode::FAILURE;
    };
    let sealed = sealing::restart(&[OsStr::new(COMMAND), launch, status]);
    let mut status = match streams::take_over(status) {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("navarch: {}", failure.message);
            return ExitCode::FAILURE;
        }
    };
    let failure = match sealed.and_then(|()| read(launch)) {
        Ok(Launch::Reaper) => {
            drop(status);
            return reaper::run();
        }
        Ok(Launch::Container(container)) => become_first(&container),
        Ok(Launch::Exec { container, leader, process }) => become_another(&container, leader, &process),
        Err(failure) => failure,
    };
    let told = serde_json::to_vec(&failure).map_err(std::io::Error::from);
    if let Err(error) = told.and_then(|text| status.write_all(&text)) {
        eprintln!("navarch: {} (and cannot say so: {error})", failure.message);
    }
    ExitCode::from(u8::try_from(failure.code).unwrap_or(u8::MAX))
}

fn read(file: &OsString) -> Result<Launch, StartFailure> {
    let text = std::fs::read(file).at("read", file)?;
    serde_json::from_slice(&text).map_err(|error| refusal(format!("read what to become: {error}")))
}

fn become_first(container: &ContainerSpec) -> StartFailure {
    let process = &container.process;
    let started = filter(process).and_then(|filter| {
        entering::into_own(container)?;
        process::turn_into(process, filter.as_ref())
    });
    match started {
        Err(failure) => failure,
    }
}

fn become_another(container: &ContainerSpec, leader: i32, process: &ProcessSpec) -> StartFailure {
    let started = filter(process).and_then(|filter| {
        entering::beside(container, leader, process)?;
        process::turn_into(process, filter.as_ref())
    });
    match started {
        Err(failure) => failure,
    }
}

/// Read while the node's files are still seen.
fn filter(process: &ProcessSpec) -> Result<Option<Filter>, StartFailure> {
    Filter::read(&process.seccomp, &capabilities::names(&process.capabilities)?)
}
