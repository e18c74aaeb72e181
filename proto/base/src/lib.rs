//! What every room agrees on: ids, revisions, time, chance and tasks.
//!
//! No I/O of its own: the clock and the source of entropy are traits, handed in by `main`.

mod clock;
mod entropy;
mod ids;
mod own_thread;
mod tasks;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use ids::{LeaseId, NodeId, Revision};
pub use own_thread::OwnThread;
pub use tasks::{TaskError, Tasks};
