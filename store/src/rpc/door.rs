//! The client port's one door: gRPC goes to the services, everything else to the pages, both counted and bounded.
//!
//! Bytes are counted where they are held: a request's from the moment it is read until it is answered, an answer's until
//! the connection has taken it. Who holds too much is refused, and told so; nothing waits here.

mod body;
mod calls;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::service::Routes;

use super::client::{Client, Held};
use super::error;
use super::pages::Pages;
use crate::metrics as store_metrics;
use body::{Counted, Metered};
use calls::{Calls, Kind};

/// Clones share everything.
#[derive(Clone)]
pub(super) struct Door {
    services: Routes,
    pages: Arc<Pages>,
    calls: Arc<Calls>,
    message_bytes_max: usize,
}

impl Door {
    pub(super) fn new(services: Routes, pages: Pages, message_bytes_max: usize) -> Self {
        Self { services, pages: Arc::new(pages), calls: Arc::new(Calls::new()), message_bytes_max }
    }

    fn call_service(&mut self, request: Request<Body>, client: &Arc<Client>) -> Answer {
        let call = self.calls.begin(request.uri().path());
        if !client.is_admitted {
            return refused(&error::no_certificate(), call);
        }
        if call.kind().is_bulky_read() && client.unread.is_exceeded() {
            store_metrics::count_refused();
            return refused(&error::too_many_requests(), call);
        }
        let held = Arc::new(Held::new(&client.unanswered, 0));
        // A stream's messages are served one by one: only the unfinished one is held.
        let is_stream = matches!(call.kind(), Kind::Bidirectional);
        let request = request.map(|body| {
            let limit = self.message_bytes_max;
            Body::new(Metered::new(body, held.clone(), limit, is_stream, self.calls.received()))
        });
        let held = (!is_stream).then_some(held);
        let unread = client.unread.clone();
        let answer = self.services.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            drop(held);
            let mut call = call;
            // An answer without messages has its status in front.
            if let Some(status) = answer.headers().get("grpc-status") {
                call.ends_with(body::code(status));
            }
            Ok(answer.map(|body| Body::new(Counted::new(body, unread, call))))
        })
    }
}

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.services, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let Some(client) = request.extensions().get::<Arc<Client>>().cloned() else {
            return Box::pin(async { Ok(error::no_certificate().into_http()) });
        };
        if is_grpc(&request) {
            return self.call_service(request, &client);
        }
        let pages = self.pages.clone();
        let (asked, _unread) = request.into_parts();
        Box::pin(async move { Ok(pages.serve(&asked, client.is_admitted).await) })
    }
}

fn refused(status: &tonic::Status, mut call: calls::Call) -> Answer {
    call.ends_with(status.code());
    let answer = status.clone().into_http();
    Box::pin(async move { Ok(answer) })
}

fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}
