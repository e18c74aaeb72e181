//! The sending end of a stream of appends: no task, the stream of answers drives its connection itself.
//!
//! Connections are kept from one stream to the next, when both sides have ended it in peace. A new one is dialled by a
//! task, since raft gives up long before a slow handshake is over, and may have what the last attempt began.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::Tasks;
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use tokio::sync::Mutex;

use super::super::frames::Frame;
use super::super::line::invalid;
use super::super::{ALIVE_EVERY, Address, MESSAGE_BYTES_MAX};
use super::dial::{Dialled, Dialler};
use super::{too_long, unreachable};
use crate::PeerError;

/// A peer that lives but answers no append for this long is stuck. Silence while nothing is asked is fine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The connection to one peer while no stream uses it. Locked while one is dialled.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Kept>>>);

enum Kept {
    Dialled(io::Result<Dialled>),
    /// It may have broken meanwhile.
    Used(Dialled),
}

impl Slot {
    /// Opens a stream. The peer's refusal is an error here, not an item.
    pub(super) async fn open(
        &self,
        (dialler, tasks): (&Dialler, &Tasks),
        url: &str,
        address: Address,
        requests: BoxStream<'static, Bytes>,
    ) -> Result<BoxStream<'static, Result<Bytes, PeerError>>, PeerError> {
        loop {
            let (mut line, is_used) = match self.line(dialler, tasks, url).await {
                Kept::Dialled(line) => (line.map_err(unreachable)?, false),
                Kept::Used(line) => (line, true),
            };
            match line.ask(&Frame::Open(address)).await {
                Ok(Frame::Opened) => return Ok(Appends::new(line, requests, self.clone()).boxed()),
                Ok(Frame::Failure { failure, .. }) => {
                    self.keep(line);
                    return Err(failure.into());
                }
                Ok(_) => return Err(unreachable(invalid("the peer opens no stream"))),
                Err(_) if is_used => {}
                Err(error) => return Err(unreachable(error)),
            }
        }
    }

    async fn line(&self, dialler: &Dialler, tasks: &Tasks, url: &str) -> Kept {
        loop {
            let mut slot = self.0.clone().lock_owned().await;
            if let Some(kept) = slot.take() {
                return kept;
            }
            let (dialler, url, stop) = (dialler.clone(), url.to_owned(), tasks.stop().clone());
            tasks.spawn_infallible("dials a peer", async move {
                let dialled = tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(io::Error::other("the node stops")),
                    dialled = dialler.connect(&url) => dialled,
                };
                *slot = Some(Kept::Dialled(dialled));
            });
        }
    }

    /// If another stream is on its way already, this connection is one too many.
    fn keep(&self, line: Dialled) {
        if let Ok(mut slot) = self.0.try_lock() {
            slot.get_or_insert(Kept::Used(line));
        }
    }
}

struct Appends {
    /// Absent: the stream is over.
    line: Option<Dialled>,
    /// Absent: all are written, and the end.
    requests: Option<BoxStream<'static, Bytes>>,
    slot: Slot,
    unanswered: usize,
    /// Beats since the last answer, while one is owed.
    silent: u32,
}

impl Appends {
    fn new(line: Dialled, requests: BoxStream<'static, Bytes>, slot: Slot) -> Self {
        Self { line: Some(line), requests: Some(requests), slot, unanswered: 0, silent: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PeerError>>> {
        let Some(mut line) = self.line.take() else { return Poll::Ready(None) };
        let next = self.drive(&mut line, cx);
        match next {
            Poll::Ready(None) => self.give_back(line),
            // Who hears in an answer that it was the last one does not ask for the end of the stream.
            Poll::Ready(Some(Ok(_))) if line.takes_end() => self.give_back(line),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => self.line = Some(line),
            Poll::Ready(Some(Err(_))) => {}
        }
        next
    }

    /// Reads first: what is here already is neither silence nor a reason to write.
    fn drive(&mut self, line: &mut Dialled, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PeerError>>> {
        loop {
            match line.poll_frame(cx) {
                Poll::Ready(Ok(frame)) => return Poll::Ready(self.hear(frame)),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(unreachable(error)))),
                Poll::Pending => {}
            }
            if let Err(error) = self.send(line, cx) {
                return Poll::Ready(Some(Err(error)));
            }
            match line.poll_pulse(cx, true) {
                Ok(is_beat) => self.silent += u32::from(is_beat && self.unanswered > 0),
                Err(error) => return Poll::Ready(Some(Err(unreachable(error)))),
            }
            if self.silent * ALIVE_EVERY >= ANSWER_TIME_MAX {
                return Poll::Ready(Some(Err(PeerError::Timeout)));
            }
            let was_full = !line.has_room();
            match line.poll_flush(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(unreachable(error)))),
                Poll::Ready(Ok(())) if was_full => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn hear(&mut self, frame: Frame) -> Option<Result<Bytes, PeerError>> {
        match frame {
            Frame::Appended(payload) if self.unanswered > 0 => {
                self.unanswered -= 1;
                self.silent = 0;
                Some(Ok(payload))
            }
            Frame::End => None,
            Frame::Failure { failure, .. } => Some(Err(failure.into())),
            Frame::Call { .. }
            | Frame::Answer { .. }
            | Frame::Open(_)
            | Frame::Opened
            | Frame::Append(_)
            | Frame::Appended(_)
            | Frame::Alive => {
                Some(Err(unreachable(invalid("the peer answers an append with something else"))))
            }
        }
    }

    fn send(&mut self, line: &mut Dialled, cx: &mut Context<'_>) -> Result<(), PeerError> {
        while line.has_room()
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(request) = requests.as_mut().poll_next(cx)
        {
            match request {
                Some(request) if request.len() > MESSAGE_BYTES_MAX => return Err(too_long()),
                Some(request) => {
                    self.unanswered += 1;
                    line.push(&Frame::Append(request));
                }
                None => {
                    self.requests = None;
                    line.push(&Frame::End);
                }
            }
        }
        Ok(())
    }

    /// Both sides have said that they have ended: another stream may follow.
    fn give_back(&mut self, line: Dialled) {
        if self.requests.is_none() && line.is_flushed() {
            self.slot.keep(line);
        }
    }
}

impl Stream for Appends {
    type Item = Result<Bytes, PeerError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}
