//! Who writes next where only one can: waiting in line at this server is cheaper than overtaking each other in the store.
//!
//! Nothing relies on it. What must not happen twice the store refuses; other servers have lines of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::status::Status;

/// Lines that nobody stands in are forgotten when there are so many.
const LINES_MAX: usize = 1024;

/// Lines, by what they are for.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<Semaphore>>>);

impl Turns {
    /// Waits for a turn, which lasts as long as what is returned. First come, first served.
    pub(crate) async fn take(&self, what: &str) -> Result<OwnedSemaphorePermit, Status> {
        let line = self.line(what);
        line.acquire_owned().await.map_err(|_| Status::unavailable("the server is stopping"))
    }

    fn line(&self, what: &str) -> Arc<Semaphore> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(what).and_then(Weak::upgrade) {
            return line;
        }
        if lines.len() >= LINES_MAX {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        let line = Arc::new(Semaphore::new(1));
        lines.insert(what.to_owned(), Arc::downgrade(&line));
        line
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nobody_is_remembered() {
        let turns = Turns::default();
        let first = turns.take("a").await.ok();
        assert!(first.is_some());
        assert!(turns.take("a").now_or_never().is_none(), "it is somebody's turn");
        assert!(turns.take("b").now_or_never().is_some(), "another line");
        drop(first);
        assert!(turns.take("a").now_or_never().is_some());
        for number in 0..2 * LINES_MAX {
            assert!(turns.take(&number.to_string()).await.is_ok());
        }
        assert!(turns.0.lock().expect("the lines").len() <= LINES_MAX);
    }
}
