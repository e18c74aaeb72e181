//! Calls of a member whose bytes are damaged, or that nobody who is a member would make: each is answered or refused, and
//! a snapshot writes nothing but into the directory that is meant for it.

use std::path::PathBuf;
use std::sync::Arc;

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
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};

use super::server::answering;
use crate::mutations::damaged_call;
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

#[test]
fn damaged_calls_of_members_are_answered_or_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("intake");
    std::fs::create_dir(&dir).expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let me = Identity { cluster_id: 7, node_id: NodeId::new(2), name: "two".to_owned() };
    let service = Arc::new(Credulous { dir });
    let answering = answering(service, me.into(), CancellationToken::new());
    let payloads = || damaged_call(vec![pb::Payload { body: "body".into() }.encode_to_vec()]).boxed();
    let paths = [
        "AppendStream",
        "Append",
        "Vote",
        "PreVote",
        "TransferLeader",
        "Forward",
        "ReadIndex",
        "Audit",
        "Introduce",
        "Nothing",
    ];
    let call = prop_oneof![(select(paths.to_vec()), payloads()), (Just("Snapshot"), snapshots().boxed()),];
    let ids = prop_oneof![8 => Just(["7".to_owned(), "1".to_owned(), "2".to_owned()]), 1 => any::<[u64; 3]>().prop_map(|ids| ids.map(|id| id.to_string())), 1 => ["[ -~]{0,9}", "[ -~]{0,9}", "[ -~]{0,9}"]];
    proptest!(ProptestConfig::with_cases(800), |((path, body) in call, [cluster, from, to] in ids)| {
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
