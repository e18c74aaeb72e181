//! Histories in the formats of other people's checkers, so that nobody needs to believe ours.
//!
//! Attempts under one request id are one operation there, too. Watches, hashes and logs are left out: none of these
//! formats has a word for them.

mod edn;
mod elle;
mod porcupine;
mod register;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::history::History;

/// For whom a history is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The list transactions of the workload `append`, as `elle-cli --model list-append` reads them.
    ElleJson,
    /// Every operation, one map to a line, as Jepsen and Knossos read them.
    JepsenEdn,
    /// Every operation, one object to a line, with the fields of porcupine's `Operation`.
    PorcupineJson,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::ElleJson, Self::JepsenEdn, Self::PorcupineJson];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ElleJson => "elle-json",
            Self::JepsenEdn => "jepsen-edn",
            Self::PorcupineJson => "porcupine-json",
        }
    }
}

/// Writes piece by piece: give it something buffered.
///
/// # Errors
/// Those of `out`.
pub fn write(history: &History, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::ElleJson => elle::write(history, out),
        Format::JepsenEdn => edn::write(history, out),
        Format::PorcupineJson => porcupine::write(history, out),
    }
}

/// The beginning or the end of the operation at this place.
enum Moment {
    Invoked(usize),
    Returned(usize),
}

/// Each with its line in the history, from a list of (line of the beginning, line of the end).
fn moments(lives: impl Iterator<Item = (u64, Option<u64>)>) -> Vec<(u64, Moment)> {
    let mut all: Vec<(u64, Moment)> = Vec::new();
    for (place, (invoked, returned)) in lives.enumerate() {
        all.push((invoked, Moment::Invoked(place)));
        all.extend(returned.map(|line| (line, Moment::Returned(place))));
    }
    all.sort_by_key(|(line, _)| *line);
    all
}
