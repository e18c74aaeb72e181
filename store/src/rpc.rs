//! The store on the wire: etcd's v3 API over gRPC for clients, and the members' own protocol among themselves.
//!
//! Both ports are TLS; gRPC is for connections that have shown a certificate of the cluster's CA that names an admitted
//! organization. The client port also has etcd's pages for probes and scrapers, over HTTP/1.1 or 2. Messages are converted
//! at this edge: no type of the wire goes further in.
//! Absent: bolt snapshots, downgrade.

mod client;
mod door;
mod error;
mod etcd;
mod listen;
mod pages;
mod peer;
mod tls;

#[cfg(test)]
mod tests;

pub use etcd::{ClientPort, serve_clients};
pub use listen::ServeError;
pub use pages::{MetricsPage, RenderMetrics};
pub use peer::{Network, PeerPort, serve_peers};
pub use tls::{Tls, TlsError};
