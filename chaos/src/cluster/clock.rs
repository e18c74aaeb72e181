//! A member's wall clock, shifted while it runs: libfaketime reads the shift from a file, and leaves monotonic time alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base::{Clock as _, SystemClock, Timestamp};

/// Where Debian has the library, for each kind of processor.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];
/// Processes look at the file again after a second.
const READ_EVERY_S: &str = "1";

/// The library, where it is installed.
pub(crate) fn library() -> Option<&'static Path> {
    LIBRARIES.iter().map(Path::new).find(|library| library.exists())
}

/// The clock of one member.
#[derive(Debug)]
pub(super) struct FakeClock {
    shift: PathBuf,
}

impl FakeClock {
    /// A clock that is right, as long as `file` is not told otherwise.
    pub(super) fn create(file: PathBuf) -> Result<Self> {
        let clock = Self { shift: file };
        clock.set(0)?;
        Ok(clock)
    }

    pub(super) fn set(&self, shift_ms: i64) -> Result<()> {
        let half = self.shift.with_extension("half");
        let sign = if shift_ms < 0 { '-' } else { '+' };
        let shift = shift_ms.unsigned_abs();
        fs::write(&half, format!("{sign}{}.{:03}", shift / 1000, shift % 1000))?;
        fs::rename(&half, &self.shift).with_context(|| format!("cannot write {}", self.shift.display()))
    }

    /// Has what the command starts go by this clock.
    pub(super) fn give_to(&self, command: &mut Command) -> Result<()> {
        let library = library().context("libfaketime is not installed")?;
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.shift)
            .env("FAKETIME_CACHE_DURATION", READ_EVERY_S)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Ok(())
    }

    /// How far the clock of a process beside the member is ahead, in milliseconds: what one that just started says, and
    /// the member's says a second later at most.
    pub(super) fn seen_ms(&self) -> Result<i64> {
        let mut date = Command::new("date");
        date.args(["--utc", "+%Y-%m-%dT%H:%M:%S.%NZ"]);
        self.give_to(&mut date)?;
        let output = date.output().context("cannot run date")?;
        ensure!(output.status.success(), "date fails under libfaketime");
        let seen: Timestamp =
            String::from_utf8(output.stdout)?.trim().parse().context("date tells no time")?;
        Ok(seen.as_millisecond() - SystemClock.now().as_millisecond())
    }
}
