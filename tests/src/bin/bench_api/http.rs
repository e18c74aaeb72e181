//! One connection to an API server, one request after another: HTTP/1.1 over TLS, as little as a client can be.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::kubeconfig::Access;
use crate::loads::spawn;

/// A server, and how to get there.
#[derive(Clone)]
pub(crate) struct Target {
    /// `HOST:PORT`
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    token: Option<String>,
}

impl Target {
    pub(crate) fn new(access: &Access) -> Result<Self> {
        let Some(rest) = access.server.strip_prefix("https://") else {
            bail!("{} is not https", access.server)
        };
        let rest = rest.trim_end_matches('/');
        let address = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:443") };
        let host = address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(access.authority.as_bytes()) {
            roots.add(authority?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = if access.certificate.is_empty() {
            builder.with_no_client_auth()
        } else {
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(access.certificate.as_bytes()).collect();
            builder.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_slice(access.key.as_bytes())?)?
        };
        let name = ServerName::try_from(host).context("the server has no name")?;
        Ok(Self { address, name, tls: TlsConnector::from(Arc::new(config)), token: access.token.clone() })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let socket = TcpStream::connect(&self.address).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let secure = self.tls.connect(self.name.clone(), socket).await.context("no TLS")?;
        let (sender, connection) = handshake(TokioIo::new(secure)).await?;
        let driver = spawn(async move {
            // Its end is an error of the next request.
            let _ = connection.await;
        });
        Ok(Connection { sender, driver, token: self.token.clone(), host: self.address.clone() })
    }
}

/// Ends with its drop.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    token: Option<String>,
    host: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// One request. The headers are added to what every request has.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn create(path: impl Into<String>, body: impl Into<String>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method: Method::POST, path: path.into(), headers, body: body.into() }
    }

    pub(crate) fn merge(path: impl Into<String>, body: impl Into<String>) -> Self {
        let headers = vec![("content-type", "application/merge-patch+json".to_owned())];
        Self { method: Method::PATCH, path: path.into(), headers, body: body.into() }
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    pub(crate) fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }
}

impl Connection {
    /// The head of the answer; its body is still to come.
    pub(crate) async fn start(&mut self, ask: &Ask) -> Result<Response<Incoming>> {
        let mut request =
            Request::builder().method(ask.method.clone()).uri(&ask.path).header("host", &self.host);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(Bytes::from(ask.body.clone())))?).await?)
    }

    /// The whole answer. A refusal is an error that shows what was said.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Bytes> {
        let response = self.start(ask).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let said = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        ensure!(status.is_success(), "{} {}: {status} {}", ask.method, ask.path, said());
        Ok(body)
    }

    /// How much there was of an answer that nobody keeps.
    pub(crate) async fn weigh(&mut self, ask: &Ask) -> Result<usize> {
        let response = self.start(ask).await?;
        ensure!(response.status().is_success(), "{} {}: {}", ask.method, ask.path, response.status());
        let mut body = response.into_body();
        let mut weight = 0;
        while let Some(frame) = body.frame().await {
            weight += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(weight)
    }
}
