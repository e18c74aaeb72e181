//! The history's operations as etcd's messages, and etcd's answers as the history's.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::mvccpb;

use crate::history::{
    Answer, Change, Compare, Delete, Header, Is, Kv, Op, Put, Range, Target, Txn, WatchAnswer, WatchEvent,
    WatchOpen,
};

/// Keys and values of others may be any bytes; ours are text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn end(text: Option<&str>) -> Bytes {
    text.map(bytes).unwrap_or_default()
}

/// etcd's numbers are signed and never negative where the history's are not.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn header(header: Option<pb::ResponseHeader>) -> Header {
    let header = header.unwrap_or_default();
    Header {
        cluster: header.cluster_id,
        member: header.member_id,
        revision: unsigned(header.revision),
        term: header.raft_term,
    }
}

pub(super) fn range(range: &Range) -> pb::RangeRequest {
    pb::RangeRequest {
        key: bytes(&range.key),
        range_end: end(range.end.as_deref()),
        limit: signed(range.limit),
        revision: signed(range.revision),
        serializable: range.serializable,
        count_only: range.count_only,
        ..Default::default()
    }
}

pub(super) fn put(put: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(&put.key),
        value: bytes(&put.value),
        lease: put.lease,
        prev_kv: put.previous,
        ..Default::default()
    }
}

pub(super) fn delete(delete: &Delete) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: bytes(&delete.key),
        range_end: end(delete.end.as_deref()),
        prev_kv: delete.previous,
    }
}

pub(super) fn txn(txn: &Txn) -> pb::TxnRequest {
    let branch = |ops: &[Op]| ops.iter().filter_map(request_op).collect();
    pb::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: branch(&txn.then),
        failure: branch(&txn.otherwise),
    }
}

/// None for what cannot stand in a transaction.
fn request_op(op: &Op) -> Option<pb::RequestOp> {
    use pb::request_op::Request;
    let request = match op {
        Op::Range(asked) => Request::RequestRange(range(asked)),
        Op::Put(asked) => Request::RequestPut(put(asked)),
        Op::Delete(asked) => Request::RequestDeleteRange(delete(asked)),
        Op::Txn(asked) => Request::RequestTxn(txn(asked)),
        Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. }
        | Op::Status => return None,
    };
    Some(pb::RequestOp { request: Some(request) })
}

fn compare(compare: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = match compare.is {
        Is::Equal => CompareResult::Equal,
        Is::NotEqual => CompareResult::NotEqual,
        Is::Less => CompareResult::Less,
        Is::Greater => CompareResult::Greater,
    };
    let (target, union) = match &compare.target {
        Target::Version(number) => (CompareTarget::Version, TargetUnion::Version(signed(*number))),
        Target::Created(number) => (CompareTarget::Create, TargetUnion::CreateRevision(signed(*number))),
        Target::Modified(number) => (CompareTarget::Mod, TargetUnion::ModRevision(signed(*number))),
        Target::Lease(id) => (CompareTarget::Lease, TargetUnion::Lease(*id)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(bytes(value))),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(&compare.key),
        target_union: Some(union),
        ..Default::default()
    }
}

pub(super) fn kv(kv: mvccpb::KeyValue) -> Kv {
    Kv {
        key: text(&kv.key),
        value: text(&kv.value),
        created: unsigned(kv.create_revision),
        modified: unsigned(kv.mod_revision),
        version: unsigned(kv.version),
        lease: kv.lease,
    }
}

pub(super) fn range_answer(answer: pb::RangeResponse) -> Answer {
    Answer::Range {
        kvs: answer.kvs.into_iter().map(kv).collect(),
        count: unsigned(answer.count),
        more: answer.more,
    }
}

pub(super) fn put_answer(answer: pb::PutResponse) -> Answer {
    Answer::Put { previous: answer.prev_kv.map(kv) }
}

pub(super) fn delete_answer(answer: pb::DeleteRangeResponse) -> Answer {
    Answer::Delete {
        deleted: unsigned(answer.deleted),
        previous: answer.prev_kvs.into_iter().map(kv).collect(),
    }
}

pub(super) fn txn_answer(answer: pb::TxnResponse) -> Answer {
    use pb::response_op::Response;
    let one = |answer: pb::ResponseOp| {
        Some(match answer.response? {
            Response::ResponseRange(answer) => range_answer(answer),
            Response::ResponsePut(answer) => put_answer(answer),
            Response::ResponseDeleteRange(answer) => delete_answer(answer),
            Response::ResponseTxn(answer) => txn_answer(answer),
        })
    };
    Answer::Txn {
        succeeded: answer.succeeded,
        answers: answer.responses.into_iter().filter_map(one).collect(),
    }
}

pub(super) fn time_to_live_answer(answer: pb::LeaseTimeToLiveResponse) -> Answer {
    Answer::TimeToLive {
        ttl_s: answer.ttl,
        granted_s: answer.granted_ttl,
        keys: answer.keys.iter().map(|key| text(key)).collect(),
    }
}

pub(super) fn watch(open: &WatchOpen) -> pb::WatchCreateRequest {
    use pb::watch_create_request::FilterType;
    let filters = [(open.no_put, FilterType::Noput), (open.no_delete, FilterType::Nodelete)];
    pb::WatchCreateRequest {
        key: bytes(&open.key),
        range_end: end(open.end.as_deref()),
        start_revision: signed(open.start),
        progress_notify: open.progress,
        filters: filters.iter().filter(|(wanted, _)| *wanted).map(|(_, filter)| (*filter).into()).collect(),
        prev_kv: open.previous,
        fragment: open.fragment,
        ..Default::default()
    }
}

pub(super) fn watch_answer(watch: u64, answer: pb::WatchResponse) -> WatchAnswer {
    WatchAnswer {
        watch,
        header: header(answer.header),
        created: answer.created,
        canceled: answer.canceled.then_some(answer.cancel_reason),
        compacted: unsigned(answer.compact_revision),
        fragment: answer.fragment,
        events: answer.events.into_iter().map(event).collect(),
    }
}

fn event(event: mvccpb::Event) -> WatchEvent {
    let is_put = event.r#type() == mvccpb::event::EventType::Put;
    let changed = kv(event.kv.unwrap_or_default());
    let change = if is_put {
        Change::Put { kv: changed }
    } else {
        Change::Delete { key: changed.key, modified: changed.modified }
    };
    WatchEvent { change, previous: event.prev_kv.map(kv) }
}
