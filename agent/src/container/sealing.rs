//! This program from a mount that cannot be written to.
//!
//! A container can open the program of its processes by `/proc/PID/exe`, and an image can have this one started once
//! more inside (a link, an interpreter's line, a loader). What it gets hold of must not be the node's own file, or it
//! could replace what the node runs (as in CVE-2019-5736).

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::execveat;

use super::failure::{Explain as _, refusal};
use super::mounts;
use super::spec::StartFailure;

/// What a program that was started as this one runs from.
const PROGRAM: &str = "/proc/self/exe";

/// Starts this program anew, with these arguments, the same environment and the same descriptors, from a mount of its
/// own that is read-only and nowhere in the tree. Returns when it runs from there already, or when that failed.
///
/// What is started as `/proc/self/exe` from then on runs from there too, and need not be started twice.
pub(crate) fn restart(arguments: &[&OsStr]) -> Result<(), StartFailure> {
    let mount = statvfs(Path::new(PROGRAM)).step("look at this program")?;
    if mount.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(());
    }
    match restarted(arguments) {
        Err(failure) => Err(failure),
    }
}

fn restarted(arguments: &[&OsStr]) -> Result<Infallible, StartFailure> {
    let program = mounts::copy_of_file(PROGRAM).step("open this program")?;
    mounts::make_read_only(&program).step("seal this program")?;
    let arguments = [OsStr::new("navarch")].into_iter().chain(arguments.iter().copied());
    let arguments = arguments.map(OsStrExt::as_bytes).map(terminated).collect::<Result<Vec<_>, _>>()?;
    let variables = std::env::vars_os().map(|(name, value)| variable(&name, &value));
    let environment = variables.collect::<Result<Vec<_>, _>>()?;
    execveat(program, c"", &arguments, &environment, AtFlags::AT_EMPTY_PATH).step("start this program anew")
}

fn variable(name: &OsString, value: &OsString) -> Result<CString, StartFailure> {
    terminated(&[name.as_bytes(), b"=", value.as_bytes()].concat())
}

fn terminated(text: &[u8]) -> Result<CString, StartFailure> {
    CString::new(text).map_err(|_| refusal("start this program anew: a zero byte in an argument"))
}
