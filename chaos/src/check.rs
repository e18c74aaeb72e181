//! Judges a history: the one table of checkers, each pure, each in a file of its own.
//!
//! A checker tells what it found of every property that it owns, also when it found nothing: a property that is missing
//! from the findings was not judged.

use crate::history::{History, Operations, Watch};
use crate::verdict::Finding;

/// What every checker is given. Made once for a history.
pub struct Input<'a> {
    pub history: &'a History,
    pub operations: Operations<'a>,
    pub watches: Vec<Watch<'a>>,
}

impl<'a> Input<'a> {
    pub fn new(history: &'a History) -> Self {
        Self { history, operations: history.operations(), watches: history.watches() }
    }
}

/// A checker's name, and what it does.
pub type Checker = (&'static str, fn(&Input<'_>) -> Vec<Finding>);

/// All of them, in the order in which a report shows their findings.
pub const ALL: &[Checker] = &[];

/// Every property that any checker judges.
pub fn all(history: &History) -> Vec<Finding> {
    let input = Input::new(history);
    ALL.iter().flat_map(|(_, check)| check(&input)).collect()
}
