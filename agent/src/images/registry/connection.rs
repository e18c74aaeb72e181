//! One HTTP request over one connection, read piece by piece, with a limit on every wait.

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const USER_AGENT: &str = concat!("navarch/", env!("CARGO_PKG_VERSION"));
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Debug, Error)]
pub(in crate::images) enum RequestError {
    #[error("{0} is no address")]
    Address(String),
    #[error("a name or header is not made for HTTP")]
    Malformed(#[from] http::Error),
    #[error("failed to dial {server}")]
    Dial { server: String, source: io::Error },
    #[error("the TLS handshake with {server} failed")]
    Tls { server: String, source: io::Error },
    #[error("the connection to {server} failed")]
    Http { server: String, source: hyper::Error },
    #[error("{server} was silent for {} s", .after.as_secs())]
    Silent { server: String, after: Duration },
}

impl From<http::uri::InvalidUri> for RequestError {
    fn from(error: http::uri::InvalidUri) -> Self {
        Self::Malformed(error.into())
    }
}

impl From<http::header::InvalidHeaderValue> for RequestError {
    fn from(error: http::header::InvalidHeaderValue) -> Self {
        Self::Malformed(error.into())
    }
}

impl RequestError {
    /// True for what may be different when it is tried again.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Dial { .. } | Self::Http { .. } | Self::Silent { .. })
    }
}

/// Connects to servers that it trusts.
pub(super) struct Dialer {
    tls: Arc<ClientConfig>,
    idle: Duration,
}

type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// An answer whose body is still to come.
pub(super) struct Exchange {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    /// Moves the bytes whenever the body is polled; `None` once it has ended.
    driver: Option<Driver>,
    server: String,
}

impl Dialer {
    pub(super) fn new(tls: ClientConfig, idle: Duration) -> Self {
        Self { tls: Arc::new(tls), idle }
    }

    /// GET, or with a form POST.
    pub(super) async fn ask(
        &self,
        url: &Uri,
        headers: HeaderMap,
        form: Option<String>,
    ) -> Result<Exchange, RequestError> {
        let server = url.authority().ok_or_else(|| RequestError::Address(url.to_string()))?.to_string();
        let asked = timeout(self.idle, self.ask_now(url, &server, headers, form)).await;
        asked.unwrap_or(Err(RequestError::Silent { server, after: self.idle }))
    }

    async fn ask_now(
        &self,
        url: &Uri,
        server: &str,
        headers: HeaderMap,
        form: Option<String>,
    ) -> Result<Exchange, RequestError> {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|source| RequestError::Dial { server: server.to_owned(), source })?;
        let request = request(url, server, headers, form)?;
        if !tls {
            return exchange(stream, request, server).await;
        }
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| RequestError::Address(host.to_owned()))?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await
            .map_err(|source| RequestError::Tls { server: server.to_owned(), source })?;
        exchange(stream, request, server).await
    }
}

impl Exchange {
    /// What the server says that the body has.
    pub(super) fn length(&self) -> Option<u64> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The next bytes; `None` at the end of a body that is complete.
    pub(super) async fn piece(&mut self, idle: Duration) -> Result<Option<Bytes>, RequestError> {
        let server = || self.server.clone();
        loop {
            let frame = timeout(idle, drive(&mut self.driver, self.body.frame())).await;
            let Ok(frame) = frame else {
                return Err(RequestError::Silent { server: server(), after: idle });
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|source| RequestError::Http { server: server(), source })?;
            // What is no data is a trailer.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

fn request(
    url: &Uri,
    server: &str,
    headers: HeaderMap,
    form: Option<String>,
) -> Result<Request<Full<Bytes>>, RequestError> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let method = if form.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, server)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close");
    if form.is_some() {
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_static(FORM));
    }
    let mut request = request.body(Full::new(form.unwrap_or_default().into()))?;
    request.headers_mut().extend(headers);
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    server: &str,
) -> Result<Exchange, RequestError> {
    let fail = |source| RequestError::Http { server: server.to_owned(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(fail)?;
    let mut driver: Option<Driver> = Some(Box::pin(connection));
    let answer = drive(&mut driver, sender.send_request(request)).await.map_err(fail)?;
    let (head, body) = answer.into_parts();
    let server = server.to_owned();
    Ok(Exchange { status: head.status, headers: head.headers, body, driver, server })
}

/// Waits for `work`, which the connection must be driven for. A connection that has ended says why by `work`.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}
