//! Two ways to the API: into the server of this process, and over HTTPS into any.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::{ApiServer, Identity};
use bytes::Bytes;
use client::{Body, Transport, TransportError};
use futures::future::BoxFuture;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A component's way to the API server in its own process: no socket, no TLS, the same chain.
pub(crate) struct InProcess {
    pub(crate) server: ApiServer,
    pub(crate) identity: Identity,
}

impl Transport for InProcess {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let request = request.map(apiserver::full);
            Ok(self.server.handle(self.identity.clone(), request).await)
        })
    }
}

/// HTTPS with a client certificate, a connection for each call: for commands, not for load.
pub(crate) struct Https {
    host: String,
    port: u16,
    tls: TlsConnector,
}

/// PEM files of a client.
pub(crate) struct ClientFiles<'a> {
    pub(crate) authority: &'a Path,
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
}

impl Https {
    pub(crate) fn new(host: &str, port: u16, files: &ClientFiles<'_>) -> Result<Self> {
        let tls = TlsConnector::from(Arc::new(crate::tls::client(files)?));
        Ok(Self { host: host.to_owned(), port, tls })
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let unreachable = |error: std::io::Error| TransportError::Unreachable(error.into());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| TransportError::Unreachable(error.into()))?;
        let stream = self.tls.connect(name, stream).await.map_err(unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| TransportError::Unreachable(error.into()))?;
        if let Ok(host) = format!("{}:{}", self.host, self.port).parse() {
            request.headers_mut().insert(header::HOST, host);
        }
        // The connection works while its answer is read, and ends with it.
        let exchange = async {
            let response = sender.send_request(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        let response = tokio::select! {
            biased;
            response = exchange => response,
            ended = connection => Err(match ended {
                Err(error) => error,
                Ok(()) => return Err(TransportError::Broken("the server closed the connection".into())),
            }),
        };
        let response = response.map_err(|error| TransportError::Broken(error.into()))?;
        Ok(response.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync()))
    }
}

impl Transport for Https {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(self.send(request))
    }
}

/// The whole text of a non-resource path, `/readyz` for example.
pub(crate) async fn get_text(https: &Https, path: &str) -> Result<(http::StatusCode, String)> {
    let request = Request::get(path).body(Bytes::new()).context("not a path")?;
    let response = https.call(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
