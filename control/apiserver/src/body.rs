//! Bodies: read with a limit, made from bytes or from a stream.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Full};

use crate::status::Status;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or an answer's body: whole for most verbs, endless for watches.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// What a request body may weigh.
pub(crate) const LIMIT_BYTES: usize = 3 * 1024 * 1024;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that sends what `chunks` yields, and ends with it.
pub(crate) fn stream(chunks: impl futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    use futures::TryStreamExt as _;
    http_body_util::StreamBody::new(chunks.map_ok(http_body::Frame::data)).boxed_unsync()
}

/// The whole of `body`.
pub(crate) async fn read(mut body: Body) -> Result<Bytes, Status> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Status::bad_request(format!("unable to read the request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > LIMIT_BYTES {
            return Err(Status::body_too_large(LIMIT_BYTES));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
