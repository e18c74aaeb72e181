//! What one request, one stream, one client and one node may take at most. Each is a setting.

/// The limits of a node. A request over a limit is refused before anything is done; nothing is queued for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request that writes. etcd's `--max-request-bytes`.
    pub request_bytes_max: usize,
    /// Operations on one path of a transaction, comparisons too. etcd's `--max-txn-ops`.
    pub txn_ops_max: usize,
    /// Requests and streams that are open on one connection. etcd's `--max-concurrent-streams`.
    pub streams_per_connection_max: u32,
    /// Watches on one Watch stream.
    pub watches_per_stream_max: usize,
    /// Bytes of requests that were read from one connection and not answered.
    pub unanswered_bytes_per_client_max: usize,
    /// The same for all connections of the client port.
    pub unanswered_bytes_max: usize,
    /// Bytes of answers that one connection was given and has not taken: above this it is refused ranges.
    pub unread_bytes_per_client_max: usize,
    /// The same for all connections of the client port.
    pub unread_bytes_max: usize,
}

impl Default for Limits {
    /// etcd's, where it has one. The others leave room for one API server that lists everything on one connection.
    fn default() -> Self {
        Self {
            request_bytes_max: 1536 * 1024,
            txn_ops_max: 128,
            streams_per_connection_max: 10_000,
            watches_per_stream_max: 100_000,
            unanswered_bytes_per_client_max: 64 * 1024 * 1024,
            unanswered_bytes_max: 256 * 1024 * 1024,
            unread_bytes_per_client_max: 512 * 1024 * 1024,
            unread_bytes_max: 2 * 1024 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// What one message on the wire may have: etcd leaves this much room around the largest request.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.request_bytes_max + 512 * 1024
    }
}
