//! Where the members are found: the address in the log first, then others that were heard of.
//!
//! Addresses may change while connections are open, and all of them at once while the cluster is down. So an address
//! is looked up when it is used, and when nobody, or somebody else, answers there, another is tried the next time. The
//! transport checks who answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::peers::{Call, Peer, PeerError, Peers, SnapshotOffer};
use crate::node::InitialMember;
use crate::status::Member;

/// More than anybody has; a peer that announces itself again and again costs no memory.
const ALTERNATIVES_MAX: usize = 4;

/// Reaches members wherever they are now.
pub(crate) struct AddressBook {
    peers: Arc<dyn Peers>,
    /// What this node's configuration says, by name.
    configured: Vec<InitialMember>,
    known: Mutex<BTreeMap<NodeId, Known>>,
}

#[derive(Default)]
struct Known {
    in_log: Option<String>,
    alternatives: Vec<String>,
    /// How often the address in use has failed: it chooses among all.
    failures: usize,
}

impl Known {
    fn current(&self) -> Option<&String> {
        let all: Vec<&String> = self.in_log.iter().chain(&self.alternatives).collect();
        all.get(self.failures.checked_rem(all.len())?).copied()
    }

    fn learn(&mut self, url: &str) {
        let known = self.in_log.as_deref() == Some(url) || self.alternatives.iter().any(|one| one == url);
        if !known && !url.is_empty() {
            self.alternatives.truncate(ALTERNATIVES_MAX - 1);
            self.alternatives.insert(0, url.to_owned());
        }
    }
}

impl AddressBook {
    pub(crate) fn new(peers: Arc<dyn Peers>, configured: Vec<InitialMember>) -> Self {
        Self { peers, configured, known: Mutex::default() }
    }

    /// Takes over what the log says.
    pub(crate) fn learn_members(&self, members: &[Member]) {
        let mut book = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        book.retain(|id, _| members.iter().any(|member| member.id == *id));
        for member in members {
            let known = book.entry(member.id).or_default();
            if known.in_log.as_ref() != Some(&member.peer_url) {
                known.alternatives.retain(|url| *url != member.peer_url);
                known.in_log = Some(member.peer_url.clone());
                known.failures = 0;
            }
            for configured in self.configured.iter().filter(|one| one.name == member.name) {
                known.learn(&configured.peer_url);
            }
        }
    }

    /// A member said of itself that it is found here.
    pub(crate) fn learn_alternative(&self, id: NodeId, url: &str) {
        let mut book = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = book.get_mut(&id) {
            known.learn(url);
        }
    }

    fn resolve(&self, to: &Peer) -> Peer {
        let book = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let url = book.get(&to.id).and_then(Known::current).unwrap_or(&to.url);
        Peer { id: to.id, url: url.clone() }
    }

    /// Another address is tried next, unless that has happened meanwhile.
    fn failed(&self, used: &Peer) {
        let mut book = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = book.get_mut(&used.id)
            && known.current() == Some(&used.url)
        {
            known.failures += 1;
        }
    }

    fn look_at<T>(&self, used: &Peer, result: &Result<T, PeerError>) {
        match result {
            Err(PeerError::Unreachable(_) | PeerError::Refused(_)) => self.failed(used),
            Ok(_) | Err(PeerError::Timeout) => {}
        }
    }
}

impl Peers for AddressBook {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let to = self.resolve(to);
        Box::pin(async move {
            let answer = self.peers.call(&to, call, payload, deadline).await;
            self.look_at(&to, &answer);
            answer
        })
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        let to = self.resolve(to);
        Box::pin(async move {
            let opened = self.peers.append_stream(&to, requests).await;
            self.look_at(&to, &opened);
            opened
        })
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let to = self.resolve(to);
        Box::pin(async move {
            let answer = self.peers.send_snapshot(&to, offer).await;
            self.look_at(&to, &answer);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NoPeers;

    fn member(id: u64, url: &str) -> Member {
        Member {
            id: NodeId::new(id),
            name: format!("node-{id}"),
            peer_url: url.to_owned(),
            client_urls: Vec::new(),
            is_learner: false,
        }
    }

    #[tokio::test]
    async fn the_log_comes_first_and_what_fails_is_followed_by_another() {
        let configured = InitialMember {
            name: "node-2".to_owned(),
            peer_url: "https://configured".to_owned(),
            client_urls: Vec::new(),
        };
        let book = AddressBook::new(Arc::new(NoPeers), vec![configured]);
        let two = Peer { id: NodeId::new(2), url: "https://first".to_owned() };
        let tried = async || {
            let url = book.resolve(&two).url;
            let answer = book.call(&two, Call::Vote, Bytes::new(), Duration::from_secs(1)).await;
            assert!(answer.is_err());
            url
        };
        assert_eq!(tried().await, "https://first", "nothing is known");
        book.learn_members(&[member(2, "https://log")]);
        assert_eq!(tried().await, "https://log");
        assert_eq!(tried().await, "https://configured");
        book.learn_alternative(NodeId::new(2), "https://announced");
        book.learn_alternative(NodeId::new(2), "https://announced");
        let mut rest = [tried().await, tried().await, tried().await];
        rest.sort();
        assert_eq!(rest, ["https://announced", "https://configured", "https://log"]);
        book.learn_members(&[member(2, "https://announced")]);
        assert_eq!(tried().await, "https://announced", "what is new in the log is tried first");
    }
}
