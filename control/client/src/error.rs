//! What can go wrong with one call to the API.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use thiserror::Error;

use crate::transport::TransportError;

/// How a server opens the message of a refused fence.
const FENCED_PREFIX: &str = "fenced:";

/// Why a call gave no object.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server answered with a Status that is not a success.
    #[error("{}", describe(.0))]
    Status(Box<Status>),
    #[error("no answer from the API server")]
    Transport(#[from] TransportError),
    /// The outcome is unknown.
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
    /// Refused here, before anything was sent: the leader's own deadline is over.
    #[error("not the leader of {lease} any more")]
    NotLeader { lease: String },
    #[error("cannot encode the request")]
    Encode(#[source] serde_json::Error),
    #[error("cannot decode {what}")]
    Decode { what: &'static str, source: serde_json::Error },
    #[error("cannot build the request")]
    Request(#[from] http::Error),
}

impl ClientError {
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            Self::Transport(_)
            | Self::Timeout(_)
            | Self::NotLeader { .. }
            | Self::Encode(_)
            | Self::Decode { .. }
            | Self::Request(_) => None,
        }
    }

    pub fn code(&self) -> Option<i32> {
        self.status().and_then(|status| status.code)
    }

    pub fn reason(&self) -> Option<&str> {
        self.status().and_then(|status| status.reason.as_deref())
    }

    /// What was asked for may have happened, or may yet.
    pub fn is_indefinite(&self) -> bool {
        match self {
            Self::Status(status) => status.code.is_none_or(|code| code >= 500),
            Self::Transport(_) | Self::Timeout(_) | Self::Decode { .. } => true,
            Self::NotLeader { .. } | Self::Encode(_) | Self::Request(_) => false,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason() == Some("AlreadyExists")
    }

    /// Somebody else wrote first; a stale leader's refused write is not meant (see [`Self::is_fenced`]).
    pub fn is_conflict(&self) -> bool {
        self.reason() == Some("Conflict") && !self.is_fenced()
    }

    /// The caller leads no more: retrying cannot help.
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::NotLeader { .. } => true,
            Self::Status(status) => {
                status.code == Some(409)
                    && status.message.as_deref().is_some_and(|m| m.starts_with(FENCED_PREFIX))
            }
            Self::Transport(_)
            | Self::Timeout(_)
            | Self::Encode(_)
            | Self::Decode { .. }
            | Self::Request(_) => false,
        }
    }

    /// The revision asked for is compacted: list again.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The namespace is on its way out, so nothing can be created in it.
    pub fn is_namespace_terminating(&self) -> bool {
        let causes = self.status().and_then(|s| s.details.as_ref()).and_then(|d| d.causes.as_ref());
        causes.is_some_and(|causes| {
            causes.iter().any(|cause| cause.reason.as_deref() == Some("NamespaceTerminating"))
        })
    }
}

fn describe(status: &Status) -> String {
    match (&status.message, &status.reason) {
        (Some(message), _) if !message.is_empty() => message.clone(),
        (_, Some(reason)) => format!("the API server refused: {reason}"),
        (_, None) => format!("the API server answered {}", status.code.unwrap_or_default()),
    }
}
