//! The two directions of a call's bytes: what comes in is held and bounded, what goes out is counted until it is taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::Counter;
use tonic::body::Body;
use tonic::{Code, Status};

use super::super::client::{Budget, Held};
use super::super::error;
use super::calls::Call;
use crate::metrics as store_metrics;

/// Smaller pieces of an answer are not worth a counter of their own.
const COUNTED_BYTES_MIN: usize = 16 * 1024;
/// A gRPC message's flag and length.
const PREFIX_BYTES: usize = 5;

/// The body of a request.
pub(super) struct Metered {
    body: Body,
    held: Arc<Held>,
    messages: Messages,
    is_stream: bool,
    received: Counter,
}

impl Metered {
    pub(super) fn new(
        body: Body,
        held: Arc<Held>,
        message_bytes_max: usize,
        is_stream: bool,
        received: Counter,
    ) -> Self {
        Self { body, held, messages: Messages::new(message_bytes_max), is_stream, received }
    }

    fn admit(&mut self, data: &[u8]) -> Result<(), Status> {
        self.received.increment(data.len() as u64);
        let unfinished = self.messages.advance(data)?;
        let bytes = if self.is_stream { unfinished } else { self.held.bytes() + data.len() };
        if self.held.set(bytes) {
            return Ok(());
        }
        store_metrics::count_refused();
        Err(error::too_many_requests())
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refused) = self.admit(data)
        {
            return Poll::Ready(Some(Err(refused)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where the messages of a body begin and end.
struct Messages {
    bytes_max: usize,
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the current message's prefix that have come.
    prefix_bytes: usize,
    /// Bytes of the current message that have come, and that are to come.
    came: usize,
    missing: usize,
}

impl Messages {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, prefix: [0; PREFIX_BYTES], prefix_bytes: 0, came: 0, missing: 0 }
    }

    /// Bytes of the message that is not complete yet.
    fn advance(&mut self, mut data: &[u8]) -> Result<usize, Status> {
        while !data.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(data.len());
                self.missing -= taken;
                self.came += taken;
                data = &data[taken..];
            } else {
                let taken = (PREFIX_BYTES - self.prefix_bytes).min(data.len());
                self.prefix[self.prefix_bytes..self.prefix_bytes + taken].copy_from_slice(&data[..taken]);
                self.prefix_bytes += taken;
                self.came += taken;
                data = &data[taken..];
                if self.prefix_bytes == PREFIX_BYTES {
                    let [_, a, b, c, d] = self.prefix;
                    self.missing = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.prefix_bytes = 0;
                    if self.missing > self.bytes_max {
                        return Err(error::message_too_large(self.missing, self.bytes_max));
                    }
                }
            }
            if self.missing == 0 && self.prefix_bytes == 0 {
                self.came = 0;
            }
        }
        Ok(self.came)
    }
}

/// The body of an answer; the call ends with it.
pub(super) struct Counted {
    body: Body,
    unread: Arc<Budget>,
    call: Call,
}

impl Counted {
    pub(super) fn new(body: Body, unread: Arc<Budget>, call: Call) -> Self {
        Self { body, unread, call }
    }
}

/// A piece of an answer, counted until whoever sends it has let go of it.
struct Piece {
    data: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        if let Some(trailers) = frame.trailers_ref() {
            self.call.ends_with(trailers.get("grpc-status").map_or(Code::Unknown, code));
        }
        let unread = &self.unread;
        let call = &self.call;
        Poll::Ready(Some(Ok(frame.map_data(|data| {
            call.sends(data.len());
            if data.len() < COUNTED_BYTES_MIN {
                return data;
            }
            Bytes::from_owner(Piece { _held: Held::new(unread, data.len()), data })
        }))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn code(status: &http::HeaderValue) -> Code {
    Code::from_bytes(status.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_across_pieces() {
        let mut messages = Messages::new(10);
        let wire = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 2], b"de"].concat();
        let seen: Vec<usize> = wire.chunks(4).map(|piece| messages.advance(piece).expect("small")).collect();
        assert_eq!(seen, [4, 0, 4, 3, 0]);
        let refused = messages.advance(&[0, 0, 0, 0, 11]).expect_err("eleven bytes");
        assert_eq!(refused.message(), "grpc: received message larger than max (11 vs. 10)");
    }
}
