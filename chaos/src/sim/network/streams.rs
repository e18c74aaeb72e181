//! Streams of appends over packets that come in any order: each side counts, and waits for the one whose turn it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use store::{PeerError, PeerService};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::packet::Packet;
use super::{Network, Streamed};

/// Appends of one stream that are not answered.
const UNANSWERED_MAX: u64 = 64;
/// A peer that owes an answer for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The sending end.
pub(super) struct Asking {
    network: Arc<Network>,
    to: String,
    stream: u64,
    /// Absent: all are sent.
    requests: Option<BoxStream<'static, Bytes>>,
    answers: mpsc::UnboundedReceiver<(u64, Streamed)>,
    early: BTreeMap<u64, Streamed>,
    sent: u64,
    answered: u64,
    /// When the peer was last heard of, or was owed nothing.
    heard: Instant,
}

impl Asking {
    pub(super) fn begin(
        network: Arc<Network>,
        to: String,
        stream: u64,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        let (listener, answers) = mpsc::unbounded_channel();
        network.lock().streams.insert(stream, listener);
        let asking = Self {
            network,
            to,
            stream,
            requests: Some(requests),
            answers,
            early: BTreeMap::new(),
            sent: 0,
            answered: 0,
            heard: Instant::now(),
        };
        let answers = futures::stream::unfold(Some(asking), |asking| async move {
            let mut asking = asking?;
            let answer = asking.next().await?;
            let rest = answer.is_ok().then_some(asking);
            Some((answer, rest))
        });
        answers.boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, PeerError>> {
        loop {
            match self.early.remove(&self.answered) {
                Some(Streamed::Answer(answer)) => {
                    self.answered += 1;
                    return Some(answer);
                }
                Some(Streamed::End) => return None,
                None => {}
            }
            let owed = self.sent > self.answered;
            if self.requests.is_none() && !owed {
                return None;
            }
            let may_send = self.sent - self.answered < UNANSWERED_MAX;
            let requests = self.requests.as_mut().filter(|_| may_send);
            let has_requests = requests.is_some();
            let next_request = async {
                match requests {
                    Some(requests) => requests.next().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                Some((number, what)) = self.answers.recv() => {
                    self.heard = Instant::now();
                    self.early.insert(number, what);
                }
                request = next_request, if has_requests => self.send(request),
                () = sleep_until(self.heard + SILENCE_MAX), if owed => return Some(Err(PeerError::Timeout)),
            }
        }
    }

    fn send(&mut self, request: Option<Bytes>) {
        let Some(payload) = request else {
            self.requests = None;
            return;
        };
        if self.sent == self.answered {
            self.heard = Instant::now();
        }
        let packet = Packet::Append { stream: self.stream, number: self.sent, payload };
        self.network.courier.send(&self.to, &packet, Instant::now() + SILENCE_MAX);
        self.sent += 1;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.network.lock().streams.remove(&self.stream);
        // Without a listener the node is ending.
        let _ending = self.network.left.send((self.to.clone(), self.stream));
    }
}

/// Which life of which node, and which of its streams.
type Key = ((IpAddr, u64), u64);

/// The receiving ends of the streams that others have opened.
#[derive(Default)]
pub(super) struct Inbound {
    streams: BTreeMap<Key, Taking>,
    /// Appends that came before their stream was opened.
    early: BTreeMap<Key, BTreeMap<u64, Bytes>>,
    lives: BTreeMap<IpAddr, u64>,
}

struct Taking {
    requests: mpsc::UnboundedSender<Bytes>,
    early: BTreeMap<u64, Bytes>,
    taken: u64,
}

impl Inbound {
    pub(super) fn open(
        &mut self,
        key: Key,
        service: &dyn PeerService,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        let (requests, taken) = mpsc::unbounded_channel();
        let taken = futures::stream::unfold(taken, |mut taken| async move {
            let request = taken.recv().await?;
            Some((request, taken))
        });
        let early = self.early.remove(&key).unwrap_or_default();
        let mut taking = Taking { requests, early, taken: 0 };
        taking.advance();
        self.streams.insert(key, taking);
        service.append_stream(taken.boxed())
    }

    pub(super) fn append(&mut self, key: Key, number: u64, payload: Bytes) {
        match self.streams.get_mut(&key) {
            Some(taking) => {
                taking.early.insert(number, payload);
                taking.advance();
            }
            None => {
                self.early.entry(key).or_default().insert(number, payload);
            }
        }
    }

    pub(super) fn close(&mut self, key: Key) {
        self.streams.remove(&key);
        self.early.remove(&key);
    }

    /// A node that lives anew has forgotten its streams.
    pub(super) fn forget_lives_before(&mut self, (node, life): (IpAddr, u64)) {
        let known = self.lives.entry(node).or_default();
        if life > *known {
            *known = life;
            self.streams.retain(|((of, since), _), _| *of != node || *since >= life);
            self.early.retain(|((of, since), _), _| *of != node || *since >= life);
        }
    }
}

impl Taking {
    fn advance(&mut self) {
        while let Some(request) = self.early.remove(&self.taken) {
            self.taken += 1;
            // Who takes no more has said why.
            let _ended = self.requests.send(request);
        }
    }
}
