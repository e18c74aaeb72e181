//! How an agent looks for a server that serves: how long it waits for one, and between two rounds. Pure.
//!
//! A server that is dead or frozen should be left before the node counts as lost, so an agent begins with little
//! patience. When server after server is too slow, they are not dead but busy, perhaps with thousands of agents that all
//! begin anew what they have broken off: each round without success is more patient than the one before it.

use std::time::Duration;

const PATIENCE_FIRST: Duration = Duration::from_secs(2);
const PATIENCE_MAX: Duration = Duration::from_secs(16);
/// Between two rounds in which no server could serve.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A session that lasted this long was a good one: the next search begins without a pause.
const GOOD_SESSION: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Search {
    servers: usize,
    failed_in_a_row: usize,
    backoff: Duration,
    patience: Duration,
}

impl Search {
    pub(super) fn among(servers: usize) -> Self {
        Self { servers, failed_in_a_row: 0, backoff: BACKOFF_FIRST, patience: PATIENCE_FIRST }
    }

    /// How long a server may take for each step until it serves.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// A server was tried; `served_for` is how long it served, if at all. The pause before the next one.
    pub(super) fn tried(&mut self, served_for: Option<Duration>) -> Option<Duration> {
        if served_for.is_some_and(|time| time >= GOOD_SESSION) {
            self.failed_in_a_row = 0;
            self.backoff = BACKOFF_FIRST;
            self.patience = (self.patience / 2).max(PATIENCE_FIRST);
            return None;
        }
        self.failed_in_a_row += 1;
        if !self.failed_in_a_row.is_multiple_of(self.servers) {
            return None;
        }
        let pause = self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_without_success_ends_with_a_pause_and_more_patience() {
        let mut search = Search::among(2);
        let mut shown = Vec::new();
        for _ in 0..8 {
            let pause = search.tried(None);
            shown.push((pause.map(|pause| pause.as_millis()), search.patience().as_secs()));
        }
        let expected = [(None, 2), (Some(250), 4), (None, 4), (Some(500), 8)];
        assert_eq!(shown[..4], expected);
        assert_eq!(shown[4..], [(None, 8), (Some(1000), 16), (None, 16), (Some(2000), 16)]);
    }

    #[test]
    fn a_good_session_ends_the_search_and_a_short_one_does_not() {
        let mut search = Search::among(1);
        let (short, good) = (Duration::from_millis(10), Duration::from_secs(2));
        assert_eq!(search.tried(Some(short)), Some(BACKOFF_FIRST));
        assert_eq!(search.tried(Some(short)), Some(BACKOFF_FIRST * 2));
        assert_eq!((search.tried(Some(good)), search.patience()), (None, PATIENCE_FIRST * 2));
        assert_eq!((search.tried(Some(good)), search.patience()), (None, PATIENCE_FIRST));
        assert_eq!(search.tried(None), Some(BACKOFF_FIRST));
    }
}
