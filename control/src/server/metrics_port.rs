//! `/metrics` without TLS, on loopback only: for a scraper on the same machine.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::telemetry::RenderMetrics;

const HEADERS_MAX: Duration = Duration::from_secs(5);
const CONNECTION_MAX: Duration = Duration::from_secs(60);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves scrapers until it is stopped.
pub(crate) async fn serve(listener: TcpListener, render: RenderMetrics, stop: CancellationToken) {
    let mut open = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => open.push(connection(stream, render.clone())),
                Err(error) => debug!(%error, "cannot accept a scraper"),
            },
            Some(()) = futures::StreamExt::next(&mut open), if !open.is_empty() => {}
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, render: RenderMetrics) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &render);
        async move { answer }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_MAX, connection).await {
        debug!(%error, "a scraper's connection ended");
    }
}

fn answer(request: &Request<Incoming>, render: &RenderMetrics) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, render()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "only /metrics is here\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TEXT));
    Ok(response)
}
