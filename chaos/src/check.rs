//! Judges a history: the one table of checkers, each pure, each in a file of its own.
//!
//! A checker tells what it found of every property that it owns, also when it found nothing: a property that is missing
//! from the findings was not judged.

pub mod accounts;
pub mod append;
pub mod bank;
pub mod claims;
pub mod compactions;
pub mod course;
pub mod floors;
pub mod header;
pub mod held_up;
pub mod kubernetes;
pub mod lease;
pub mod linearizable;
pub mod lock;
pub mod members;
mod moments;
pub mod oracle;
mod reads;
pub mod register;
pub mod set;
pub mod shapes;
pub mod sights;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod trouble;
pub mod watch;
pub mod witness;
mod words;

use crate::history::{History, Operations, Watch};
use crate::model::{Model, recover};
use crate::verdict::Finding;
use claims::Claims;
use compactions::Compactions;
use floors::Floors;
use tally::unjudged;

/// What every checker is given. Made once for a history.
pub struct Input<'a> {
    pub history: &'a History,
    pub operations: Operations<'a>,
    pub watches: Vec<Watch<'a>>,
    /// What was told by which line.
    pub floors: Floors,
    pub compactions: Compactions,
    /// Or why the log is not known.
    pub known: Result<Known<'a>, String>,
    log_findings: Vec<Finding>,
}

/// What follows from the log.
pub struct Known<'a> {
    pub model: Model<'a>,
    /// The log reaches to the end of the run. Otherwise something may be missing there.
    pub is_whole: bool,
    /// Who made which revision.
    pub claims: Claims,
}

impl<'a> Input<'a> {
    pub fn new(history: &'a History) -> Self {
        let operations = history.operations();
        let watches = history.watches();
        let floors = Floors::of(&operations, &watches);
        let compactions = Compactions::of(history, &operations, &watches);
        let recovered = recover(history, &watches, compactions.highest());
        let is_whole = recovered.by_members;
        let known = recovered.model.map(|model| {
            let claims = claims::claim(&model, is_whole, &operations, &floors);
            Known { model, is_whole, claims }
        });
        Self { history, operations, watches, floors, compactions, known, log_findings: recovered.findings }
    }

    /// Whether the run did any of this work: what it never claimed to do is not judged.
    pub fn uses(&self, workload: &str) -> bool {
        self.operations.iter().any(|operation| operation.workload == workload)
    }
}

/// A checker's name, and what it does.
pub type Checker = (&'static str, fn(&Input<'_>) -> Vec<Finding>);

/// All of them, in the order in which a report shows their findings.
pub const ALL: &[Checker] = &[
    ("log", log),
    ("claims", claimed),
    ("oracle", oracle::check),
    ("header", header::check),
    ("watch", watch::check),
    ("course", course::check),
    ("linearizable", linearizable::findings),
    ("append", append::findings),
    ("register", register::findings),
    ("set", set::findings),
    ("bank", bank::findings),
    ("lease", lease::findings),
    ("lock", lock::findings),
    ("members", members::findings),
    ("sights", sights::findings),
    ("shapes", shapes::findings),
    ("accounts", accounts::findings),
    ("held-up", held_up::findings),
    ("kubernetes", kubernetes::findings),
];

/// Every property that any checker judges.
pub fn all(history: &History) -> Vec<Finding> {
    let input = Input::new(history);
    ALL.iter().flat_map(|(_, check)| check(&input)).collect()
}

/// The properties that a history breaks.
#[cfg(test)]
pub fn broken(history: &History) -> Vec<String> {
    let failed = |finding: &Finding| finding.verdict() == crate::verdict::Verdict::Fail;
    all(history).into_iter().filter(failed).map(|finding| finding.property).collect()
}

/// Found while the log was put together.
fn log(input: &Input<'_>) -> Vec<Finding> {
    input.log_findings.clone()
}

/// Found while each revision's maker was looked for.
fn claimed(input: &Input<'_>) -> Vec<Finding> {
    match &input.known {
        Ok(known) => known.claims.findings.clone(),
        Err(reason) => claims::PROPERTIES.iter().map(|property| unjudged(property, reason)).collect(),
    }
}
