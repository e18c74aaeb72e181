//! Why a process of a container did not start, in words: the step, the path and the kernel's reason.

use std::io;
use std::path::Path;

use super::spec::StartFailure;

pub(super) const NOT_FOUND: i32 = 127;
pub(super) const NOT_EXECUTABLE: i32 = 126;
const NOT_STARTED: i32 = 128;

/// A failure of ours: the program itself was not the reason.
pub(super) fn refusal(message: impl Into<String>) -> StartFailure {
    StartFailure { code: NOT_STARTED, message: message.into() }
}

pub(super) trait Explain<T> {
    /// Says what was tried.
    fn step(self, step: &str) -> Result<T, StartFailure>;
    /// Says what was tried, and with what.
    fn at(self, step: &str, path: impl AsRef<Path>) -> Result<T, StartFailure>;
}

impl<T, E: Into<io::Error>> Explain<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, StartFailure> {
        self.map_err(|error| refusal(format!("{step}: {}", reason(&error.into()))))
    }

    fn at(self, step: &str, path: impl AsRef<Path>) -> Result<T, StartFailure> {
        let path = path.as_ref().display();
        self.map_err(|error| refusal(format!("{step} {path}: {}", reason(&error.into()))))
    }
}

/// As other runtimes write it: in small letters, without the number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
