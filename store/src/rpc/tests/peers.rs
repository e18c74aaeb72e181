//! The members' protocol with a service that only remembers: identity, deadlines, streams, snapshots.

mod lines;
mod strangers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{NodeId, Tasks};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ADMITTED, Authority};
use crate::rpc::{Network, PeerPort, serve_peers};
use crate::{Call, Identity, Intake, Peer, PeerError, PeerService, Peers, SnapshotFile, SnapshotOffer};

const SOON: Duration = Duration::from_secs(5);

/// Echoes; has the file `old` already; never answers a forwarded request. Answers read indexes, which are numbers, in
/// falling order.
struct Echo {
    dir: PathBuf,
    installed: Mutex<Vec<Bytes>>,
    turn: watch::Sender<u64>,
}

impl PeerService for Echo {
    fn call(&self, call: Call, payload: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async move {
            match call {
                Call::Forward => std::future::pending().await,
                Call::ReadIndex => {
                    let number: u64 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                    self.turn.subscribe().wait_for(|turn| *turn == number).await.unwrap();
                    self.turn.send_modify(|turn| *turn = turn.saturating_sub(1));
                    Ok(payload)
                }
                Call::Vote => Err(PeerError::Refused("no vote today".to_owned())),
                Call::Append
                | Call::Heartbeat
                | Call::PreVote
                | Call::TransferLeader
                | Call::Audit
                | Call::Introduce => Ok(payload),
            }
        })
    }

    fn append_stream(
        &self,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        requests.map(Ok).boxed()
    }

    fn snapshot_intake(
        &self,
        _meta: Bytes,
        files: Vec<SnapshotFile>,
    ) -> BoxFuture<'_, Result<Intake, PeerError>> {
        let missing = files.into_iter().map(|file| file.name).filter(|name| name != "old").collect();
        Box::pin(async move { Ok(Intake { dir: self.dir.clone(), missing }) })
    }

    fn snapshot_install(&self, meta: Bytes, _intake: Intake) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        self.installed.lock().unwrap().push(meta);
        Box::pin(async { Ok("installed".into()) })
    }
}

struct Pair {
    echo: Arc<Echo>,
    authority: Authority,
    to: Peer,
    tasks: Tasks,
    /// Not the port's: either may stop alone.
    callers: Tasks,
    dir: tempfile::TempDir,
}

fn refused<T>(answer: Result<T, PeerError>) -> String {
    match answer.err().expect("no answer") {
        PeerError::Refused(reason) => reason,
        PeerError::Unreachable(_) | PeerError::Timeout => panic!("not a refusal"),
    }
}

fn identity(cluster_id: u64, node: u64) -> Identity {
    Identity { cluster_id, node_id: NodeId::new(node), name: format!("server-{node}") }
}

impl Pair {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("received");
        std::fs::create_dir(&target).unwrap();
        let echo = Arc::new(Echo { dir: target, installed: Mutex::default(), turn: watch::Sender::new(0) });
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Peer { id: NodeId::new(2), url: format!("https://{}", listener.local_addr().unwrap()) };
        let tasks = Tasks::new(CancellationToken::new());
        let tls = authority.tls(ADMITTED);
        let port = PeerPort { listener, tls, me: identity(7, 2).into(), tasks: tasks.clone() };
        tasks.spawn("peer port", serve_peers(echo.clone(), port));
        let callers = Tasks::new(CancellationToken::new());
        Self { echo, authority, to, tasks, callers, dir }
    }

    fn network(&self, cluster_id: u64) -> Network {
        Network::new(identity(cluster_id, 1), &self.authority.tls(ADMITTED), self.callers.clone()).unwrap()
    }

    fn file(&self, name: &str, content: &[u8]) -> SnapshotFile {
        std::fs::write(self.dir.path().join(name), content).unwrap();
        let crc32 = crc32fast::hash(content);
        SnapshotFile { name: name.to_owned(), size: content.len() as u64, crc32 }
    }

    async fn send(&self, files: Vec<SnapshotFile>) -> Result<Bytes, PeerError> {
        let offer = SnapshotOffer { meta: "meta".into(), dir: self.dir.path().to_owned(), files };
        let network = self.network(7);
        tokio::time::timeout(SOON, network.send_snapshot(&self.to, offer)).await.expect("an end in time")
    }
}

#[tokio::test]
async fn calls_reach_only_the_member_that_they_are_meant_for() {
    let pair = Pair::start().await;
    let network = pair.network(7);
    let answer = network.call(&pair.to, Call::Heartbeat, "beat".into(), SOON).await.unwrap();
    assert_eq!(answer, "beat");
    let vote = network.call(&pair.to, Call::Vote, "v".into(), SOON).await;
    assert_eq!(refused(vote), "no vote today");
    let elsewhere = Peer { id: NodeId::new(3), ..pair.to.clone() };
    let other = network.call(&elsewhere, Call::Append, "x".into(), SOON).await;
    assert_eq!(refused(other), "the call is for node 3, this is node 2");
    let foreign = pair.network(8).call(&pair.to, Call::Append, "x".into(), SOON).await;
    assert_eq!(refused(foreign), "the call is for cluster 8, this is cluster 7");
    let late = network.call(&pair.to, Call::Forward, "x".into(), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(PeerError::Timeout)));
    let nobody = Peer { id: NodeId::new(2), url: "https://127.0.0.1:1".to_owned() };
    let gone = network.call(&nobody, Call::Append, "x".into(), SOON).await;
    assert!(matches!(gone, Err(PeerError::Unreachable(_))));
    pair.tasks.stop().cancel();
    pair.tasks.join(SOON).await.unwrap();
}

#[tokio::test]
async fn appends_are_answered_in_order() {
    let pair = Pair::start().await;
    let requests = futures::stream::iter((0..1000).map(|n| Bytes::from(format!("{n}")))).boxed();
    let answers = pair.network(7).append_stream(&pair.to, requests).await.unwrap();
    let answers: Vec<Bytes> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().enumerate().all(|(n, answer)| answer[..] == *n.to_string().as_bytes()));
}

#[tokio::test]
async fn a_snapshot_brings_what_is_missing_and_nothing_broken() {
    let pair = Pair::start().await;
    let large: Vec<u8> = (0..1_500_000_u32).flat_map(u32::to_le_bytes).take(3 * 512 * 1024).collect();
    let files = vec![pair.file("a.sst", &large), pair.file("old", b"here already"), pair.file("empty", b"")];
    assert_eq!(pair.send(files).await.unwrap(), "installed");
    let received = |name: &str| std::fs::read(pair.echo.dir.join(name)).ok();
    assert_eq!(received("a.sst").unwrap(), large);
    assert_eq!(received("empty").unwrap(), b"");
    assert!(received("old").is_none());
    assert_eq!(pair.echo.installed.lock().unwrap().len(), 1);

    let good = pair.file("b", b"content");
    let wrong = SnapshotFile { crc32: good.crc32 ^ 1, ..good.clone() };
    assert!(matches!(pair.send(vec![wrong]).await, Err(PeerError::Refused(_))));
    let short = SnapshotFile { size: 100, ..good.clone() };
    assert!(pair.send(vec![short]).await.is_err());
    let outside = SnapshotFile { name: "../b".to_owned(), ..good.clone() };
    assert!(matches!(pair.send(vec![outside]).await, Err(PeerError::Refused(_))));
    let absent = SnapshotFile { name: "absent".to_owned(), ..good };
    assert!(pair.send(vec![absent]).await.is_err());
    assert_eq!(pair.echo.installed.lock().unwrap().len(), 1, "nothing broken was installed");
}
