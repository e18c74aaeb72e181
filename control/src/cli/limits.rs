//! The store's limits as flags. etcd's names where etcd has the limit; the defaults are the store's own.

use clap::Args;
use store::Limits;

#[derive(Clone, Debug, Args)]
pub(crate) struct LimitArgs {
    /// Largest write, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().request_bytes_max)]
    pub(crate) max_request_bytes: usize,
    /// Most operations in a transaction
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().txn_ops_max)]
    pub(crate) max_txn_ops: usize,
    /// Most requests and streams on one connection to the store
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().streams_per_connection_max)]
    pub(crate) max_concurrent_streams: u32,
    /// Most watches on one stream
    #[arg(long, value_name = "NUMBER", default_value_t = Limits::default().watches_per_stream_max)]
    pub(crate) max_watches_per_stream: usize,
    /// Most bytes of requests that one connection may have unanswered
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unanswered_bytes_per_client_max)]
    pub(crate) max_unanswered_bytes_per_client: usize,
    /// Most bytes of requests that all connections together may have unanswered
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unanswered_bytes_max)]
    pub(crate) max_unanswered_bytes: usize,
    /// Bytes of answers that one connection may leave unread before it is refused ranges
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unread_bytes_per_client_max)]
    pub(crate) max_unread_bytes_per_client: usize,
    /// Bytes of answers that all connections together may leave unread before ranges are refused
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unread_bytes_max)]
    pub(crate) max_unread_bytes: usize,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            request_bytes_max: self.max_request_bytes,
            txn_ops_max: self.max_txn_ops,
            streams_per_connection_max: self.max_concurrent_streams,
            watches_per_stream_max: self.max_watches_per_stream,
            unanswered_bytes_per_client_max: self.max_unanswered_bytes_per_client,
            unanswered_bytes_max: self.max_unanswered_bytes,
            unread_bytes_per_client_max: self.max_unread_bytes_per_client,
            unread_bytes_max: self.max_unread_bytes,
        }
    }
}
