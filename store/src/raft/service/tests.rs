//! What other members ask, damaged on its way: each message is answered or refused, and the store lives on.
//!
//! Of Raft's own messages only the reading is tested. What can be read is believed: Raft trusts its members.

use std::time::Duration;

use base::{LeaseId, ManualClock, NodeId, Revision, SeededEntropy, Tasks, Timestamp};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use proptest::prelude::*;
use proptest::sample::select;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::entrance::messages::{Asks, Introduction};
use crate::leases::desk::LeaseQuestion;
use crate::mutations::damaged;
use crate::mvcc::alarm::{Alarm, AlarmChange, AlarmKind, Lasts};
use crate::mvcc::auth::change::AuthChange;
use crate::mvcc::auth::permit::By;
use crate::mvcc::machine::{Action, Command};
use crate::mvcc::retries::RequestId;
use crate::raft::commands::Commands;
use crate::raft::membership::{Applicant, MemberChange};
use crate::raft::types::{Entry, LeaderId, LogId, Proposal, TypeConfig, Vote};
use crate::store::audit::{Claim, Question};
use crate::store::rebuild::Wanted;
use crate::store::writes::Forwarded;
use crate::{Addresses, Compare, Delete, Lease, NewMember, Op, Put, Range, Span, Txn};

fn commands() -> Commands {
    let txn = Txn {
        compares: vec![Compare::absent("k")],
        success: vec![Op::Put(Put::of("k", "v")), Op::Range(Range::prefix("k"))],
        failure: vec![Op::Delete(Delete::of(Span::range("a", "z"))), Op::Txn(Txn::default())],
    };
    let alarm = Alarm { member: NodeId::new(1), kind: AlarmKind::Corrupt };
    let actions = [
        Action::Txn(txn),
        Action::Compact(Revision::new(2)),
        Action::LeaseGrant(Lease { id: LeaseId::new(7), ttl_seconds: 60 }),
        Action::LeaseRevoke(LeaseId::new(7)),
        Action::TakeNodeId { above: NodeId::new(3) },
        Action::TakeNodeId { above: NodeId::new(u64::MAX) },
        Action::Alarm(AlarmChange::Raise(alarm, Lasts::UntilCleared)),
        Action::Auth(AuthChange::UserAdd { name: "somebody".to_owned(), password: None }),
    ];
    let encoded: Vec<Bytes> = (0..)
        .zip(actions)
        .map(|(serial, action)| {
            let request = RequestId::of_node(9, serial);
            codec::encode(&Command { request, by: By::Process, fence: None, action })
        })
        .collect();
    Commands::pack(encoded.iter())
}

fn applicant() -> Applicant {
    let (name, peer_url) = ("new".to_owned(), "https://new:1".to_owned());
    Applicant { name, incarnation: 5, peer_url, client_urls: Vec::new(), may_be_added: false }
}

fn forwarded() -> Vec<Vec<u8>> {
    let id = NodeId::new(2);
    let member = NewMember {
        name: "new".to_owned(),
        peer_url: "https://new:1".to_owned(),
        client_urls: Vec::new(),
        votes_when_ready: false,
    };
    let to = Addresses { peer_url: "https://new:2".to_owned(), client_urls: None };
    let changes = [
        MemberChange::Add { member, request: 1 },
        MemberChange::Promote(id),
        MemberChange::Remove(id),
        MemberChange::Update { id, to },
        MemberChange::Seat(applicant()),
    ];
    let lease = LeaseId::new(7);
    let questions = vec![LeaseQuestion::KeepAlive(lease), LeaseQuestion::TimeToLive(lease)];
    // Writes of all kinds come as often as the rest.
    let writes = (0..5).map(|_| Forwarded::Propose(commands()));
    let others = changes.map(Forwarded::Member).into_iter().chain([Forwarded::Leases(questions)]);
    encoded(&writes.chain(others).collect::<Vec<_>>())
}

fn audits() -> Vec<Vec<u8>> {
    let at = Revision::new(1);
    let keys = Claim::Keys { at, span: Span::range("a", "z") };
    encoded(&[
        Question::Hash(Claim::Applied(at)),
        Question::Hash(keys.clone()),
        Question::LookAt(keys),
        Question::Offer(Wanted { index: 2 }),
    ])
}

fn introductions() -> Vec<Vec<u8>> {
    let introduction = |asks| Introduction {
        token: "memory".to_owned(),
        name: "new".to_owned(),
        incarnation: 5,
        process: 6,
        place: Some((7, NodeId::new(3))),
        peer_url: "https://new:1".to_owned(),
        client_urls: vec!["https://new:2".to_owned()],
        asks,
    };
    let place = Asks::Place { may_be_added: false, former: Some(3) };
    encoded(&[introduction(Asks::Standing), introduction(place)])
}

fn encoded<T: Serialize>(messages: &[T]) -> Vec<Vec<u8>> {
    messages.iter().map(|message| codec::encode(message).to_vec()).collect()
}

#[test]
fn damaged_questions_of_members_are_answered_or_refused() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    let tasks = Tasks::new(CancellationToken::new());
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = runtime.block_on(Store::in_memory(clock, Arc::new(SeededEntropy::new(1)), &tasks));
    let service = Service::of(store.clone());
    let kinds = vec![
        (Call::Forward, forwarded()),
        (Call::Audit, audits()),
        (Call::Introduce, introductions()),
        (Call::ReadIndex, vec![Vec::new()]),
    ];
    let valid = select(kinds).prop_flat_map(|(call, valid)| (Just(call), damaged(valid)));
    let all = [Call::Append, Call::Heartbeat, Call::Vote, Call::PreVote, Call::TransferLeader];
    // The first byte is a version that there is not.
    let garbage = (select(all.to_vec()), proptest::collection::vec(2_u8.., 0..60));
    let asked = prop_oneof![6 => valid, 1 => garbage];
    proptest!(ProptestConfig::with_cases(1000), |((call, payload) in asked)| {
        let _answered = runtime.block_on(service.call(call, payload.into()));
    });
    let alive = runtime.block_on(store.range(Range::key("alive")));
    assert_eq!(alive.expect("the store lives on").count, 0);
    tasks.stop().cancel();
    drop((store, service));
    runtime.block_on(tasks.join(Duration::from_secs(60))).expect("no task has failed");
}

/// A command that cannot be read must not come into the log: it would stop every member.
#[tokio::test]
async fn a_command_that_nobody_can_read_is_not_proposed() {
    let tasks = Tasks::new(CancellationToken::new());
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = Store::in_memory(clock, Arc::new(SeededEntropy::new(1)), &tasks).await;
    let service = Service::of(store.clone());
    let unreadable = Commands::pack(std::iter::once(&Bytes::from_static(b"of another version")));
    let asked = codec::encode(&Forwarded::Propose(unreadable));
    service.call(Call::Forward, asked).await.expect("an answer");
    store.txn(Txn::of(Op::Put(Put::of("k", "v")))).await.expect("the store lives on");
    tasks.stop().cancel();
    tasks.join(Duration::from_secs(30)).await.expect("no task has failed");
}

/// What is read is written again as it was, whatever it was made of.
fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = codec::decode::<T>(bytes) {
        assert!(codec::decode::<T>(&codec::encode(&message)).is_ok());
    }
}

#[test]
fn damaged_messages_of_raft_are_read_or_refused() {
    let leader_id = LeaderId { term: 3, node_id: 1 };
    let vote = Vote { leader_id, committed: true };
    let last = LogId { leader_id, index: 9 };
    let proposal = Proposal { time_ms: 5, witness: Some((4, 0xabcd)), commands: commands() };
    let entries =
        [EntryPayload::Blank, EntryPayload::Normal(proposal)].map(|payload| Entry { log_id: last, payload });
    let append: AppendEntriesRequest<TypeConfig> = AppendEntriesRequest {
        vote,
        prev_log_id: Some(last),
        entries: entries.to_vec(),
        leader_commit: Some(last),
    };
    let head = SnapshotHead { vote, meta: Default::default(), inline: "rows".into() };
    let valid: Vec<Vec<u8>> = [
        codec::encode(&append),
        codec::encode(&VoteRequest::<TypeConfig>::new(vote, Some(last))),
        codec::encode(&TransferLeaderRequest::<TypeConfig>::new(vote, 2, Some(last))),
        codec::encode(&head),
    ]
    .map(|bytes| bytes.to_vec())
    .to_vec();
    let bytes = prop_oneof![6 => damaged(valid), 1 => any::<Vec<u8>>()];
    proptest!(ProptestConfig::with_cases(3000), |(bytes in bytes)| {
        read::<AppendEntriesRequest<TypeConfig>>(&bytes);
        read::<VoteRequest<TypeConfig>>(&bytes);
        read::<TransferLeaderRequest<TypeConfig>>(&bytes);
        read::<SnapshotHead>(&bytes);
    });
}

/// More requests than a task may handle in a turn, all there at once: as after a pause.
#[tokio::test]
async fn appends_reach_raft_in_order_however_many_there_are() {
    let tasks = Tasks::new(CancellationToken::new());
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = Store::in_memory(clock, Arc::new(SeededEntropy::new(1)), &tasks).await;
    let service = Service::of(store.clone());
    let raft = store.inner().raft.raft();
    // Alone in its cluster it would elect itself while it answers.
    raft.runtime_config().elect(false);
    let last = raft.with_raft_state(|state| state.log_ids.last().copied()).await;
    let last = last.expect("it runs").expect("a leader has an entry of its own");
    let leader_id = LeaderId { term: 9, node_id: 2 };
    let vote = Vote { leader_id, committed: true };
    let id = |index| LogId { leader_id, index };
    let requests = (1..=500).map(|n| {
        let prev_log_id = if n == 1 { last } else { id(last.index + n - 1) };
        let entries = vec![Entry { log_id: id(last.index + n), payload: EntryPayload::Blank }];
        codec::encode(&AppendEntriesRequest::<TypeConfig> {
            vote,
            prev_log_id: Some(prev_log_id),
            entries,
            leader_commit: Some(last),
        })
    });
    let answers = service.append_stream(futures::stream::iter(requests.collect::<Vec<_>>()).boxed());
    let answers: Vec<_> =
        tokio::time::timeout(Duration::from_secs(30), answers.collect()).await.expect("answers");
    assert_eq!(answers.len(), 500, "an append that came before its time ends the stream");
    for answer in answers {
        let answer: StreamAppendResult<TypeConfig> =
            codec::decode(&answer.expect("an answer")).expect("readable");
        answer.expect("each follows the one before");
    }
}
