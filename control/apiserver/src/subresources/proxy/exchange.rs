//! One request over a pipe into a node, and its answer, whose body goes on as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kinds::Kind;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::place::Place;
use crate::body::{Body, BoxError, empty};
use crate::metrics::LongRunning;
use crate::node_stream::NodeStream;
use crate::server::Shared;
use crate::status::Status;
use crate::subresources::connect::{self, Answer};

/// How long it may take until the port is reached. What then answers, answers when it likes.
const REACH_TIMEOUT: Duration = Duration::from_secs(15);
/// What a node calls the bytes of a port.
const PROTOCOL: &str = "tcp";

pub(super) struct Exchange<'a> {
    pub(super) server: &'a Arc<Shared>,
    pub(super) kind: &'static Kind,
    /// The client's connection, if it wants to speak another protocol on it.
    pub(super) client: Option<OnUpgrade>,
}

impl Exchange<'_> {
    pub(super) async fn run(self, place: &Place, request: Request<Body>) -> Result<Response<Body>, Status> {
        let pipe = match tokio::time::timeout(REACH_TIMEOUT, self.open(place)).await {
            Ok(opened) => opened?,
            Err(_) => {
                return Err(Status::cannot_reach(&format!("node {} did not answer in time", place.node)));
            }
        };
        self.speak(pipe, request).await.map_err(|error| Status::cannot_reach(&in_words(error.as_ref())))
    }

    /// A pipe to the port, or to the node itself.
    async fn open(&self, place: &Place) -> Result<Box<dyn NodeStream>, Status> {
        let opened = self.server.nodes.open(&place.node).await;
        let pipe = opened.map_err(|error| Status::cannot_reach(&error.to_string()))?;
        let Some(path) = &place.pipe else { return Ok(pipe) };
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().map_err(|_| Status::bad_request("the name makes no URL"))?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("node"));
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
        let answer = connect::talk(pipe, request).await;
        match answer.map_err(|error| Status::cannot_reach(&in_words(&error)))? {
            Answer::Switched(_, pipe) => Ok(Box::new(TokioIo::new(pipe))),
            Answer::Refused(refusal) => {
                let said = refusal.into_body().collect().await.map(|text| text.to_bytes());
                let said = said.unwrap_or_default();
                Err(Status::cannot_reach(String::from_utf8_lossy(&said).trim()))
            }
        }
    }

    async fn speak(
        self,
        pipe: Box<dyn NodeStream>,
        request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(pipe)).await?;
        let mut connection: BoxFuture<'static, ()> = Box::pin(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "the connection of a proxied request broke");
            }
        });
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        let mut connected = true;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer?,
                () = &mut connection, if connected => connected = false,
            }
        };
        let running = LongRunning::begin("CONNECT", self.kind);
        let connection = connected.then_some(connection);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(answer, connection, running).await;
        }
        let stopped = Box::pin(self.server.stop.clone().cancelled_owned());
        Ok(answer.map(|body| Answering { body, connection, stopped, _running: running }.boxed_unsync()))
    }

    /// Both sides speak what this server need not know.
    async fn switch(
        self,
        answer: Response<Incoming>,
        connection: Option<BoxFuture<'static, ()>>,
        running: LongRunning,
    ) -> Result<Response<Body>, BoxError> {
        let client = self.client.ok_or("unable to upgrade: the client asked for no other protocol")?;
        let headers: HeaderMap = answer.headers().clone();
        let (pipe, ()) = tokio::join!(hyper::upgrade::on(answer), async {
            if let Some(connection) = connection {
                connection.await;
            }
        });
        let pipe = TokioIo::new(pipe?);
        let stop = self.server.stop.clone();
        self.server.tasks.spawn_infallible("proxied connection", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = connect::relay(client, pipe) => {}
            }
            drop(running);
        });
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// With the cause, which hyper keeps to itself.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// An answer that is still coming, and the connection that carries it, driven together.
struct Answering {
    body: Incoming,
    connection: Option<BoxFuture<'static, ()>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    _running: LongRunning,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("this server is stopping".into())));
        }
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
