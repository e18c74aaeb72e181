//! The answering end of a stream of appends: what was read goes to raft, what raft answers goes back, in one place.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;

use super::super::frames::{Failure, Frame};
use super::super::line::{Line, invalid};
use super::super::{APPENDS_MAX, Address, MESSAGE_BYTES_MAX, STOP_GRACE, check};
use super::Desk;
use crate::PeerError;

/// Until both sides have ended the stream. Once the node stops, it is ended without waiting for the caller.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    desk: &Desk,
    line: &mut Line<S>,
    address: &Address,
) -> io::Result<()> {
    if let Err(reason) = check(&desk.me, address) {
        line.push(&Frame::Failure { id: 0, failure: Failure::Refused(reason) });
        return Ok(());
    }
    line.push(&Frame::Opened);
    let (requests, taken) = mpsc::channel(APPENDS_MAX);
    let answers = desk.service.append_stream(ReceiverStream::new(taken).boxed());
    let requests = Some(PollSender::new(requests));
    let mut appends = Appends { line, requests, answers: Some(answers), is_asked: true };
    tokio::select! {
        biased;
        () = desk.stop.cancelled() => {}
        ended = std::future::poll_fn(|cx| appends.poll(cx)) => return ended,
    }
    if appends.answers.is_some() {
        line.push(&Frame::End);
    }
    tokio::time::timeout(STOP_GRACE, line.flush()).await.unwrap_or_else(|late| Err(late.into()))
}

struct Appends<'a, S> {
    line: &'a mut Line<S>,
    /// Absent: raft takes no more, what still comes is dropped.
    requests: Option<PollSender<Bytes>>,
    /// Absent: all are given, and the end.
    answers: Option<BoxStream<'static, Result<Bytes, PeerError>>>,
    /// The caller has not ended its half yet.
    is_asked: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Appends<'_, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let has_read_all = self.read(cx)?;
            self.answer(cx);
            self.line.poll_pulse(cx, has_read_all)?;
            let was_full = !self.line.has_room();
            if self.line.poll_flush(cx)?.is_pending() {
                return Poll::Pending;
            }
            if self.answers.is_none() && !self.is_asked {
                return Poll::Ready(Ok(()));
            }
            if !was_full {
                return Poll::Pending;
            }
        }
    }

    /// Reads no more than raft takes; true: all there is.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        while self.is_asked {
            if let Some(requests) = &mut self.requests {
                match requests.poll_reserve(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => self.requests = None,
                    Poll::Pending => return Ok(false),
                }
            }
            match self.line.poll_frame(cx) {
                Poll::Ready(Ok(Frame::Append(request))) => {
                    if let Some(requests) = &mut self.requests
                        && requests.send_item(request).is_err()
                    {
                        self.requests = None;
                    }
                }
                Poll::Ready(Ok(Frame::End)) => {
                    self.is_asked = false;
                    self.requests = None;
                }
                Poll::Ready(Ok(_)) => return Err(invalid("a stream of appends holds something else")),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(true),
            }
        }
        Ok(false)
    }

    fn answer(&mut self, cx: &mut Context<'_>) {
        while self.line.has_room()
            && let Some(answers) = &mut self.answers
            && let Poll::Ready(answer) = answers.as_mut().poll_next(cx)
        {
            let frame = match answer {
                Some(Ok(payload)) if payload.len() <= MESSAGE_BYTES_MAX => Frame::Appended(payload),
                Some(Ok(_)) => failure(PeerError::Unreachable("the answer is too long".into())),
                Some(Err(error)) => failure(error),
                None => Frame::End,
            };
            if !matches!(frame, Frame::Appended(_)) {
                self.answers = None;
                self.requests = None;
            }
            self.line.push(&frame);
        }
    }
}

fn failure(error: PeerError) -> Frame {
    Frame::Failure { id: 0, failure: error.into() }
}
