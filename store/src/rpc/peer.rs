//! The members' own protocol: carries the raft room's bytes to the member they are meant for.
//!
//! It keeps deadlines, tells silence from refusal, and checks cluster and node on every call; it never looks into a
//! payload. Calls and log entries go in frames of our own (`frames.rs`, `design/0012-frames-between-members.md`), over
//! connections that chose them by ALPN; snapshots go over gRPC, on the same port. Urgent calls, log entries, forwarded
//! writes, audits and snapshots have a connection each, so that none waits behind another.
//!
//! A connection is one task at each end, a stream of appends none at the sending end: it is driven by who reads the
//! answers.

mod client;
mod frames;
#[cfg(test)]
mod fuzz;
mod line;
mod server;
mod snapshot;

use std::time::Duration;

use base::NodeId;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

pub use client::Network;
pub use server::{PeerPort, serve_peers};

use crate::Badge;

/// What a connection must have chosen to speak in frames. Another version is another name.
pub(super) const PROTOCOL: &[u8] = b"navarch-peer/1";

/// A batch of log entries is far smaller; a forwarded transaction has at most 1.5 MiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Calls in flight on one connection.
const CALLS_MAX: usize = 10_000;
/// Appends that were read from a connection and that raft has not taken.
const APPENDS_MAX: usize = 64;
/// A peer that vanished without a word is noticed after the two together.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_ANSWER_MAX: Duration = Duration::from_secs(2);
/// The same in frames, where neither waits for the other: a member is gone when it was silent for three beats.
const ALIVE_EVERY: Duration = PING_EVERY;
const SILENCES_MAX: u32 = 3;
/// How long what is under way may take to end once the node stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

const CLUSTER: &str = "navarch-cluster";
const FROM: &str = "navarch-from";
const TO: &str = "navarch-to";

/// Whom a call is from and meant for. A node without an identity yet can only introduce itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    cluster: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
}

impl Address {
    fn new(me: &Badge, to: NodeId) -> Self {
        let me = me.identity();
        let (cluster, from) = me.map(|me| (me.cluster_id, me.node_id.get())).unzip();
        Self { cluster, from, to: Some(to.get()) }
    }

    fn of(metadata: &MetadataMap) -> Self {
        let number = |name| metadata.get(name)?.to_str().ok()?.parse().ok();
        Self { cluster: number(CLUSTER), from: number(FROM), to: number(TO) }
    }

    fn write(&self, metadata: &mut MetadataMap) {
        for (name, value) in [(CLUSTER, self.cluster), (FROM, self.from), (TO, self.to)] {
            if let Some(value) = value {
                metadata.insert(name, MetadataValue::from(value));
            }
        }
    }
}

/// Refuses what was meant for another cluster or another node: an address may have changed hands.
fn check(me: &Badge, address: &Address) -> Result<(), String> {
    let Some(me) = me.identity() else {
        return Err("this node has no place in its cluster yet".to_owned());
    };
    let said = |value: Option<u64>, name| value.ok_or_else(|| format!("the call does not say its {name}"));
    let cluster = said(address.cluster, CLUSTER)?;
    if cluster != me.cluster_id {
        return Err(format!("the call is for cluster {cluster:x}, this is cluster {:x}", me.cluster_id));
    }
    let to = said(address.to, TO)?;
    if to != me.node_id.get() {
        return Err(format!("the call is for node {to}, this is node {}", me.node_id));
    }
    said(address.from, FROM).map(drop)
}

/// Of a call over gRPC.
fn check_metadata(me: &Badge, metadata: &MetadataMap) -> Result<(), Status> {
    check(me, &Address::of(metadata)).map_err(Status::failed_precondition)
}
