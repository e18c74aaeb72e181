//! What a run tells: to programs as `result.json` and JUnit XML, to people as one HTML page and a few lines of text.
//!
//! All of it is computed from a history and the findings of its checkers; nothing here reads a clock, a file or a
//! network. The page needs neither network nor scripts, and its size does not grow with the number of operations.

mod anomaly;
mod availability;
mod calls;
mod describe;
mod faults;
#[cfg(test)]
mod invented;
mod junit;
mod lanes;
mod latency;
mod markup;
mod page;
mod rates;
mod summary;
mod tables;
mod terminal;
#[cfg(test)]
mod tests;
mod timeline;
mod words;

use std::io;
use std::path::Path;

use crate::history::History;
use crate::verdict::Finding;

pub use junit::junit;
pub use latency::Latency;
pub use page::page;
pub use summary::{
    Coverage, Failovers, FaultReport, FaultState, FinalHash, Impact, Outcomes, Property, SCHEMA, Summary,
};
pub use terminal::terminal;

/// A run and what its checkers said.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    pub history: &'a History,
    /// In the order in which they are to be shown; the first violation of the first that has one makes the headline.
    pub findings: &'a [Finding],
    /// What the scenario promised to exercise.
    pub coverage: &'a [Coverage],
    /// What went wrong with the harness itself.
    pub trouble: Option<&'a str>,
}

impl Judged<'_> {
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }
}

/// Writes `result.json`, `report.html` and `junit.xml` into a folder that exists.
pub fn write(judged: &Judged<'_>, folder: &Path) -> io::Result<Summary> {
    let summary = judged.summary();
    let mut json = serde_json::to_string_pretty(&summary)?;
    json.push('\n');
    std::fs::write(folder.join("result.json"), json)?;
    std::fs::write(folder.join("report.html"), page(judged, &summary))?;
    std::fs::write(folder.join("junit.xml"), junit(&summary))?;
    Ok(summary)
}
