//! A server that answers at once and does nothing: what this client and tonic cost without any store.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use proto::etcdserverpb::kv_server::{Kv, KvServer};
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use proto::mvccpb::KeyValue;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

struct Empty;

/// `wall CERTIFICATES PORT`.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let [certificates, port] = arguments else { bail!("the wall needs a port") };
    let read = |name: &str| fs::read_to_string(Path::new(certificates).join(name)).context(name.to_owned());
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("cert.pem")?, read("key.pem")?))
        .client_ca_root(Certificate::from_pem(read("ca.pem")?));
    let address = format!("127.0.0.1:{port}").parse()?;
    Server::builder().tls_config(tls)?.add_service(KvServer::new(Empty)).serve(address).await?;
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "every answer has a header")]
fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: 1 << 60, member_id: 1, revision: 1_000_000, raft_term: 2 })
}

#[tonic::async_trait]
impl Kv for Empty {
    type RangeStreamStream = tokio_stream::Empty<Result<RangeStreamResponse, Status>>;

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let key = request.into_inner().key;
        let value = vec![b'v'; 256].into();
        let found = KeyValue { key, value, create_revision: 2, mod_revision: 2, version: 1, lease: 0 };
        Ok(Response::new(RangeResponse { header: header(), kvs: vec![found], more: false, count: 1 }))
    }

    async fn range_stream(
        &self,
        _request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn put(&self, _request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse { header: header(), prev_kv: None }))
    }

    async fn delete_range(
        &self,
        _request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(DeleteRangeResponse { header: header(), deleted: 0, prev_kvs: Vec::new() }))
    }

    async fn txn(&self, _request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(TxnResponse { header: header(), succeeded: true, responses: Vec::new() }))
    }

    async fn compact(
        &self,
        _request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(CompactionResponse { header: header() }))
    }
}
