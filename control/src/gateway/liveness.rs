//! Which nodes are in touch with this server: a poll in flight, or a word within the last seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a node counts as alive after its last poll ended: an agent polls again at once.
const SILENCE_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(crate) struct Liveness {
    nodes: Mutex<BTreeMap<String, Contact>>,
}

#[derive(Clone, Copy, Debug)]
struct Contact {
    polls_in_flight: usize,
    last_seen: Instant,
}

/// A poll in flight; dropped when it is answered or its connection breaks.
pub(crate) struct InFlight {
    liveness: Arc<Liveness>,
    node: String,
}

impl Liveness {
    pub(crate) fn enter(liveness: &Arc<Self>, node: &str) -> InFlight {
        let mut nodes = liveness.lock();
        let contact = nodes.entry(node.to_owned()).or_insert_with(Contact::now);
        contact.polls_in_flight += 1;
        drop(nodes);
        InFlight { liveness: liveness.clone(), node: node.to_owned() }
    }

    pub(crate) fn seen(&self, node: &str) {
        let mut nodes = self.lock();
        nodes.entry(node.to_owned()).or_insert_with(Contact::now).last_seen = Instant::now();
    }

    /// The nodes that are alive, in order; the others are forgotten.
    pub(crate) fn alive(&self) -> Vec<String> {
        let now = Instant::now();
        let mut nodes = self.lock();
        nodes.retain(|_, contact| contact.polls_in_flight > 0 || now - contact.last_seen < SILENCE_MAX);
        nodes.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Contact>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contact {
    fn now() -> Self {
        Self { polls_in_flight: 0, last_seen: Instant::now() }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(contact) = self.liveness.lock().get_mut(&self.node) {
            contact.polls_in_flight -= 1;
            contact.last_seen = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_alive_while_it_polls_and_a_little_longer() {
        let liveness = Arc::new(Liveness::default());
        let poll = Liveness::enter(&liveness, "a");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(liveness.alive(), ["a"]);
        drop(poll);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(liveness.alive(), ["a"]);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(liveness.alive().is_empty());
    }
}
