//! The program: searched where the container's `PATH` says, started in place of this one.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::execve;

use super::failure::{NOT_EXECUTABLE, NOT_FOUND, refusal};
use super::spec::StartFailure;

/// Where to search when nobody said.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that was found, with everything in the form that the kernel takes.
pub(super) struct Program {
    named: String,
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// Looks for it from the working directory, as the user that will run it.
    pub(super) fn find(args: &[String], environment: &[(String, String)]) -> Result<Self, StartFailure> {
        let named = args.first().filter(|named| !named.is_empty());
        let named = named.ok_or_else(|| refusal("exec: no command"))?.clone();
        let search = environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = search_for(&named, search.map_or(PATH, |(_, value)| value))?;
        Ok(Self {
            path: terminated(&path.display().to_string())?,
            arguments: args.iter().map(|argument| terminated(argument)).collect::<Result<_, _>>()?,
            environment: environment
                .iter()
                .map(|(name, value)| terminated(&format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            named,
        })
    }

    pub(super) fn start(&self) -> Result<Infallible, StartFailure> {
        execve(&self.path, &self.arguments, &self.environment).map_err(|error| failure(&self.named, error))
    }
}

fn search_for(named: &str, search: &str) -> Result<PathBuf, StartFailure> {
    if named.contains('/') {
        return match executable(Path::new(named)) {
            Ok(()) => Ok(PathBuf::from(named)),
            Err(Errno::ENOENT) => Err(StartFailure {
                code: NOT_FOUND,
                message: format!("exec: {named:?}: stat {named}: no such file or directory"),
            }),
            Err(error) => Err(failure(named, error)),
        };
    }
    // A relative folder would be the container's to choose later.
    let folders = search.split(':').map(Path::new).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(named)).find(|path| executable(path).is_ok()).ok_or_else(|| {
        StartFailure {
            code: NOT_FOUND,
            message: format!("exec: {named:?}: executable file not found in $PATH"),
        }
    })
}

fn executable(path: &Path) -> nix::Result<()> {
    let found = std::fs::metadata(path)
        .map_err(|error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))?;
    if found.is_dir() {
        return Err(Errno::EISDIR);
    }
    if found.permissions().mode() & 0o111 == 0 { Err(Errno::EACCES) } else { Ok(()) }
}

fn failure(named: &str, error: Errno) -> StartFailure {
    let code = match error {
        Errno::ENOENT | Errno::ENOTDIR => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let why = match error {
        Errno::EACCES => "permission denied",
        Errno::EISDIR => "is a directory",
        Errno::ENOENT => "no such file or directory",
        Errno::ENOEXEC => "exec format error",
        other => {
            return StartFailure {
                code,
                message: format!("exec: {named:?}: {}", other.desc().to_lowercase()),
            };
        }
    };
    StartFailure { code, message: format!("exec: {named:?}: {why}") }
}

fn terminated(text: &str) -> Result<CString, StartFailure> {
    CString::new(text).map_err(|_| refusal(format!("exec: a zero byte in {text:?}")))
}
