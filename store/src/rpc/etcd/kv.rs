//! The KV service: range, put, delete, transactions, compaction.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_server::Kv;
use tonic::{Request, Response, Status};

use super::super::error;
use super::range_stream::{self, RangeChunks};
use super::{Front, convert};
use crate::{Op, OpResult, Store, Txn, TxnResult};
use base::Revision;

impl Front {
    fn answers(&self) -> convert::Answers<impl Fn(Revision) -> pb::ResponseHeader> {
        // One look at the status for all headers of a response.
        let now = self.header_now();
        convert::Answers::new(move |revision: Revision| pb::ResponseHeader {
            revision: revision.get(),
            ..now
        })
    }

    async fn one(store: &Store, op: Op) -> Result<(Revision, OpResult), Status> {
        let TxnResult { revision, responses, .. } =
            store.txn(Txn::of(op)).await.map_err(|refused| error::status(&refused))?;
        let result = responses.into_iter().next();
        Ok((
            revision,
            result.ok_or_else(|| Status::internal("a transaction of one operation has no result"))?,
        ))
    }
}

#[tonic::async_trait]
impl Kv for Front {
    type RangeStreamStream = RangeChunks;

    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        if request.get_ref().serializable {
            self.admit_to_learners(request.metadata())?;
        } else {
            self.admit(request.metadata())?;
        }
        let store = self.store_of(&request);
        let (metadata, _, asked) = request.into_parts();
        let range = self.pinned(&metadata, convert::range(asked)?).await?;
        let result = store.range(range).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(self.answers().range(result)))
    }

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        self.admit(request.metadata())?;
        let front = self.of(&request);
        let (metadata, _, asked) = request.into_parts();
        let range = self.pinned(&metadata, convert::range(asked)?).await?;
        let chunks = range_stream::start(front, range)?;
        Ok(Response::new(chunks))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.writer(&request)?;
        let put = convert::put(request.into_inner());
        match Self::one(&store, Op::Put(put)).await? {
            (revision, OpResult::Put { prev }) => Ok(Response::new(self.answers().put(revision, prev))),
            (_, other) => Err(mismatch("put", &other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.writer(&request)?;
        let delete = convert::delete(request.into_inner())?;
        match Self::one(&store, Op::Delete(delete)).await? {
            (revision, OpResult::Delete { deleted, prev }) => {
                Ok(Response::new(self.answers().delete(revision, deleted, prev)))
            }
            (_, other) => Err(mismatch("delete", &other)),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.writer(&request)?;
        let txn = convert::txn(request.into_inner())?;
        let result = store.txn(txn).await.map_err(|refused| error::status(&refused))?;
        Ok(Response::new(self.answers().txn(result)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.admit(request.metadata())?;
        let store = self.writer(&request)?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        store.compact(Revision::new(revision)).await.map_err(|refused| error::status(&refused))?;
        if physical {
            store.wait_until_clean().await;
        }
        Ok(Response::new(pb::CompactionResponse { header: Some(self.header_now()) }))
    }
}

fn mismatch(asked: &'static str, got: &OpResult) -> Status {
    tracing::error!(asked, ?got, "the store answered another operation than it was asked for");
    Status::internal("the store answered another operation than it was asked for")
}
