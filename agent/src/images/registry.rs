//! One repository of a registry: manifests, and blobs in pieces, from whichever of the registry's hosts has them.
//!
//! What a registry says is not believed: lengths and digests are checked, every wait and every answer has a
//! limit.

mod auth;
mod connection;
mod endpoint;
mod hosts;
mod trust;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use proto::cri::AuthConfig;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::info;

use self::auth::Login;
pub(super) use self::connection::RequestError;
use self::endpoint::{Endpoint, REDIRECTS_MAX};
pub(super) use self::hosts::HostsError;
pub(super) use self::trust::TrustError;
use super::digest::Digest;
use super::documents::Blob;
use super::reference::{Reference, Version};
use crate::causes::in_full;

/// How long to wait for a registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a connection, an answer, and the next bytes of it.
    pub(super) idle: Duration,
    /// After a broken connection; longer each time.
    pub(super) pause: Duration,
}

#[derive(Debug, Error)]
pub(super) enum RegistryError {
    #[error("{0}: not found")]
    NotFound(String),
    #[error("unexpected status from GET request to {url}: {status}")]
    Status { url: String, status: StatusCode },
    #[error(
        "pull access denied, repository does not exist or may require authorization: \
         unexpected status from GET request to {url}: {status}"
    )]
    Denied { url: String, status: StatusCode },
    #[error("failed to authorize: {problem}")]
    Challenge { problem: String },
    #[error("failed to authorize: failed to fetch {kind} token")]
    Token { kind: &'static str, source: Box<RegistryError> },
    #[error("authorization server {url} did not include a token in the response")]
    NoToken { url: String },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("cannot learn which hosts answer for the registry")]
    Hosts(#[from] HostsError),
    #[error("cannot trust the registry")]
    Trust(#[from] TrustError),
    #[error("{}", all_of(.0))]
    Everywhere(Vec<(String, RegistryError)>),
    #[error("no host may be asked for {0}")]
    Nobody(String),
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("{url} redirects to {location:?}, which is no address")]
    Location { url: String, location: String },
    #[error("{url} answers with more than {max} bytes")]
    Large { url: String, max: u64 },
    #[error("the content of {wanted} is {found}")]
    Digest { wanted: Digest, found: Digest },
    #[error("{digest} must have {wanted} bytes, the registry has {found}")]
    Size { digest: Digest, wanted: u64, found: u64 },
    #[error("{digest} broke off {tries} times at byte {at}")]
    Broken { digest: Digest, tries: u32, at: u64, source: Box<RegistryError> },
    #[error("the answer ended too early")]
    Short,
    #[error("the answer does not begin at byte {0}, as was asked")]
    Range(u64),
    /// Whoever read the blob has given up, and says why.
    #[error("nobody reads the blob")]
    Unread,
}

/// A repository, wherever it is to be had.
pub(super) struct Repository {
    /// In the order in which they are asked.
    endpoints: Vec<Endpoint>,
}

impl Repository {
    /// `hosts_dirs` is where registries are configured, as in containerd's `certs.d`. Credentials are for all hosts
    /// that the administrator says answer for the registry.
    pub(super) async fn open(
        reference: &Reference,
        auth: Option<&AuthConfig>,
        hosts_dirs: &[PathBuf],
        patience: Patience,
    ) -> Result<Self, RegistryError> {
        let login = Login::of(auth).map_err(|problem| RegistryError::Challenge { problem })?;
        let mut endpoints = Vec::new();
        for host in hosts::of_registry(hosts_dirs, reference.host()).await? {
            endpoints.push(Endpoint::open(host, reference.repository(), login.clone(), patience).await?);
        }
        Ok(Self { endpoints })
    }

    /// A manifest or index, and its digest, which is what was asked for if that was a digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<(Bytes, Digest), RegistryError> {
        let mut refusals = Refusals::default();
        let may = |endpoint: &&Endpoint| match reference.version() {
            Version::Tag(_) => endpoint.host.resolves,
            Version::Digest(_) => endpoint.host.pulls,
        };
        for endpoint in self.endpoints.iter().filter(may) {
            match endpoint.manifest(reference).await {
                Ok(found) => return Ok(found),
                Err(error) => refusals.add(endpoint, error),
            }
        }
        Err(refusals.of(&reference.to_string()))
    }

    /// A small blob, checked.
    pub(super) async fn small_blob(&self, blob: &Blob) -> Result<Bytes, RegistryError> {
        let mut refusals = Refusals::default();
        for endpoint in self.pulling() {
            match endpoint.small_blob(blob).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => refusals.add(endpoint, error),
            }
        }
        Err(refusals.of(blob.digest.as_str()))
    }

    /// Sends a blob's bytes to `pieces`, as many as it must have. Another host goes on where one broke off; so the
    /// digest of the whole is the reader's to check.
    pub(super) async fn stream_blob(
        &self,
        blob: &Blob,
        pieces: mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let (mut at, mut refusals) = (0, Refusals::default());
        for endpoint in self.pulling() {
            match endpoint.stream_blob(blob, &mut at, &pieces).await {
                Ok(()) => return Ok(()),
                Err(RegistryError::Unread) => return Err(RegistryError::Unread),
                Err(error) => refusals.add(endpoint, error),
            }
        }
        Err(refusals.of(blob.digest.as_str()))
    }

    fn pulling(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.host.pulls)
    }
}

/// What the hosts said that did not give what they were asked for.
#[derive(Default)]
struct Refusals(Vec<(String, RegistryError)>);

impl Refusals {
    fn add(&mut self, endpoint: &Endpoint, error: RegistryError) {
        let host = endpoint.host.base.clone();
        if endpoint.host.namespace.is_some() {
            info!(host, error = in_full(&error), "a mirror does not have it");
        }
        self.0.push((host, error));
    }

    fn of(mut self, wanted: &str) -> RegistryError {
        match self.0.len() {
            0 => RegistryError::Nobody(wanted.to_owned()),
            1 => self.0.remove(0).1,
            _ => RegistryError::Everywhere(self.0),
        }
    }
}

/// Each of its own, in one line.
fn all_of(refusals: &[(String, RegistryError)]) -> String {
    let all: Vec<String> =
        refusals.iter().map(|(host, error)| format!("{host}: {}", in_full(error))).collect();
    format!("no host has it: {}", all.join("; "))
}
