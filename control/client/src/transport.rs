//! How requests reach an API server: one trait, so that a caller in the same process needs no socket.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use thiserror::Error;

/// Any error of a body or of a transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body: whole for most verbs, endless for watches.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Carries one request to an API server as one fixed identity.
///
/// The URI has a path and a query only. Dropping the future, or the response's body, abandons the request.
pub trait Transport: Send + Sync + 'static {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>>;
}

/// Why no response came. A write may or may not have happened.
#[derive(Debug, Error)]
pub enum TransportError {
    #[error("the API server cannot be reached")]
    Unreachable(#[source] BoxError),
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] BoxError),
}
