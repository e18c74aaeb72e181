//! One host that answers for a repository, by OCI's distribution specification.
//!
//! Credentials go to the host and to the token service that it names over the same kind of connection, never to where
//! it redirects.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use tokio::sync::mpsc;
use tracing::debug;

use super::auth::Login;
use super::connection::{Dialer, Exchange, RequestError};
use super::hosts::Host;
use super::{Patience, RegistryError, trust};
use crate::images::digest::Digest;
use crate::images::documents::{Blob, MANIFEST_BYTES_MAX, MANIFEST_TYPES};
use crate::images::reference::{Reference, Version};

pub(super) const REDIRECTS_MAX: usize = 10;
/// How often a blob is asked for without getting one byte further.
const TRIES_MAX: u32 = 5;
/// A repository at a host, with what it takes to be let in.
pub(super) struct Endpoint {
    pub(super) host: Host,
    pub(super) repository: String,
    pub(super) login: Login,
    /// The value of `Authorization` that was let in last.
    authorization: Mutex<Option<HeaderValue>>,
    pub(super) dialer: Dialer,
    patience: Patience,
}

impl Endpoint {
    pub(super) async fn open(
        host: Host,
        repository: &str,
        login: Login,
        patience: Patience,
    ) -> Result<Self, RegistryError> {
        let tls = trust::client(&host.tls).await?;
        Ok(Self {
            host,
            repository: repository.to_owned(),
            authorization: Mutex::new(login.at_once()),
            login,
            dialer: Dialer::new(tls, patience.idle),
            patience,
        })
    }

    /// A manifest or index, and its digest, which is what was asked for if that was a digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<(Bytes, Digest), RegistryError> {
        let which = match reference.version() {
            Version::Tag(tag) => tag.as_str(),
            Version::Digest(digest) => digest.as_str(),
        };
        let url = self.url(&format!("manifests/{which}"))?;
        let accept = HeaderValue::try_from(MANIFEST_TYPES.join(", ")).map_err(RequestError::from)?;
        let answer = self.get(url.clone(), HeaderMap::from_iter([(header::ACCEPT, accept)])).await?;
        let said = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        let said = said.and_then(Digest::parse);
        let bytes = match answer.status {
            StatusCode::OK => self.whole(answer, &url, MANIFEST_BYTES_MAX).await?,
            StatusCode::NOT_FOUND => return Err(RegistryError::NotFound(reference.to_string())),
            status => return Err(refused(&url, status)),
        };
        let found = Digest::of(&bytes);
        let wanted = match reference.version() {
            Version::Digest(digest) => Some(digest.clone()),
            Version::Tag(_) => said,
        };
        match wanted {
            Some(wanted) if wanted != found => Err(RegistryError::Digest { wanted, found }),
            _ => Ok((bytes, found)),
        }
    }

    /// A small blob, checked.
    pub(super) async fn small_blob(&self, blob: &Blob) -> Result<Bytes, RegistryError> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let answer = self.get(url.clone(), HeaderMap::new()).await?;
        let bytes = match answer.status {
            StatusCode::OK => self.whole(answer, &url, blob.size).await?,
            StatusCode::NOT_FOUND => return Err(RegistryError::NotFound(blob.digest.to_string())),
            status => return Err(refused(&url, status)),
        };
        if bytes.len() as u64 != blob.size {
            let (wanted, found) = (blob.size, bytes.len() as u64);
            return Err(RegistryError::Size { digest: blob.digest.clone(), wanted, found });
        }
        let found = Digest::of(&bytes);
        if found == blob.digest {
            Ok(bytes)
        } else {
            Err(RegistryError::Digest { wanted: blob.digest.clone(), found })
        }
    }

    /// Sends a blob's bytes from `at` on to `pieces`, as many as it must have, going on where a connection broke. Its
    /// digest is the reader's to check.
    pub(super) async fn stream_blob(
        &self,
        blob: &Blob,
        at: &mut u64,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let mut tries = 0;
        while *at < blob.size {
            let before = *at;
            let Err(error) = self.stream_from(blob, at, pieces).await else { continue };
            if !is_passing(&error) {
                return Err(error);
            }
            tries = if *at > before { 1 } else { tries + 1 };
            if tries >= TRIES_MAX {
                let (digest, at) = (blob.digest.clone(), *at);
                return Err(RegistryError::Broken { digest, tries, at, source: Box::new(error) });
            }
            debug!(blob = %blob.digest, at = *at, tries, %error, "a blob broke off and is asked for again");
            tokio::time::sleep(self.patience.pause * tries).await;
        }
        Ok(())
    }

    /// `at` says how far it came, whatever happens.
    async fn stream_from(
        &self,
        blob: &Blob,
        at: &mut u64,
        pieces: &mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let mut headers = HeaderMap::new();
        if *at > 0 {
            let range = HeaderValue::try_from(format!("bytes={at}-")).map_err(RequestError::from)?;
            headers.insert(header::RANGE, range);
        }
        let mut answer = self.get(url.clone(), headers).await?;
        let mut skip = match answer.status {
            // A server may know no ranges.
            StatusCode::OK => *at,
            StatusCode::PARTIAL_CONTENT if begins_at(&answer.headers, *at) => 0,
            StatusCode::PARTIAL_CONTENT => return Err(RegistryError::Range(*at)),
            StatusCode::NOT_FOUND => return Err(RegistryError::NotFound(blob.digest.to_string())),
            status => return Err(refused(&url, status)),
        };
        let wanted = blob.size - *at + skip;
        if let Some(found) = answer.length().filter(|length| *length != wanted) {
            let found = found + *at - skip;
            return Err(RegistryError::Size { digest: blob.digest.clone(), wanted: blob.size, found });
        }
        while let Some(mut piece) = answer.piece(self.patience.idle).await? {
            let skipped = skip.min(piece.len() as u64);
            skip -= skipped;
            let piece = piece.split_off(usize::try_from(skipped).unwrap_or(piece.len()));
            if piece.len() as u64 > blob.size - *at {
                let found = *at + piece.len() as u64;
                return Err(RegistryError::Size { digest: blob.digest.clone(), wanted: blob.size, found });
            }
            let length = piece.len() as u64;
            if length > 0 {
                pieces.send(piece).await.map_err(|_| RegistryError::Unread)?;
                *at += length;
            }
        }
        if *at == blob.size { Ok(()) } else { Err(RegistryError::Short) }
    }

    /// Asks, as whoever the registry wants to be asked by, and follows where it leads.
    async fn get(&self, url: Uri, headers: HeaderMap) -> Result<Exchange, RegistryError> {
        let first = self.follow(&url, &headers).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let Some(authorization) = self.authorize(&url, &first.headers).await? else {
            return Err(refused(&url, first.status));
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        let second = self.follow(&url, &headers).await?;
        match second.status {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(RegistryError::Denied { url: url.to_string(), status })
            }
            _ => Ok(second),
        }
    }

    async fn follow(&self, url: &Uri, headers: &HeaderMap) -> Result<Exchange, RegistryError> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut headers = headers.clone();
            if same_place(url, &at) {
                headers.extend(self.host.headers.clone());
                let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
                headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
            }
            let answer = self.dialer.ask(&at, headers, None).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.headers.get(header::LOCATION).map(HeaderValue::as_bytes);
            let location = String::from_utf8_lossy(location.unwrap_or_default()).into_owned();
            at = resolve(&at, &location)
                .ok_or_else(|| RegistryError::Location { url: at.to_string(), location })?;
        }
        Err(RegistryError::Redirects)
    }

    pub(super) async fn whole(
        &self,
        mut answer: Exchange,
        url: &Uri,
        max: u64,
    ) -> Result<Bytes, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.piece(self.patience.idle).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > max {
                return Err(RegistryError::Large { url: url.to_string(), max });
            }
        }
        Ok(bytes.into())
    }

    fn url(&self, rest: &str) -> Result<Uri, RegistryError> {
        let namespace = self.host.namespace.as_ref().map(|namespace| format!("?ns={namespace}"));
        let namespace = namespace.unwrap_or_default();
        let url = format!("{}/{}/{rest}{namespace}", self.host.base, self.repository);
        Ok(Uri::try_from(url).map_err(RequestError::from)?)
    }
}

pub(super) fn refused(url: &Uri, status: StatusCode) -> RegistryError {
    RegistryError::Status { url: url.to_string(), status }
}

/// What may be different when it is tried again.
fn is_passing(error: &RegistryError) -> bool {
    match error {
        RegistryError::Request(error) => error.is_passing(),
        RegistryError::Short => true,
        RegistryError::Status { status, .. } => {
            status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
        }
        _ => false,
    }
}

fn same_place(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && one.authority() == other.authority()
}

fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let location = location.split('#').next().unwrap_or_default();
    let text = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", base.authority()?)
    } else {
        location.to_owned()
    };
    let known = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    Uri::try_from(text).ok().filter(known)
}

/// `Content-Range: bytes 5-9/10`.
fn begins_at(headers: &HeaderMap, at: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first =
        range.and_then(|range| range.strip_prefix("bytes ")).and_then(|range| range.split('-').next());
    first.and_then(|first| first.parse().ok()) == Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_may_be_relative() {
        let base = Uri::from_static("https://one:5000/v2/a");
        for (location, url) in [
            ("/x?y", Some("https://one:5000/x?y")),
            ("//two/x", Some("https://two/x")),
            ("http://two/x#part", Some("http://two/x")),
            ("ftp://two/x", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(resolve(&base, location).map(|url| url.to_string()).as_deref(), url);
        }
    }
}
