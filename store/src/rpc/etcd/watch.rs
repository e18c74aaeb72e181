//! The Watch service: one session for each stream, any number of watches in it.
//!
//! Written by hand where a generated service would build a message for each watch of each event: the events were
//! encoded once (`hub`), and a response is put together from those bytes.

mod codec;
mod frames;
mod session;

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use proto::etcdserverpb as pb;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::super::error;
use super::Front;
use codec::WatchCodec;
use frames::Frame;
use session::Session;

#[derive(Clone)]
pub(super) struct WatchService {
    front: Front,
}

impl WatchService {
    pub(super) fn new(front: Front) -> Self {
        Self { front }
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl<B> Service<http::Request<B>> for WatchService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = WatchMethod { front: self.front.clone() };
        async move {
            if request.uri().path() != "/etcdserverpb.Watch/Watch" {
                return Ok(Status::unimplemented("").into_http());
            }
            let grpc = Grpc::new(WatchCodec);
            let bytes_max = method.front.store.limits().message_bytes_max();
            let mut grpc = grpc.apply_max_message_size_config(Some(bytes_max), None);
            Ok(grpc.streaming(method, request).await)
        }
        .boxed()
    }
}

struct WatchMethod {
    front: Front,
}

impl StreamingService<pb::WatchRequest> for WatchMethod {
    type Response = Frame;
    type ResponseStream = BoxStream<'static, Result<Frame, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        let front = self.front.clone();
        async move {
            front.admit(request.metadata())?;
            front.store.require_sound().map_err(|refused| error::status(&refused))?;
            let over = front.over(request.metadata());
            let session = Session::new(front.of(&request), request.into_inner(), over);
            Ok(Response::new(futures::stream::try_unfold(session, Session::next).boxed()))
        }
        .boxed()
    }
}
