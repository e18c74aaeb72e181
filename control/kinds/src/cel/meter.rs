//! What a rule may cost, and how a rule fails.
//!
//! A step is an expression evaluated, an element looked at, or ten bytes of text read or made. What is made is paid for
//! before it is made, so the meter bounds memory as it bounds time.

/// Steps that are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    left: u64,
}

/// Why a rule has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("operation cancelled: actual cost limit exceeded")]
    Budget,
    #[error("no such overload")]
    NoOverload,
    #[error("no such key: {0}")]
    NoKey(String),
    #[error("index out of bounds: {0}")]
    OutOfBounds(i64),
    #[error("{0}")]
    Said(String),
}

impl Failure {
    pub(super) fn said(text: impl Into<String>) -> Self {
        Self::Said(text.into())
    }
}

impl Meter {
    pub(crate) fn of(steps: u64) -> Self {
        Self { left: steps }
    }

    pub(crate) fn left(self) -> u64 {
        self.left
    }

    /// Takes what was spent elsewhere out of this meter.
    pub(crate) fn charge(&mut self, steps: u64) {
        self.left = self.left.saturating_sub(steps);
    }

    /// # Errors
    /// There are not as many left.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        match self.left.checked_sub(steps as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Failure::Budget)
            }
        }
    }

    /// For text read or made.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        self.spend(bytes / 10)
    }
}
