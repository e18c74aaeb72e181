//! The store over gRPC: etcd's v3 API for clients, and the members' own protocol among themselves.
//!
//! Both ports speak HTTP/2 over mTLS and nothing else; a connection must show a certificate of the cluster's CA that
//! names an admitted organization. Messages are converted at this edge: no type of the wire goes further in.
//! Absent: the Auth service, bolt snapshots, downgrade, and plain HTTP on the client port.

mod error;
mod etcd;
mod listen;
mod peer;
mod tls;

#[cfg(test)]
mod tests;

pub use etcd::{ClientPort, serve_clients};
pub use listen::ServeError;
pub use peer::{Network, PeerPort, serve_peers};
pub use tls::{Tls, TlsError};
