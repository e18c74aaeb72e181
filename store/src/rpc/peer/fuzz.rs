//! Calls of a member whose bytes are damaged, or that nobody who is a member would make: each is answered or refused, and
//! a snapshot writes nothing but into the directory that is meant for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;
use proto::peer as pb;
use proto::peer::snapshot_part::Part;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};

use super::Address;
use super::frames::{self, Frame};
use super::line::Line;
use super::server::Desk;
use crate::mutations::{damaged, damaged_call};
use crate::{Call, Identity, Intake, PeerError, PeerService, SnapshotFile};

/// Takes whatever it is offered.
struct Credulous {
    dir: PathBuf,
}

impl PeerService for Credulous {
    fn call(&self, _: Call, payload: Bytes) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async { Ok(payload) })
    }

    fn append_stream(
        &self,
        requests: BoxStream<'static, Bytes>,
    ) -> BoxStream<'static, Result<Bytes, PeerError>> {
        requests.map(Ok).boxed()
    }

    fn snapshot_intake(
        &self,
        _: Bytes,
        files: Vec<SnapshotFile>,
    ) -> BoxFuture<'_, Result<Intake, PeerError>> {
        let missing = files.into_iter().map(|file| file.name).collect();
        Box::pin(async { Ok(Intake { dir: self.dir.clone(), missing }) })
    }

    fn snapshot_install(&self, meta: Bytes, _: Intake) -> BoxFuture<'_, Result<Bytes, PeerError>> {
        Box::pin(async { Ok(meta) })
    }
}

fn parts() -> Vec<Vec<u8>> {
    let file = |name: &str, content: &[u8]| pb::SnapshotFile {
        name: name.to_owned(),
        size: content.len() as u64,
        crc32: crc32fast::hash(content),
    };
    let files = vec![file("a.sst", b"content"), file("b", b"")];
    let chunk = |name: &str, offset, data: &'static str| {
        Part::Chunk(pb::FileChunk { name: name.to_owned(), offset, data: data.into() })
    };
    let parts = [
        Part::Offer(pb::SnapshotOffer { meta: "meta".into(), files }),
        chunk("a.sst", 0, "cont"),
        chunk("a.sst", 4, "ent"),
        chunk("b", 0, ""),
        chunk("../a", 0, "content"),
    ];
    parts.map(|part| pb::SnapshotPart { part: Some(part) }.encode_to_vec()).to_vec()
}

/// A snapshot begins with its offer; else nothing of it would be looked at.
fn snapshots() -> impl Strategy<Value = Bytes> {
    (any::<bool>(), damaged_call(parts()[..1].to_vec()), damaged_call(parts()[1..].to_vec()))
        .prop_map(|(offered, offer, chunks)| if offered { [offer, chunks].concat().into() } else { chunks })
}

fn me() -> Identity {
    Identity { cluster_id: 7, node_id: NodeId::new(2), name: "two".to_owned() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn damaged_snapshots_of_members_are_answered_or_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("intake");
    std::fs::create_dir(&dir).expect("a directory");
    let runtime = runtime();
    let service = Arc::new(Credulous { dir });
    let answering = Desk::new(service, me().into(), CancellationToken::new()).grpc();
    let path = select(vec!["Snapshot", "Snapshot", "Snapshot", "Append", "Nothing"]);
    let ids = prop_oneof![8 => Just(["7".to_owned(), "1".to_owned(), "2".to_owned()]), 1 => any::<[u64; 3]>().prop_map(|ids| ids.map(|id| id.to_string())), 1 => ["[ -~]{0,9}", "[ -~]{0,9}", "[ -~]{0,9}"]];
    proptest!(ProptestConfig::with_cases(800), |(path in path, body in snapshots(), [cluster, from, to] in ids)| {
        let request = http::Request::post(format!("/navarch.peer.v1.Peer/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header(super::CLUSTER, cluster)
            .header(super::FROM, from)
            .header(super::TO, to)
            .body(Body::new(Full::new(body)))
            .expect("a request");
        let mut answering = answering.clone();
        runtime.block_on(async {
            let answer = answering.call(request).await.expect("it answers whatever it is asked");
            let mut body = answer.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        });
        let entries = std::fs::read_dir(home.path()).expect("readable");
        let names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        prop_assert_eq!(names, ["intake"]);
    });
}

/// What members say over one connection: calls, or streams of appends.
fn conversations() -> Vec<Vec<u8>> {
    let address = Address { cluster: Some(7), from: Some(1), to: Some(2) };
    let within = Duration::from_millis(50);
    let payload = Bytes::from("payload");
    let call = |id, call| Frame::Call { id, call, address, within, payload: payload.clone() };
    let stranger = Address { cluster: None, from: None, to: Some(2) };
    let calls = [
        call(1, Call::Heartbeat),
        Frame::Alive,
        call(2, Call::Forward),
        Frame::Call { id: 3, call: Call::Introduce, address: stranger, within, payload: payload.clone() },
    ];
    let stream = [Frame::Open(address), Frame::Append(payload.clone()), Frame::Append(payload), Frame::End];
    let streams = [&stream[..], &[Frame::Alive], &stream[..]].concat();
    let written = |conversation: &[Frame]| {
        let mut bytes = Vec::new();
        conversation.iter().for_each(|frame| frames::write(frame, &mut bytes));
        bytes
    };
    vec![written(&calls), written(&streams)]
}

#[test]
fn damaged_frames_of_members_are_answered_or_end_the_connection() {
    let runtime = runtime();
    let service = Arc::new(Credulous { dir: PathBuf::new() });
    let desk = Desk::new(service, me().into(), CancellationToken::new());
    proptest!(ProptestConfig::with_cases(2000), |(bytes in damaged(conversations()))| {
        let (mut here, there) = tokio::io::duplex(1024 * 1024);
        let ended = runtime.block_on(async {
            here.write_all(&bytes).await.expect("room");
            here.shutdown().await.expect("open");
            tokio::time::timeout(Duration::from_secs(30), desk.serve(Line::new(there))).await
        });
        prop_assert!(matches!(ended, Ok(Err(_))), "the end of the connection ends the conversation");
    });
}
