//! Connections between members: many questions on one, what breaks, what is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::*;
use crate::Badge;

const LONG: Duration = Duration::from_secs(30);

/// Passes bytes on, and counts connections, which can be cut.
struct Wire {
    to: Peer,
    connections: Arc<AtomicUsize>,
    cut: watch::Sender<()>,
}

impl Wire {
    async fn to(pair: &Pair) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Peer { id: pair.to.id, url: format!("https://{}", listener.local_addr().unwrap()) };
        let there = pair.to.url.trim_start_matches("https://").to_owned();
        let wire = Self { to, connections: Arc::default(), cut: watch::Sender::new(()) };
        let (connections, cut) = (wire.connections.clone(), wire.cut.clone());
        let passing = pair.tasks.clone();
        pair.tasks.spawn_infallible("wire", async move {
            while let Some(Ok((mut here, _))) = passing.stop().run_until_cancelled(listener.accept()).await {
                let mut there = TcpStream::connect(&there).await.unwrap();
                let mut cut = cut.subscribe();
                connections.fetch_add(1, Ordering::SeqCst);
                passing.spawn_infallible("connection", async move {
                    tokio::select! {
                        biased;
                        _cut = cut.changed() => {}
                        _ended = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                    }
                });
            }
        });
        wire
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn has_connections(&self, count: usize) {
        let made = async {
            while self.connections() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, made).await.expect("the connections are made");
    }
}

#[tokio::test]
async fn a_thousand_calls_share_a_connection_and_are_answered_in_any_order() {
    let pair = Pair::start().await;
    let wire = Wire::to(&pair).await;
    let network = pair.network(7);
    pair.echo.turn.send_replace(999);
    let calls: FuturesUnordered<_> = (0..1000)
        .map(|n| {
            let call = network.call(&wire.to, Call::ReadIndex, n.to_string().into(), LONG);
            async move { (n, call.await.unwrap()) }
        })
        .collect();
    let answers: Vec<(u64, Bytes)> = calls.collect().await;
    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().all(|(n, answer)| answer[..] == *n.to_string().as_bytes()), "each its own answer");
    assert_eq!(wire.connections(), 1);
}

#[tokio::test]
async fn who_waits_hears_that_the_connection_broke_and_the_next_call_makes_another() {
    let pair = Pair::start().await;
    let wire = Wire::to(&pair).await;
    let network = pair.network(7);
    let waits = network.call(&wire.to, Call::Forward, "x".into(), LONG);
    let cut = async {
        // Forwarded requests have a connection of their own.
        network.call(&wire.to, Call::Heartbeat, "x".into(), LONG).await.unwrap();
        wire.has_connections(2).await;
        wire.cut.send_replace(());
    };
    let (answer, ()) = tokio::join!(waits, cut);
    assert!(matches!(answer, Err(PeerError::Unreachable(_))), "{answer:?}");
    // The first may still find the connection that is being cut.
    let again = async { while network.call(&wire.to, Call::Heartbeat, "x".into(), LONG).await.is_err() {} };
    tokio::time::timeout(LONG, again).await.expect("another connection");
    let moved = network.call(&pair.to, Call::Heartbeat, "x".into(), LONG).await;
    assert_eq!(moved.unwrap(), "x", "the peer is found at another address");
}

#[tokio::test]
async fn a_port_that_stops_ends_streams_in_peace_and_breaks_calls_that_take_too_long() {
    let pair = Pair::start().await;
    let network = pair.network(7);
    let (more, requests) = tokio::sync::mpsc::channel(1);
    more.send(Bytes::from("one")).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests).boxed();
    let mut answers = network.append_stream(&pair.to, requests).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap(), "one");
    let forwarded = network.call(&pair.to, Call::Forward, "x".into(), LONG);
    let stop = async {
        network.call(&pair.to, Call::Audit, "x".into(), LONG).await.unwrap();
        pair.tasks.stop().cancel();
        assert!(answers.next().await.is_none(), "the stream ends without an error");
        assert!(answers.next().await.is_none());
    };
    let (forwarded, ()) = tokio::join!(forwarded, stop);
    assert!(matches!(forwarded, Err(PeerError::Unreachable(_))), "{forwarded:?}");
    drop(more);
    pair.callers.stop().cancel();
    pair.callers.join(LONG).await.unwrap();
    pair.tasks.join(LONG).await.unwrap();
}

fn one() -> BoxStream<'static, Bytes> {
    futures::stream::iter([Bytes::from("one")]).boxed()
}

async fn one_is_answered(network: &Network, wire: &Wire) {
    let answers = network.append_stream(&wire.to, one()).await.unwrap();
    assert_eq!(answers.map(Result::unwrap).collect::<Vec<_>>().await, ["one"]);
}

#[tokio::test]
async fn a_stream_that_ended_in_peace_leaves_its_connection_to_the_next() {
    let pair = Pair::start().await;
    let wire = Wire::to(&pair).await;
    let network = pair.network(7);
    for _ in 0..3 {
        one_is_answered(&network, &wire).await;
    }
    assert_eq!(wire.connections(), 1);
    let endless = one().chain(futures::stream::pending()).boxed();
    let mut dropped = network.append_stream(&wire.to, endless).await.unwrap();
    assert_eq!(dropped.next().await.unwrap().unwrap(), "one");
    drop(dropped);
    let answers = network.append_stream(&wire.to, one()).await.unwrap();
    assert_eq!(answers.count().await, 1);
    assert_eq!(wire.connections(), 2, "one that was given up is not used again");
}

#[tokio::test]
async fn a_kept_connection_that_broke_is_replaced_without_an_error() {
    let pair = Pair::start().await;
    let wire = Wire::to(&pair).await;
    let network = pair.network(7);
    for _ in 0..3 {
        one_is_answered(&network, &wire).await;
        wire.cut.send_replace(());
        // The port has no such connection any more, whether the caller has heard that or not.
        tokio::time::timeout(LONG, wire.cut.closed()).await.expect("the connection is cut");
    }
    assert_eq!(wire.connections(), 3);
}

#[tokio::test]
async fn streams_reach_only_the_member_that_they_are_meant_for() {
    let pair = Pair::start().await;
    let none = || futures::stream::empty().boxed();
    let elsewhere = Peer { id: NodeId::new(3), ..pair.to.clone() };
    let other = pair.network(7).append_stream(&elsewhere, none()).await;
    assert_eq!(refused(other), "the call is for node 3, this is node 2");
    let foreign = pair.network(8).append_stream(&pair.to, none()).await;
    assert_eq!(refused(foreign), "the call is for cluster 8, this is cluster 7");
    let nobody = Peer { id: NodeId::new(2), url: "https://127.0.0.1:1".to_owned() };
    let gone = pair.network(7).append_stream(&nobody, none()).await;
    assert!(matches!(gone.err(), Some(PeerError::Unreachable(_))));
}

#[tokio::test]
async fn who_has_no_identity_yet_can_introduce_itself_and_nothing_else() {
    let pair = Pair::start().await;
    let tls = pair.authority.tls(ADMITTED);
    let network = Network::new(Badge::default(), &tls, pair.callers.clone()).unwrap();
    let welcome = network.call(&pair.to, Call::Introduce, "it is me".into(), LONG).await;
    assert_eq!(welcome.unwrap(), "it is me");
    let beat = network.call(&pair.to, Call::Heartbeat, "x".into(), LONG).await;
    assert_eq!(refused(beat), "the call does not say its navarch-cluster");
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let pair = Pair::start().await;
    let network = pair.network(7);
    let large = Bytes::from(vec![7; 5_000_000]);
    let answer = network.call(&pair.to, Call::Audit, large.clone(), LONG).await.unwrap();
    assert!(answer == large);
    let requests = futures::stream::iter([large.clone(), "small".into(), large.clone()]).boxed();
    let answers = network.append_stream(&pair.to, requests).await.unwrap();
    let answers: Vec<Bytes> = answers.map(Result::unwrap).collect().await;
    assert!(answers == [large.clone(), "small".into(), large]);
}
