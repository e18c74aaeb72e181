//! Which polls a change concerns: those of one node, or all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::peers::PeerBook;

/// Counters that move, one for everybody and one for each node that has polled here.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    everybody: watch::Sender<u64>,
    nodes: Mutex<BTreeMap<String, watch::Sender<u64>>>,
}

/// What can end a poll's wait.
pub(crate) struct Changes {
    node: String,
    everybody: watch::Receiver<u64>,
    own: watch::Receiver<u64>,
    peers: watch::Receiver<Arc<PeerBook>>,
}

impl Wakes {
    pub(crate) fn everybody(&self) {
        self.everybody.send_modify(|count| *count += 1);
    }

    pub(crate) fn node(&self, node: &str) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = nodes.get(node) else { return };
        if own.receiver_count() == 0 {
            // It polls elsewhere by now, or will ask for a new counter.
            nodes.remove(node);
        } else {
            own.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn changes(&self, node: &str, peers: watch::Receiver<Arc<PeerBook>>) -> Changes {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let own = nodes.entry(node.to_owned()).or_default().subscribe();
        Changes { node: node.to_owned(), everybody: self.everybody.subscribe(), own, peers }
    }
}

impl Changes {
    /// What happened up to here is known.
    pub(crate) fn mark_unchanged(&mut self) {
        self.everybody.mark_unchanged();
        self.own.mark_unchanged();
        self.peers.mark_unchanged();
    }

    /// The newest snapshot of all nodes.
    pub(crate) fn peers(&self) -> Arc<PeerBook> {
        self.peers.borrow().clone()
    }

    /// Something happened, or the gateway is gone. News of peers wait for the node's own moment, unless there is more.
    pub(crate) async fn changed(&mut self) {
        let (node, peers) = (&self.node, &mut self.peers);
        let news_of_peers = async {
            if peers.changed().await.is_ok() {
                let moment = peers.borrow_and_update().moment_of(node);
                if !moment.is_zero() {
                    tokio::time::sleep(moment).await;
                }
            }
        };
        tokio::select! {
            biased;
            _ = self.everybody.changed() => {}
            _ = self.own.changed() => {}
            () = news_of_peers => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_change_wakes_whom_it_concerns() {
        let (wakes, peers) = (Wakes::default(), watch::Sender::default());
        let mut a = wakes.changes("a", peers.subscribe());
        let mut b = wakes.changes("b", peers.subscribe());
        let mut woken = || (a.changed().now_or_never().is_some(), b.changed().now_or_never().is_some());
        assert_eq!(woken(), (false, false));
        wakes.node("a");
        assert_eq!(woken(), (true, false));
        wakes.everybody();
        assert_eq!(woken(), (true, true));
        peers.send_replace(Arc::default());
        assert_eq!(woken(), (true, true));
        assert_eq!(woken(), (false, false));
    }

    #[test]
    fn a_node_that_polls_no_more_is_forgotten() {
        let wakes = Wakes::default();
        drop(wakes.changes("a", watch::Sender::default().subscribe()));
        wakes.node("a");
        assert!(wakes.nodes.lock().unwrap().is_empty());
    }
}
