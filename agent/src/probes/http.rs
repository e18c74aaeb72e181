//! HTTP and HTTPS requests to containers: what `httpGet` of probes and hooks does.
//!
//! As the kubelet asks: certificates are not verified, redirects to the same host are followed and others end
//! the probe as a success with a warning, every connection is new.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::check::{Outcome, Target, authority, bare, dial_error, shorten};

const USER_AGENT: &str = "kube-probe/1.36";
const REDIRECTS_MAX: usize = 10;
/// As much of a body as is read.
const BODY_BYTES_MAX: usize = 10 << 10;

pub(super) async fn probe(action: &HTTPGetAction, target: &Target<'_>, timeout: Duration) -> Outcome {
    let question = match Question::parse(action, target) {
        Ok(question) => question,
        Err(problem) => return Outcome::Errored(problem),
    };
    let url = question.url.clone();
    match tokio::time::timeout(timeout, question.ask_following()).await {
        Ok(Ok(answer)) => judge(answer),
        Ok(Err(problem)) => Outcome::Failure(format!("Get \"{url}\": {problem}")),
        Err(_) => Outcome::Failure(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

/// What an `httpGet` hook does: any answer is a good one. A server without TLS is asked again without.
pub(super) async fn get(action: &HTTPGetAction, target: &Target<'_>) -> Result<(), String> {
    let mut question = Question::parse(action, target)?;
    let Err(problem) = question.ask().await else { return Ok(()) };
    if problem != NO_TLS {
        return Err(format!("Get \"{}\": {problem}", question.url));
    }
    question.change_scheme("http");
    question.ask().await.map(drop).map_err(|problem| format!("Get \"{}\": {problem}", question.url))
}

const NO_TLS: &str = "http: server gave HTTP response to HTTPS client";

/// A request that can be made again elsewhere.
struct Question {
    url: Uri,
    headers: HeaderMap,
    /// The `Host` that the action names.
    host: Option<HeaderValue>,
}

/// What came back, without the connection.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

fn judge(answer: Answer) -> Outcome {
    match answer.status.as_u16() {
        200..300 => Outcome::Success,
        300..400 => {
            Outcome::Warning(shorten(format!("Probe terminated redirects, Response body: {}", answer.body)))
        }
        code => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
    }
}

impl Question {
    fn parse(action: &HTTPGetAction, target: &Target<'_>) -> Result<Self, String> {
        let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(format!("unsupported protocol scheme {scheme:?}"));
        }
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.pod_ip);
        let at = authority(host, target.port(&action.port)?);
        let path = action.path.as_deref().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = Uri::try_from(format!("{scheme}://{at}{path}"))
            .map_err(|error| format!("parse {scheme}://{at}{path}: {error}"))?;
        let mut headers = HeaderMap::new();
        let mut named_host = None;
        for header in action.http_headers.iter().flatten() {
            let name = HeaderName::try_from(header.name.as_str());
            let name = name.map_err(|_| format!("net/http: invalid header field name {:?}", header.name))?;
            let value = HeaderValue::try_from(header.value.as_str())
                .map_err(|_| format!("net/http: invalid header field value for {:?}", header.name))?;
            if name == header::HOST {
                named_host = Some(value).filter(|value| !value.is_empty());
            } else {
                headers.append(name, value);
            }
        }
        for (name, value) in [(header::USER_AGENT, USER_AGENT), (header::ACCEPT, "*/*")] {
            match headers.get(&name).map(HeaderValue::is_empty) {
                None => drop(headers.insert(name, HeaderValue::from_static(value))),
                // An empty one asks for none at all.
                Some(true) => drop(headers.remove(name)),
                Some(false) => {}
            }
        }
        Ok(Self { url, headers, host: named_host })
    }

    /// Follows redirects as long as they stay on the host that was asked first.
    async fn ask_following(mut self) -> Result<Answer, String> {
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask().await?;
            let followed = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = answer.headers.get(header::LOCATION).filter(|_| followed);
            let Some(location) = location else { return Ok(answer) };
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let is_absolute = location.contains("://") || location.starts_with("//");
            let next = resolve(&self.url, &location)
                .ok_or_else(|| format!("failed to parse Location header {location:?}"))?;
            if next.host() != self.url.host() {
                return Ok(answer);
            }
            if is_absolute {
                self.host = None;
            }
            self.url = next;
        }
        Err(format!("stopped after {REDIRECTS_MAX} redirects"))
    }

    async fn ask(&self) -> Result<Answer, String> {
        let host = self.url.host().unwrap_or_default().to_owned();
        let tls = self.url.scheme_str() == Some("https");
        let port = self.url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream =
            TcpStream::connect((bare(&host), port)).await.map_err(|error| dial_error(&host, port, &error))?;
        if !tls {
            return self.ask_over(stream).await;
        }
        self.ask_over(over_tls(&host, stream).await?).await
    }

    async fn ask_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Answer, String> {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .title_case_headers(true)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path).body(Empty::new()).map_err(|error| error.to_string())?;
        let at = self.url.authority().map(|at| at.as_str()).unwrap_or_default();
        let host = self.host.clone().map_or_else(|| HeaderValue::try_from(at), Ok);
        request.headers_mut().insert(header::HOST, host.map_err(|error| error.to_string())?);
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let asking = Box::pin(async move { Answer::read(sender.send_request(request).await?).await });
        match futures::future::select(asking, Box::pin(connection)).await {
            Either::Left((answer, _)) => answer.map_err(|error| malformed(&error)),
            // The connection is done; what it gave is still to be read.
            Either::Right((_, asking)) => asking.await.map_err(|error| malformed(&error)),
        }
    }

    fn change_scheme(&mut self, scheme: &str) {
        let text = self.url.to_string();
        let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
        if let Ok(url) = Uri::try_from(format!("{scheme}://{rest}")) {
            self.url = url;
        }
    }
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while bytes.len() < BODY_BYTES_MAX
            && let Some(frame) = body.frame().await
        {
            // A body that breaks off does not change what the head said.
            let Ok(frame) = frame else { break };
            bytes.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        }
        bytes.truncate(BODY_BYTES_MAX);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { status: head.status, headers: head.headers, body })
    }
}

fn malformed(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "EOF".to_owned();
    }
    format!("net/http: HTTP/1.x transport connection broken: {error}")
}

/// TLS that asks nobody for whom the certificate is. The error is for people.
pub(crate) async fn over_tls(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(bare(host).to_owned()).map_err(|error| error.to_string())?;
    let config = trusting().map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        // What a server says that speaks plain HTTP is no TLS record.
        let text = error.to_string();
        if text.contains("InvalidContentType") { NO_TLS.to_owned() } else { format!("tls: {text}") }
    })
}

/// Where a `Location` leads from `base`.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str().unwrap_or("http");
    let at = base.authority()?.as_str();
    let location = location.split('#').next().unwrap_or_default();
    let text = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{at}{location}")
    } else if location.starts_with('?') || location.is_empty() {
        format!("{scheme}://{at}{}{location}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{at}{folder}/{location}")
    };
    Uri::try_from(text).ok().filter(|url| url.host().is_some())
}

fn trusting() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting { schemes }))
        .with_no_client_auth())
}

/// Takes every certificate: the kubelet does not verify those of containers.
#[derive(Debug)]
struct Trusting {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
