//! The same requests to ours and to the installed etcd: the same answers, in the same order.
//!
//! Responses of one watch are joined: etcd sends one for each revision, ours may put several revisions in one. Not
//! compared, because ours says more: what a key held before the compacted revision, and the revision in the header of
//! a watch that is refused for a compaction. Nor is a negative start, which etcd refuses since 3.5 only.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::watch_request::RequestUnion;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Served;
use super::watches::Stream;
use crate::{Cluster, InitialMember, NodeConfig};

/// A change of members that takes longer will never be made.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// One member of the installed etcd; gone when dropped.
struct Etcd {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    /// `None`: there is no etcd on this machine.
    async fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let listeners = [0, 0].map(|port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
        let [port, peer_port] = listeners.each_ref().map(|one| one.local_addr().unwrap().port());
        drop(listeners);
        let (url, peer_url) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--name=one", "--logger=zap", "--log-level=error"])
            .arg(format!("--listen-client-urls={url}"))
            .arg(format!("--advertise-client-urls={url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster=one={peer_url}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("etcd does not start: {error}"),
        };
        let etcd = Self { process, port, _dir: dir };
        let serves = async {
            let range = pb::RangeRequest { key: "any".into(), ..Default::default() };
            while KvClient::new(etcd.channel()).range(range.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), serves).await.expect("etcd serves within a minute");
        Some(etcd)
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap().connect_lazy()
    }
}

fn refused(status: &Status) -> String {
    format!("{:?} {}", status.code(), status.message())
}

/// The revision, and whether the rest is there.
fn shown(header: Option<&pb::ResponseHeader>) -> String {
    let Some(header) = header else { return "no header".to_owned() };
    let rest = [header.cluster_id != 0, header.member_id != 0, header.raft_term != 0];
    match rest {
        [true, true, true] => format!("{} in full", header.revision),
        [false, false, false] => format!("{} alone", header.revision),
        _ => format!("{} and {rest:?}", header.revision),
    }
}

/// The headers of everything in an answer, in order.
fn headers(answer: &pb::TxnResponse) -> String {
    let inside = answer.responses.iter().map(|one| match one.response.as_ref().unwrap() {
        Response::ResponseRange(one) => format!("range {} {}", shown(one.header.as_ref()), one.count),
        Response::ResponsePut(one) => format!("put {}", shown(one.header.as_ref())),
        Response::ResponseDeleteRange(one) => {
            format!("delete {} {}", shown(one.header.as_ref()), one.deleted)
        }
        Response::ResponseTxn(one) => headers(one),
    });
    let inside: Vec<String> = inside.collect();
    format!("txn {} {} [{}]", shown(answer.header.as_ref()), answer.succeeded, inside.join(", "))
}

/// What both are asked, and what they said.
struct Script {
    channel: Channel,
    said: Vec<String>,
}

impl Script {
    fn note(&mut self, what: &str, said: impl std::fmt::Display) {
        self.said.push(format!("{what}: {said}"));
    }

    async fn put(&mut self, key: &'static str, value: &'static str) {
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        KvClient::new(self.channel.clone()).put(put).await.unwrap();
    }

    async fn delete(&mut self, key: &'static str, end: &'static str) {
        let delete = pb::DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false };
        KvClient::new(self.channel.clone()).delete_range(delete).await.unwrap();
    }

    async fn create(&mut self, stream: &mut Stream, what: &str, create: pb::WatchCreateRequest) {
        stream.create(create).await;
        self.told(stream, what).await;
    }

    async fn begin(&mut self, what: &str, create: pb::WatchCreateRequest) -> Stream {
        let mut stream = Stream::begin(self.channel.clone(), create).await;
        self.told(&mut stream, what).await;
        stream
    }

    /// One response without events.
    async fn told(&mut self, stream: &mut Stream, what: &str) {
        let response = stream.next().await.unwrap();
        let header = response.header.unwrap().revision;
        let pb::WatchResponse { watch_id, created, canceled, compact_revision, cancel_reason, .. } =
            &response;
        let flags =
            format!("id {watch_id} created {created} canceled {canceled} compacted {compact_revision}");
        self.note(what, format!("at {header} {flags} ({cancel_reason}) {} events", response.events.len()));
    }

    /// Responses until there were so many events.
    async fn events(&mut self, stream: &mut Stream, what: &str, count: usize) {
        let mut told = Vec::new();
        while told.len() < count {
            let response = stream.next().await.unwrap();
            for event in response.events {
                told.push(format!(
                    "{}: {:?} {:?} was {:?}",
                    response.watch_id,
                    event.r#type(),
                    event.kv,
                    event.prev_kv
                ));
            }
        }
        for event in told {
            self.note(what, event);
        }
    }

    async fn watches(&mut self) {
        for value in ["1", "2", "3"] {
            self.put("a", value).await;
        }
        self.delete("a", "").await;
        self.put("a1", "x").await;
        self.put("a", "4").await;
        let of = |key: &'static str, end: &'static str| pb::WatchCreateRequest {
            key: key.into(),
            range_end: end.into(),
            ..Default::default()
        };
        let past = pb::WatchCreateRequest { start_revision: 2, prev_kv: true, ..of("a", "b") };
        let mut stream = self.begin("from the past", past.clone()).await;
        self.events(&mut stream, "the past", 6).await;
        self.create(&mut stream, "id 7", pb::WatchCreateRequest { watch_id: 7, ..of("b", "") }).await;
        self.create(&mut stream, "id 7 again", pb::WatchCreateRequest { watch_id: 7, ..of("b", "") }).await;
        self.create(&mut stream, "the next id", of("c", "")).await;
        self.create(&mut stream, "an empty range", of("d", "c")).await;
        self.create(&mut stream, "an empty range of one", of("d", "d")).await;
        self.create(&mut stream, "every key", of("", "\0")).await;
        self.put("zz", "v").await;
        self.events(&mut stream, "every key", 1).await;
        for id in [99, 3, 7, 0, 1, 2] {
            stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: id })).await;
            if [7, 0, 1, 2].contains(&id) {
                self.told(&mut stream, &format!("cancel {id}")).await;
            }
        }
        for filter in [0, 1] {
            let create = pb::WatchCreateRequest { filters: vec![filter], ..of("f", "") };
            self.create(&mut stream, &format!("filter {filter}"), create).await;
            self.put("f", "v").await;
            self.delete("f", "").await;
            self.events(&mut stream, "filtered", 1).await;
            let create = pb::WatchCreateRequest {
                filters: vec![filter],
                start_revision: 2,
                prev_kv: true,
                ..of("a", "b")
            };
            let mut other = self.begin("a filter on the past", create).await;
            self.events(&mut other, "filtered past", if filter == 0 { 1 } else { 5 }).await;
        }
        let compact = pb::CompactionRequest { revision: 4, physical: true };
        KvClient::new(self.channel.clone()).compact(compact).await.unwrap();
        let mut stream = self
            .begin("from before the compaction", pb::WatchCreateRequest { start_revision: 3, ..past.clone() })
            .await;
        let refused = stream.next().await.unwrap();
        self.note("which is refused", format!("{} {}", refused.canceled, refused.compact_revision));
        self.create(
            &mut stream,
            "from the compaction",
            pb::WatchCreateRequest { start_revision: 4, prev_kv: false, ..past },
        )
        .await;
        self.events(&mut stream, "what is left", 4).await;
        let mut stream =
            self.begin("of the future", pb::WatchCreateRequest { start_revision: 15, ..of("g", "") }).await;
        for value in ["12", "13", "14", "15", "16"] {
            self.put("g", value).await;
        }
        self.events(&mut stream, "the future", 2).await;
    }

    async fn compactions(&mut self, revisions: &[i64]) {
        for revision in revisions {
            let compact = pb::CompactionRequest { revision: *revision, physical: true };
            let said = KvClient::new(self.channel.clone()).compact(compact).await;
            let said = said.map_or_else(
                |status| refused(&status),
                |done| format!("done at {}", shown(done.into_inner().header.as_ref())),
            );
            self.note(&format!("compact {revision}"), said);
            let asked = pb::HashKvRequest { revision: 0 };
            let hash = MaintenanceClient::new(self.channel.clone()).hash_kv(asked).await.unwrap();
            self.note("the hash is of what is left from", hash.into_inner().compact_revision);
        }
    }

    async fn transactions(&mut self) {
        let op = |request| pb::RequestOp { request: Some(request) };
        let put = |key: &'static str| {
            op(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }))
        };
        let range = |key: &'static str| {
            op(Request::RequestRange(pb::RangeRequest { key: key.into(), ..Default::default() }))
        };
        let delete = |key: &'static str| {
            op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.into(), ..Default::default() }))
        };
        let txn = |success: Vec<pb::RequestOp>| pb::TxnRequest { success, ..Default::default() };
        let nested = |success| op(Request::RequestTxn(txn(success)));
        for asked in [
            txn(Vec::new()),
            txn(vec![range("t"), nested(vec![range("t")])]),
            txn(vec![delete("none"), range("t")]),
            txn(vec![range("t"), put("t"), range("t"), delete("none"), nested(vec![put("u"), range("u")])]),
            txn(vec![nested(vec![range("t")]), delete("t"), nested(Vec::new()), range("t")]),
        ] {
            let answer = KvClient::new(self.channel.clone()).txn(asked).await.unwrap();
            self.note("transaction", headers(answer.get_ref()));
        }
    }

    async fn leases(&mut self) {
        let mut leases = LeaseClient::new(self.channel.clone());
        for (id, ttl) in [
            (10, 60),
            (10, 60),
            (11, 0),
            (12, -5),
            (13, 9_000_000_000),
            (14, 9_000_000_001),
            (15, 1),
            (-3, 60),
        ] {
            let said = match leases.lease_grant(pb::LeaseGrantRequest { id, ttl }).await {
                Ok(granted) => {
                    let pb::LeaseGrantResponse { id, ttl, error, .. } = granted.into_inner();
                    format!("{id} for {ttl} s ({error})")
                }
                Err(status) => refused(&status),
            };
            self.note(&format!("grant {id} {ttl}"), said);
        }
        for (key, lease) in [("l", 10), ("m", 10), ("n", 99)] {
            let put = pb::PutRequest { key: key.into(), lease, ..Default::default() };
            let said = KvClient::new(self.channel.clone()).put(put).await;
            self.note(key, said.map_or_else(|status| refused(&status), |_| "put".to_owned()));
        }
        for (id, keys) in [(10, true), (10, false), (99, true), (0, true)] {
            let said = match leases.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys }).await {
                Ok(answer) => {
                    let mut answer = answer.into_inner();
                    // etcd lists them in no order.
                    answer.keys.sort_unstable();
                    let left = if answer.ttl > 50 { 60 } else { answer.ttl };
                    format!("{} {left} of {} {:?}", answer.id, answer.granted_ttl, answer.keys)
                }
                Err(status) => refused(&status),
            };
            self.note(&format!("time to live of {id}"), said);
        }
        let beats = [10, 99, 13, 0].map(|id| pb::LeaseKeepAliveRequest { id });
        let mut answers = leases.lease_keep_alive(tokio_stream::iter(beats)).await.unwrap().into_inner();
        for _ in beats {
            let said = match answers.message().await {
                Ok(Some(answer)) => format!("{} {}", answer.id, answer.ttl),
                Ok(None) => "the end".to_owned(),
                Err(status) => refused(&status),
            };
            self.note("keep alive", said);
        }
        for id in [10, 10, 0] {
            let said = leases.lease_revoke(pb::LeaseRevokeRequest { id }).await;
            let said = said.map_or_else(
                |status| refused(&status),
                |done| format!("at {}", done.into_inner().header.unwrap().revision),
            );
            self.note(&format!("revoke {id}"), said);
        }
    }
}

/// The Cluster service. Not compared: etcd takes whatever address a member is updated to.
impl Script {
    /// etcd forgets a change of members that comes a moment after another, and never answers it.
    async fn changed<T>(
        &self,
        ask: impl AsyncFn(ClusterClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Status> {
        loop {
            let answer = ask(ClusterClient::new(self.channel.clone()));
            if let Ok(answer) = tokio::time::timeout(FORGOTTEN_AFTER, answer).await {
                return answer.map(tonic::Response::into_inner);
            }
        }
    }

    async fn add(&mut self, what: &str, url: &str, is_learner: bool) -> u64 {
        let peer_ur_ls = if url.is_empty() { Vec::new() } else { vec![url.to_owned()] };
        let add = pb::MemberAddRequest { peer_ur_ls, is_learner };
        let said = self.changed(async |mut client| client.member_add(add.clone()).await).await;
        let id = said.as_ref().map_or(0, |added| added.member.as_ref().unwrap().id);
        self.note(what, count(said.map(|added| added.members)));
        id
    }

    async fn remove(&mut self, what: &str, id: u64) {
        let remove = pb::MemberRemoveRequest { id };
        let removed = self.changed(async |mut client| client.member_remove(remove).await).await;
        self.note(&format!("remove {what}"), count(removed.map(|removed| removed.members)));
    }

    async fn promote(&mut self, what: &str, id: u64) {
        let promote = pb::MemberPromoteRequest { id };
        let promoted = self.changed(async |mut client| client.member_promote(promote).await).await;
        self.note(&format!("promote {what}"), count(promoted.map(|promoted| promoted.members)));
    }

    async fn update(&mut self, what: &str, id: u64, url: &str) {
        let update = pb::MemberUpdateRequest { id, peer_ur_ls: vec![url.to_owned()] };
        let updated = self.changed(async |mut client| client.member_update(update.clone()).await).await;
        self.note(&format!("update {what}"), count(updated.map(|updated| updated.members)));
    }

    async fn members(&mut self) {
        const NOBODY: u64 = 12_345;
        const NEW: &str = "https://127.0.0.1:9";
        let list = pb::MemberListRequest { linearizable: true };
        let list = ClusterClient::new(self.channel.clone()).member_list(list).await.unwrap();
        let pb::Member { id: own, peer_ur_ls, .. } = list.into_inner().members.remove(0);
        let url = peer_ur_ls.concat();
        self.update("nobody", NOBODY, NEW).await;
        self.promote("nobody", NOBODY).await;
        self.promote("a voter", own).await;
        self.remove("nobody", NOBODY).await;
        for bad in ["", "nonsense", "https://127.0.0.1", "https://127.0.0.1:9/path", "ftp://127.0.0.1:9"] {
            self.add(&format!("add {bad:?}"), bad, false).await;
        }
        let learner = self.add("add a learner", NEW, true).await;
        // Not the new one's: within a second etcd takes that for the same member.
        self.add("add an address again", &url, true).await;
        self.add("add an address again as a voter's", &url, false).await;
        self.add("add another learner", "https://127.0.0.1:10", true).await;
        self.promote("who was never heard", learner).await;
        self.update("to another's address", own, NEW).await;
        self.update("to its own address", learner, NEW).await;
        self.remove("the learner", learner).await;
        self.remove("it again", learner).await;
        self.promote("it", learner).await;
        self.update("it", learner, NEW).await;
        self.remove("the last voter", own).await;
    }
}

fn count(members: Result<Vec<pb::Member>, Status>) -> String {
    members.map_or_else(|status| refused(&status), |members| format!("{} members", members.len()))
}

async fn said(channel: Channel) -> Vec<String> {
    let mut script = Script { channel, said: Vec::new() };
    script.compactions(&[-1, 0, 0, -1, 2]).await;
    script.watches().await;
    script.compactions(&[0, 4, 5, 5, 0, 99]).await;
    script.transactions().await;
    script.leases().await;
    script.members().await;
    script.said
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_installed_etcds() {
    let Some(etcd) = Etcd::start().await else { return };
    let me = InitialMember {
        name: "one".to_owned(),
        peer_url: "https://127.0.0.1:1".to_owned(),
        client_urls: Vec::new(),
    };
    let cluster = Cluster::Static { token: "beside etcd".to_owned(), members: vec![me.clone()] };
    let config = NodeConfig { name: me.name, cluster, ..NodeConfig::in_memory() };
    let served = Served::start_with(config).await;
    let theirs = said(etcd.channel()).await;
    let ours = said(served.channel()).await;
    assert_eq!(ours, theirs);
    served.stop().await;
}
