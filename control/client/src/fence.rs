//! What a leader proves with each write: its lease, its name and its epoch.
//!
//! The server refuses the write when the Lease says otherwise. The deadline is the cheaper first line: a process
//! that was frozen longer than its lease notices before it sends anything.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The header that carries a fence.
pub(crate) const HEADER: &str = "navarch-fence";

/// One term of leadership.
#[derive(Clone, Debug)]
pub struct Fence {
    pub namespace: String,
    pub lease: String,
    pub holder: String,
    /// The lease's `leaseTransitions` during this term.
    pub epoch: i32,
    valid_until: Deadline,
}

/// When the leader must consider itself deposed; moved forward by each renewal.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(Arc<Mutex<Instant>>);

impl Deadline {
    pub(crate) fn at(instant: Instant) -> Self {
        Self(Arc::new(Mutex::new(instant)))
    }

    pub(crate) fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, instant: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = instant;
    }
}

impl Fence {
    pub(crate) fn new(lease: (&str, &str), holder: &str, epoch: i32, valid_until: Deadline) -> Self {
        Self {
            namespace: lease.0.to_owned(),
            lease: lease.1.to_owned(),
            holder: holder.to_owned(),
            epoch,
            valid_until,
        }
    }

    /// Whether the leader may still believe that it leads, by its own monotonic clock.
    pub fn is_valid(&self) -> bool {
        Instant::now() < self.valid_until.get()
    }

    /// `<namespace>/<lease name>; holder=<holderIdentity>; epoch=<leaseTransitions>`
    pub(crate) fn header_value(&self) -> String {
        format!("{}/{}; holder={}; epoch={}", self.namespace, self.lease, self.holder, self.epoch)
    }
}
