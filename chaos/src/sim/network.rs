//! The members' network in the simulation: [`store::Peers`] on one side, [`store::PeerService`] on the other, datagrams
//! of turmoil's in between. Every question has a deadline, as over the real network.

mod courier;
mod packet;
mod streams;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _};
use store::{Badge, Call, Peer, PeerError, PeerService, Peers, SnapshotOffer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::world::World;
use courier::{Arrived, Courier};
use packet::{Packet, Question};
use streams::{Asking, Inbound};

/// A snapshot that takes longer is tried again.
const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(10);
/// Whoever was told nothing for so long is not told any more.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// One node's end of the network, in one of its lives.
pub(super) struct Network {
    courier: Courier,
    state: Mutex<State>,
    /// Streams that nobody listens to any more, and whom to tell. A node that dies tells nobody.
    left: mpsc::UnboundedSender<(String, u64)>,
}

/// What [`Network::serve`] alone takes from.
pub(super) struct Left(mpsc::UnboundedReceiver<(String, u64)>);

#[derive(Default)]
struct State {
    next_id: u64,
    asked: BTreeMap<u64, oneshot::Sender<Result<Bytes, PeerError>>>,
    /// Streams of appends that this node has opened.
    streams: BTreeMap<u64, mpsc::UnboundedSender<(u64, Streamed)>>,
}

/// What comes back on a stream, with its place.
enum Streamed {
    Answer(Result<Bytes, PeerError>),
    End,
}

impl Network {
    pub(super) async fn bind(world: Arc<World>, me: String, life: u64) -> std::io::Result<(Arc<Self>, Left)> {
        let courier = Courier::bind(world, me, life).await?;
        let (left, leaving) = mpsc::unbounded_channel();
        Ok((Arc::new(Self { courier, state: Mutex::default(), left }), Left(leaving)))
    }

    /// Answers the others with `service`, and hands out what they answer, until `stop`. As over the real network, all
    /// but an introduction must be for the node that `badge` says it is.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut left: Left,
        (badge, service): (Badge, Arc<dyn PeerService>),
        stop: CancellationToken,
    ) {
        let mut buffer = vec![0; courier::DATAGRAM_BYTES_MAX];
        let mut work: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut inbound = Inbound::default();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(()) = work.next(), if !work.is_empty() => {}
                Some((to, stream)) = left.0.recv() => {
                    self.courier.send(&to, &Packet::Gone { stream }, Instant::now() + ANSWER_TIME_MAX);
                }
                Arrived { from, packet } = self.courier.next(&mut buffer) => {
                    work.extend(self.receive(from, packet, (&badge, &*service), &mut inbound));
                }
            }
        }
    }

    /// What there is to do about a packet beside taking note of it.
    fn receive<'a>(
        self: &'a Arc<Self>,
        from: (IpAddr, u64),
        packet: Packet,
        (badge, service): (&Badge, &'a dyn PeerService),
        inbound: &mut Inbound,
    ) -> Option<BoxFuture<'a, ()>> {
        inbound.forget_lives_before(from);
        match packet {
            Packet::Question { id, question, to: meant, within, payload } => {
                let to = turmoil::reverse_lookup(from.0)?;
                let is_here = badge.identity().is_some_and(|here| here.node_id.get() == meant);
                if !is_here && question != Question::Call(Call::Introduce) {
                    let answer = Err(PeerError::Refused("the call is for another node".to_owned()));
                    self.courier.send(&to, &Packet::Answer { id, answer }, Instant::now() + within);
                    return None;
                }
                let opened = (question == Question::Open).then(|| inbound.open((from, id), service));
                Some(Box::pin(async move {
                    let until = Instant::now() + within;
                    let answer = match question {
                        Question::Open => Ok(Bytes::new()),
                        Question::Call(call) => service.call(call, payload).await,
                        Question::Snapshot => install(service, payload).await,
                    };
                    self.courier.send(&to, &Packet::Answer { id, answer }, until.max(Instant::now()));
                    if let Some(answers) = opened {
                        self.answer_stream(&to, id, answers).await;
                    }
                }))
            }
            Packet::Answer { id, answer } => {
                if let Some(waiting) = self.lock().asked.remove(&id) {
                    // Who has given up does not listen.
                    let _gone = waiting.send(answer);
                }
                None
            }
            Packet::Append { stream, number, payload } => {
                inbound.append((from, stream), number, payload);
                None
            }
            Packet::Gone { stream } => {
                inbound.close((from, stream));
                None
            }
            Packet::Appended { stream, number, answer } => {
                self.hand_out(stream, number, Streamed::Answer(answer));
                None
            }
            Packet::Ended { stream, answers } => {
                self.hand_out(stream, answers, Streamed::End);
                None
            }
        }
    }

    fn hand_out(&self, stream: u64, number: u64, what: Streamed) {
        if let Some(listener) = self.lock().streams.get(&stream) {
            // Who has given up does not listen.
            let _gone = listener.send((number, what));
        }
    }

    async fn answer_stream(
        &self,
        to: &str,
        stream: u64,
        mut answers: BoxStream<'static, Result<Bytes, PeerError>>,
    ) {
        let mut number = 0;
        while let Some(answer) = answers.next().await {
            let packet = Packet::Appended { stream, number, answer };
            self.courier.send(to, &packet, Instant::now() + ANSWER_TIME_MAX);
            number += 1;
        }
        let ended = Packet::Ended { stream, answers: number };
        self.courier.send(to, &ended, Instant::now() + ANSWER_TIME_MAX);
    }

    /// Of a question, and of the stream that it may open.
    fn next_id(&self) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        state.next_id
    }

    async fn ask(
        &self,
        to: &Peer,
        (id, question): (u64, Question),
        payload: Bytes,
        within: Duration,
    ) -> Result<Bytes, PeerError> {
        let (answer, answered) = oneshot::channel();
        self.lock().asked.insert(id, answer);
        let asked = Asked { network: self, id };
        let packet = Packet::Question { id, question, to: to.id.get(), within, payload };
        self.courier.send(host(to), &packet, Instant::now() + within);
        let answer = match timeout(within, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(PeerError::Timeout),
        };
        drop(asked);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is forgotten when nobody waits for its answer any more.
struct Asked<'a> {
    network: &'a Network,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.network.lock().asked.remove(&self.id);
    }
}

async fn install(service: &dyn PeerService, meta: Bytes) -> Result<Bytes, PeerError> {
    let intake = service.snapshot_intake(meta.clone(), Vec::new()).await?;
    service.snapshot_install(meta, intake).await
}

/// The host of `https://host`.
fn host(peer: &Peer) -> &str {
    peer.url.trim_start_matches("https://")
}

/// What the store is given to reach the others with.
pub(super) struct Outbound(pub(super) Arc<Network>);

impl Peers for Outbound {
    fn call(
        &self,
        to: &Peer,
        call: Call,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let to = to.clone();
        let question = (self.0.next_id(), Question::Call(call));
        Box::pin(async move { self.0.ask(&to, question, payload, deadline).await })
    }

    fn append_stream(
        &self,
        to: &Peer,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError>> {
        let to = to.clone();
        Box::pin(async move {
            let id = self.0.next_id();
            // Its first answer may come before the one that it is open.
            let answers = Asking::begin(self.0.clone(), host(&to).to_owned(), id, requests);
            self.0.ask(&to, (id, Question::Open), Bytes::new(), ANSWER_TIME_MAX).await?;
            Ok(answers)
        })
    }

    fn send_snapshot(&self, to: &Peer, offer: SnapshotOffer) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        let to = to.clone();
        Box::pin(async move {
            if !offer.files.is_empty() {
                return Err(PeerError::Refused("a simulated network carries no files".to_owned()));
            }
            let question = (self.0.next_id(), Question::Snapshot);
            self.0.ask(&to, question, offer.meta, SNAPSHOT_TIME_MAX).await
        })
    }
}
