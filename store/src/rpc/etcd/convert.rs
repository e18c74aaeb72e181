//! Between etcd's messages and the store's types, both ways. Pure.

use base::{LeaseId, Revision};
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::mvccpb;
use tonic::Status;

use super::super::error;
use crate::{
    Compare, Delete, End, KeyValue, Op, OpResult, Put, Range, RangeResult, Relation, Sort, SortTarget, Span,
    Target, Txn, TxnResult,
};

/// etcd's two fields for an interval of keys.
pub(super) fn span(key: Bytes, range_end: Bytes) -> Span {
    let end = match &range_end[..] {
        [] => End::Single,
        [0] => End::Unbounded,
        _ => End::Before(range_end),
    };
    Span { start: key, end }
}

fn span_of_key(key: Bytes, range_end: Bytes) -> Result<Span, Status> {
    if key.is_empty() { Err(error::empty_key()) } else { Ok(span(key, range_end)) }
}

/// Zero and below mean "not asked for".
pub(super) fn positive(revision: i64) -> Option<Revision> {
    (revision > 0).then(|| Revision::new(revision))
}

pub(super) fn range(request: pb::RangeRequest) -> Result<Range, Status> {
    Ok(Range {
        sort: sort(&request)?,
        span: span_of_key(request.key, request.range_end)?,
        revision: positive(request.revision),
        limit: usize::try_from(request.limit).unwrap_or(0),
        keys_only: request.keys_only,
        count_only: request.count_only,
        serializable: request.serializable,
        uncounted: false,
        min_mod_revision: positive(request.min_mod_revision),
        max_mod_revision: positive(request.max_mod_revision),
        min_create_revision: positive(request.min_create_revision),
        max_create_revision: positive(request.max_create_revision),
    })
}

/// Keys come in ascending order anyway; another target without an order means ascending.
fn sort(request: &pb::RangeRequest) -> Result<Option<Sort>, Status> {
    use pb::range_request::{SortOrder, SortTarget as Wire};
    let order = SortOrder::try_from(request.sort_order).map_err(|_| error::invalid_sort())?;
    let target = match Wire::try_from(request.sort_target).map_err(|_| error::invalid_sort())? {
        Wire::Key => SortTarget::Key,
        Wire::Version => SortTarget::Version,
        Wire::Create => SortTarget::Create,
        Wire::Mod => SortTarget::Mod,
        Wire::Value => SortTarget::Value,
    };
    let descending = order == SortOrder::Descend;
    Ok((descending || target != SortTarget::Key).then_some(Sort { target, descending }))
}

pub(super) fn put(request: pb::PutRequest) -> Put {
    Put {
        key: request.key,
        value: request.value,
        lease: LeaseId::new(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(super) fn delete(request: pb::DeleteRangeRequest) -> Result<Delete, Status> {
    Ok(Delete { span: span_of_key(request.key, request.range_end)?, prev_kv: request.prev_kv })
}

pub(super) fn txn(request: pb::TxnRequest) -> Result<Txn, Status> {
    Ok(Txn {
        compares: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: request.success.into_iter().map(op).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(op).collect::<Result<_, _>>()?,
    })
}

fn op(request: pb::RequestOp) -> Result<Op, Status> {
    use pb::request_op::Request;
    match request.request.ok_or_else(error::key_not_found)? {
        Request::RequestRange(request) => range(request).map(Op::Range),
        Request::RequestPut(request) => Ok(Op::Put(put(request))),
        Request::RequestDeleteRange(request) => delete(request).map(Op::Delete),
        Request::RequestTxn(request) => txn(request).map(Op::Txn),
    }
}

/// A compare whose operand is of another kind than its target compares with that target's zero, as in etcd.
fn compare(request: pb::Compare) -> Result<Compare, Status> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let relation = match CompareResult::try_from(request.result) {
        Ok(CompareResult::Equal) => Relation::Equal,
        Ok(CompareResult::Greater) => Relation::Greater,
        Ok(CompareResult::Less) => Relation::Less,
        Ok(CompareResult::NotEqual) => Relation::NotEqual,
        Err(_) => return Err(Status::invalid_argument("unknown relation in a compare")),
    };
    let operand = request.target_union;
    let number = |of: fn(&TargetUnion) -> Option<i64>| operand.as_ref().and_then(of).unwrap_or(0);
    let target =
        match CompareTarget::try_from(request.target) {
            Ok(CompareTarget::Version) => {
                Target::Version(number(|of| if let TargetUnion::Version(n) = of { Some(*n) } else { None }))
            }
            Ok(CompareTarget::Create) => Target::Create(Revision::new(number(|of| {
                if let TargetUnion::CreateRevision(n) = of { Some(*n) } else { None }
            }))),
            Ok(CompareTarget::Mod) => Target::Mod(Revision::new(number(|of| {
                if let TargetUnion::ModRevision(n) = of { Some(*n) } else { None }
            }))),
            Ok(CompareTarget::Value) => Target::Value(match operand {
                Some(TargetUnion::Value(value)) => value,
                _ => Bytes::new(),
            }),
            Ok(CompareTarget::Lease) => Target::Lease(LeaseId::new(number(|of| {
                if let TargetUnion::Lease(n) = of { Some(*n) } else { None }
            }))),
            Err(_) => return Err(Status::invalid_argument("unknown target in a compare")),
        };
    Ok(Compare { span: span_of_key(request.key, request.range_end)?, target, relation })
}

pub(super) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision.get(),
        mod_revision: kv.mod_revision.get(),
        version: kv.version,
        lease: kv.lease.get(),
    }
}

/// Builds responses with the header that each of them carries.
pub(super) struct Answers<H> {
    header: H,
}

impl<H: Fn(Revision) -> pb::ResponseHeader> Answers<H> {
    pub(super) fn new(header: H) -> Self {
        Self { header }
    }

    pub(super) fn range(&self, result: RangeResult) -> pb::RangeResponse {
        pb::RangeResponse {
            header: Some((self.header)(result.revision)),
            count: i64::try_from(result.count).unwrap_or(i64::MAX),
            more: result.more,
            kvs: result.kvs.into_iter().map(key_value).collect(),
        }
    }

    pub(super) fn put(&self, revision: Revision, prev: Option<KeyValue>) -> pb::PutResponse {
        pb::PutResponse { header: Some((self.header)(revision)), prev_kv: prev.map(key_value) }
    }

    pub(super) fn delete(
        &self,
        revision: Revision,
        deleted: u64,
        prev: Vec<KeyValue>,
    ) -> pb::DeleteRangeResponse {
        pb::DeleteRangeResponse {
            header: Some((self.header)(revision)),
            deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
            prev_kvs: prev.into_iter().map(key_value).collect(),
        }
    }

    /// What is inside says no more of its header than the revision, as in etcd.
    pub(super) fn txn(&self, result: TxnResult) -> pb::TxnResponse {
        let before =
            if changes(&result) { Revision::new(result.revision.get() - 1) } else { result.revision };
        let header = Some((self.header)(result.revision));
        let inside = Answers::new(|revision: Revision| pb::ResponseHeader {
            revision: revision.get(),
            ..pb::ResponseHeader::default()
        });
        let answer = inside.nested(result, &mut Reached { now: before, after: before.next() });
        pb::TxnResponse { header, ..answer }
    }

    fn nested(&self, result: TxnResult, reached: &mut Reached) -> pb::TxnResponse {
        use pb::response_op::Response;
        let one = |result| {
            let response = match result {
                OpResult::Range(result) => Response::ResponseRange(self.range(result)),
                OpResult::Put { prev } => {
                    reached.change();
                    Response::ResponsePut(self.put(reached.now, prev))
                }
                OpResult::Delete { deleted, prev } => {
                    if deleted > 0 {
                        reached.change();
                    }
                    Response::ResponseDeleteRange(self.delete(reached.now, deleted, prev))
                }
                OpResult::Txn(result) => Response::ResponseTxn(self.nested(result, reached)),
            };
            pb::ResponseOp { response: Some(response) }
        };
        pb::TxnResponse {
            header: Some(pb::ResponseHeader::default()),
            succeeded: result.succeeded,
            responses: result.responses.into_iter().map(one).collect(),
        }
    }
}

/// The revision that the header of each operation reports: the old one until the first change.
struct Reached {
    now: Revision,
    after: Revision,
}

impl Reached {
    fn change(&mut self) {
        self.now = self.after;
    }
}

fn changes(result: &TxnResult) -> bool {
    result.responses.iter().any(|one| match one {
        OpResult::Range(_) => false,
        OpResult::Put { .. } => true,
        OpResult::Delete { deleted, .. } => *deleted > 0,
        OpResult::Txn(inner) => changes(inner),
    })
}

#[cfg(test)]
mod tests;
