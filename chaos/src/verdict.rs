//! What a run has shown: the four verdicts, and what each property of the catalogue came to.

use serde::{Deserialize, Serialize};

/// Ordered by how much they weigh: the verdict of a run is the greatest of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Verdict {
    /// Everything that was to be exercised was, and nothing was wrong.
    Pass,
    /// Nothing wrong was seen, but something that the run claims to exercise did not happen.
    Inconclusive,
    /// The harness itself is at fault, so the run says nothing.
    HarnessError,
    /// A promise was broken.
    Fail,
}

impl Verdict {
    /// What the process exits with.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 2,
            Self::HarnessError => 3,
        }
    }
}

/// One property, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The property's name in the catalogue: `watch-ordered`.
    pub property: String,
    /// How many times it was put to the test; zero is never a pass.
    pub checked: u64,
    /// What broke it; empty when nothing did.
    pub violations: Vec<Violation>,
    /// Why it could not be judged, if so.
    pub inconclusive: Option<String>,
}

/// Where a property was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// One sentence with the facts: keys, revisions, processes.
    pub what: String,
    /// Numbers of the history's lines that show it, in order.
    pub lines: Vec<u64>,
}

impl Finding {
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Fail
        } else if self.inconclusive.is_some() || self.checked == 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }
}
