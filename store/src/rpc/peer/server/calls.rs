//! The answering end of a connection for calls: all of its calls are served where it is read, none in a task of its own.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::frames::{Failure, Frame};
use super::super::line::{Line, invalid};
use super::super::{CALLS_MAX, MESSAGE_BYTES_MAX, STOP_GRACE, check};
use super::Desk;
use crate::{Call, PeerError};

/// Until the caller closes. Once the node stops, what was asked has a short while.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    desk: &Desk,
    line: Line<S>,
    first: Frame,
) -> io::Result<()> {
    let mut calls = Calls { desk, line, pending: FuturesUnordered::new(), is_ending: false };
    calls.begin(first)?;
    tokio::select! {
        biased;
        () = desk.stop.cancelled() => {}
        ended = std::future::poll_fn(|cx| calls.poll(cx)) => return ended,
    }
    calls.is_ending = true;
    let rest = std::future::poll_fn(|cx| calls.poll(cx));
    tokio::time::timeout(STOP_GRACE, rest).await.unwrap_or_else(|late| Err(late.into()))
}

struct Calls<'a, S> {
    desk: &'a Desk,
    line: Line<S>,
    pending: FuturesUnordered<BoxFuture<'a, Frame>>,
    /// Takes no more calls.
    is_ending: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Calls<'_, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut has_read_all = false;
            while self.may_take() && !has_read_all {
                match self.line.poll_frame(cx) {
                    Poll::Ready(frame) => self.begin(frame?)?,
                    Poll::Pending => has_read_all = true,
                }
            }
            // Also those that were read just now: what can be answered at once goes out with the same flush.
            while self.line.has_room()
                && let Poll::Ready(Some(answer)) = self.pending.poll_next_unpin(cx)
            {
                self.line.push(&answer);
            }
            self.line.poll_pulse(cx, has_read_all)?;
            let was_full = !self.line.has_room();
            if self.line.poll_flush(cx)?.is_pending() {
                return Poll::Pending;
            }
            if self.is_ending && self.pending.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let may_read_more = !has_read_all && self.may_take();
            if !was_full && !may_read_more {
                return Poll::Pending;
            }
        }
    }

    fn may_take(&self) -> bool {
        !self.is_ending && self.line.has_room() && self.pending.len() < CALLS_MAX
    }

    fn begin(&mut self, frame: Frame) -> io::Result<()> {
        let Frame::Call { id, call, address, within, payload } = frame else {
            return Err(invalid("a connection for calls is used for something else"));
        };
        if call != Call::Introduce
            && let Err(reason) = check(&self.desk.me, &address)
        {
            self.line.push(&Frame::Failure { id, failure: Failure::Refused(reason) });
            return Ok(());
        }
        let answer = self.desk.service.call(call, payload);
        self.pending.push(Box::pin(async move {
            let answer = tokio::time::timeout(within, answer).await;
            reply(id, answer.unwrap_or(Err(PeerError::Timeout)))
        }));
        Ok(())
    }
}

fn reply(id: u64, answer: Result<Bytes, PeerError>) -> Frame {
    match answer {
        Ok(payload) if payload.len() <= MESSAGE_BYTES_MAX => Frame::Answer { id, payload },
        Ok(_) => {
            let failure = Failure::Unreachable("the answer is too long".to_owned());
            Frame::Failure { id, failure }
        }
        Err(error) => Frame::Failure { id, failure: error.into() },
    }
}
