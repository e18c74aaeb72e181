//! The members' own protocol: carries the raft room's bytes to the member they are meant for.
//!
//! It keeps deadlines, tells silence from refusal, and checks cluster and node on every call; it never looks into a
//! payload. Urgent calls, log entries, forwarded writes and snapshots have a connection each, so that none waits
//! behind another.

mod client;
#[cfg(test)]
mod fuzz;
mod server;
mod snapshot;

use std::time::Duration;

use base::NodeId;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

pub use client::Network;
pub use server::{PeerPort, serve_peers};

use crate::Badge;

/// A batch of log entries is far smaller; a forwarded transaction has at most 1.5 MiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Forwarded requests in flight on one connection.
const STREAMS_MAX: u32 = 10_000;
/// A peer that vanished without a word is noticed after the two together.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_ANSWER_MAX: Duration = Duration::from_secs(2);

const CLUSTER: &str = "navarch-cluster";
const FROM: &str = "navarch-from";
const TO: &str = "navarch-to";

/// A node without an identity yet can only introduce itself.
fn write(me: &Badge, metadata: &mut MetadataMap, to: NodeId) {
    if let Some(me) = me.identity() {
        metadata.insert(CLUSTER, MetadataValue::from(me.cluster_id));
        metadata.insert(FROM, MetadataValue::from(me.node_id.get()));
    }
    metadata.insert(TO, MetadataValue::from(to.get()));
}

/// Refuses what was meant for another cluster or another node: an address may have changed hands.
fn check(me: &Badge, metadata: &MetadataMap) -> Result<(), Status> {
    let Some(me) = me.identity() else {
        return Err(Status::failed_precondition("this node has no place in its cluster yet"));
    };
    let cluster = number(metadata, CLUSTER)?;
    if cluster != me.cluster_id {
        return Err(Status::failed_precondition(format!(
            "the call is for cluster {cluster:x}, this is cluster {:x}",
            me.cluster_id
        )));
    }
    let to = number(metadata, TO)?;
    if to != me.node_id.get() {
        return Err(Status::failed_precondition(format!(
            "the call is for node {to}, this is node {}",
            me.node_id
        )));
    }
    number(metadata, FROM).map(|_| ())
}

fn number(metadata: &MetadataMap, name: &'static str) -> Result<u64, Status> {
    let value = metadata.get(name).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| Status::failed_precondition(format!("the call does not say its {name}")))
}
