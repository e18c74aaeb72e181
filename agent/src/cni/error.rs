//! Errors as the CNI specification wants them: a code, a message, details.

use serde_json::json;
use thiserror::Error;

use super::config::VERSIONS;
use crate::network::{IpamError, NetlinkError, PodLinkError};

/// Why a call failed.
#[derive(Debug, Error)]
pub(super) enum CniError {
    #[error("CNI version {0:?} is not supported")]
    Version(String),
    #[error("{0} is missing or empty")]
    Environment(&'static str),
    #[error("CNI_COMMAND {0:?} is not known")]
    Command(String),
    #[error("the network configuration on stdin is not valid")]
    Config(#[source] serde_json::Error),
    #[error("cannot give the pod an address")]
    Ipam(#[from] IpamError),
    #[error("the container holds no address")]
    NoAddress,
    #[error("cannot connect the pod")]
    PodLink(#[from] PodLinkError),
    #[error("cannot disconnect the pod")]
    Detach(#[from] NetlinkError),
    #[error("cannot start an event loop")]
    EventLoop(#[source] std::io::Error),
}

impl CniError {
    /// The specification's codes; from 100 on they are the plugin's own.
    fn code(&self) -> u32 {
        match self {
            Self::Version(_) => 1,
            Self::Environment(_) | Self::Command(_) => 4,
            Self::Config(_) => 6,
            Self::NoAddress => 100,
            Self::Ipam(_) => 101,
            Self::PodLink(_) | Self::Detach(_) => 102,
            Self::EventLoop(_) => 5,
        }
    }

    pub(super) fn to_json(&self, version: &str) -> String {
        let details = match self {
            Self::Version(_) => format!("supported: {}", VERSIONS.join(", ")),
            other => causes(other),
        };
        json!({ "cniVersion": version, "code": self.code(), "msg": self.to_string(), "details": details })
            .to_string()
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}
