//! Every call of the client port by name, for the counters that go by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::Counter;
use tonic::Code;

use crate::metrics as store_metrics;

/// How messages flow in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unary,
    /// Unary, and its answer can be large.
    Range,
    ServerStream,
    Bidirectional,
}

impl Kind {
    /// Whether its answer can be so large that it is not begun while others wait to be taken.
    pub(super) fn is_bulky_read(self) -> bool {
        matches!(self, Self::Range | Self::ServerStream)
    }

    /// The value of the label `grpc_type`.
    fn label(self) -> &'static str {
        match self {
            Self::Unary | Self::Range => "unary",
            Self::ServerStream => "server_stream",
            Self::Bidirectional => "bidi_stream",
        }
    }
}

const SERVICES: &[(&str, &[(&str, Kind)])] = &[
    (
        "etcdserverpb.Auth",
        &[
            ("AuthDisable", Kind::Unary),
            ("AuthEnable", Kind::Unary),
            ("AuthStatus", Kind::Unary),
            ("Authenticate", Kind::Unary),
            ("RoleAdd", Kind::Unary),
            ("RoleDelete", Kind::Unary),
            ("RoleGet", Kind::Unary),
            ("RoleGrantPermission", Kind::Unary),
            ("RoleList", Kind::Unary),
            ("RoleRevokePermission", Kind::Unary),
            ("UserAdd", Kind::Unary),
            ("UserChangePassword", Kind::Unary),
            ("UserDelete", Kind::Unary),
            ("UserGet", Kind::Unary),
            ("UserGrantRole", Kind::Unary),
            ("UserList", Kind::Unary),
            ("UserRevokeRole", Kind::Unary),
        ],
    ),
    (
        "etcdserverpb.Cluster",
        &[
            ("MemberAdd", Kind::Unary),
            ("MemberList", Kind::Unary),
            ("MemberPromote", Kind::Unary),
            ("MemberRemove", Kind::Unary),
            ("MemberUpdate", Kind::Unary),
        ],
    ),
    (
        "etcdserverpb.KV",
        &[
            ("Compact", Kind::Unary),
            ("DeleteRange", Kind::Unary),
            ("Put", Kind::Unary),
            ("Range", Kind::Range),
            ("RangeStream", Kind::ServerStream),
            ("Txn", Kind::Unary),
        ],
    ),
    (
        "etcdserverpb.Lease",
        &[
            ("LeaseGrant", Kind::Unary),
            ("LeaseKeepAlive", Kind::Bidirectional),
            ("LeaseLeases", Kind::Unary),
            ("LeaseRevoke", Kind::Unary),
            ("LeaseTimeToLive", Kind::Unary),
        ],
    ),
    (
        "etcdserverpb.Maintenance",
        &[
            ("Alarm", Kind::Unary),
            ("Defragment", Kind::Unary),
            ("Downgrade", Kind::Unary),
            ("Hash", Kind::Unary),
            ("HashKV", Kind::Unary),
            ("MoveLeader", Kind::Unary),
            ("Snapshot", Kind::ServerStream),
            ("Status", Kind::Unary),
        ],
    ),
    ("navarch.store.v1.Replica", &[("Rebuild", Kind::Unary)]),
    ("etcdserverpb.Watch", &[("Watch", Kind::Bidirectional)]),
    (
        "grpc.health.v1.Health",
        &[("Check", Kind::Unary), ("List", Kind::Unary), ("Watch", Kind::ServerStream)],
    ),
];

/// The counters of every call, made once.
pub(super) struct Calls {
    by_path: BTreeMap<String, Arc<Counters>>,
    /// Of every call that is not known: names are labels, and strangers must not invent labels.
    unknown: Arc<Counters>,
    received: Counter,
}

struct Counters {
    service: &'static str,
    method: &'static str,
    kind: Kind,
    started: Counter,
    succeeded: Counter,
    sent: Counter,
}

impl Counters {
    fn new(service: &'static str, method: &'static str, kind: Kind) -> Arc<Self> {
        let labels = store_metrics::CallLabels { service, method, kind: kind.label() };
        Arc::new(Self {
            service,
            method,
            kind,
            started: store_metrics::calls_started(labels),
            succeeded: store_metrics::calls_handled(labels, "OK"),
            sent: store_metrics::client_bytes_sent(),
        })
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        let all = SERVICES.iter().flat_map(|(service, methods)| {
            methods.iter().map(move |(method, kind)| (*service, *method, *kind))
        });
        let by_path = all
            .map(|(service, method, kind)| {
                (format!("/{service}/{method}"), Counters::new(service, method, kind))
            })
            .collect();
        Self {
            by_path,
            unknown: Counters::new("unknown", "unknown", Kind::Unary),
            received: store_metrics::client_bytes_received(),
        }
    }

    pub(super) fn begin(&self, path: &str) -> Call {
        let counters = self.by_path.get(path).unwrap_or(&self.unknown).clone();
        counters.started.increment(1);
        Call { counters, code: None }
    }

    pub(super) fn received(&self) -> Counter {
        self.received.clone()
    }
}

/// A call that has begun. It counts as canceled when it is dropped before its end was seen.
pub(super) struct Call {
    counters: Arc<Counters>,
    code: Option<Code>,
}

impl Call {
    pub(super) fn kind(&self) -> Kind {
        self.counters.kind
    }

    pub(super) fn ends_with(&mut self, code: Code) {
        self.code = Some(code);
    }

    pub(super) fn sends(&self, bytes: usize) {
        self.counters.sent.increment(bytes as u64);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Counters { service, method, kind, succeeded, .. } = &*self.counters;
        match self.code.unwrap_or(Code::Cancelled) {
            Code::Ok => succeeded.increment(1),
            other => {
                let labels = store_metrics::CallLabels { service, method, kind: kind.label() };
                store_metrics::calls_handled(labels, word(other)).increment(1);
            }
        }
    }
}

/// The word that grpc-go's metrics have for a code.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is missing would be counted as unknown, and a stream taken for a single message.
    #[test]
    fn every_call_of_the_protocol_is_here() {
        let mut service = String::new();
        for line in include_str!("../../../../proto/proto/etcd.proto").lines() {
            if let Some(name) = line.strip_prefix("service ") {
                service = format!("etcdserverpb.{}", name.trim_end_matches(" {"));
            }
            let Some((method, rest)) = line.trim().strip_prefix("rpc ").and_then(|rest| rest.split_once('('))
            else {
                continue;
            };
            let listed = SERVICES.iter().find(|(name, _)| *name == service).map(|(_, methods)| *methods);
            let found = listed.into_iter().flatten().find(|(name, _)| *name == method);
            let (_, kind) = found.unwrap_or_else(|| panic!("{service}/{method} is not listed"));
            assert_eq!(*kind == Kind::Bidirectional, rest.starts_with("stream"), "{service}/{method}");
        }
    }
}
