//! Why there is no session, in the words that people know from Kubernetes.

use http::StatusCode;
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("pod does not exist")]
    NoPod,
    #[error("container not found ({0:?})")]
    NoContainer(String),
    #[error("the pod has no network namespace: it does not run")]
    NotRunning,
    #[error("you must specify at least 1 of stdin, stdout, stderr")]
    NoStreams,
    #[error("you must specify the command to run")]
    NoCommand,
    #[error("invalid value {value:?} for {name}")]
    Query { name: &'static str, value: String },
    #[error(
        "unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts [{spoken}]"
    )]
    Protocol { offered: String, spoken: String },
    #[error("Upgrade request required")]
    NoUpgrade,
    #[error("the request lacks Sec-WebSocket-Key")]
    NoWebSocketKey,
    /// A port that nobody answers at; in Kubernetes' words already.
    #[error("{0}")]
    Unreachable(String),
    #[error("cannot find the container")]
    Runtime(#[source] crate::runtime::RuntimeError),
}

impl Refusal {
    pub(crate) fn code(&self) -> StatusCode {
        match self {
            Self::NoPod => StatusCode::NOT_FOUND,
            Self::NoContainer(_) | Self::NotRunning | Self::Runtime(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoStreams
            | Self::NoCommand
            | Self::Query { .. }
            | Self::NoUpgrade
            | Self::NoWebSocketKey => StatusCode::BAD_REQUEST,
            Self::Protocol { .. } => StatusCode::FORBIDDEN,
            Self::Unreachable(_) => StatusCode::BAD_GATEWAY,
        }
    }
}
