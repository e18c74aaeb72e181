//! A connection between two members, in frames: many are written at once, and each side knows that the other lives.
//!
//! Nothing here is a task: whoever owns the line polls it, reads before it judges a silence, and flushes when it has
//! nothing more to say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::io::poll_read_buf;

use super::frames::{self, Decoder, Frame};
use super::{ALIVE_EVERY, SILENCES_MAX};

/// Nothing is added to more than this before it is written.
const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;
/// A buffer that one message made larger is not kept.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// One end of a connection.
pub(super) struct Line<S> {
    io: S,
    arrived: Decoder,
    out: Vec<u8>,
    written: usize,
    is_flushed: bool,
    /// Something was written since the last beat.
    has_written: bool,
    pulse: Interval,
    silences: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(super) fn new(io: S) -> Self {
        let mut pulse = tokio::time::interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            io,
            arrived: Decoder::default(),
            out: Vec::new(),
            written: 0,
            is_flushed: true,
            has_written: false,
            pulse,
            silences: 0,
        }
    }

    /// The next frame that says more than that the peer lives. That the peer has closed is an error.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Frame>> {
        loop {
            while let Some(frame) = self.arrived.next().map_err(invalid)? {
                if frame != Frame::Alive {
                    return Poll::Ready(Ok(frame));
                }
            }
            match ready!(poll_read_buf(Pin::new(&mut self.io), cx, self.arrived.room()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                _ => self.silences = 0,
            }
        }
    }

    /// Whether the end of the stream is what follows, and is here already; then it is taken.
    pub(super) fn takes_end(&mut self) -> bool {
        self.arrived.takes_end()
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// Whether another frame may be pushed before what is there is flushed.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() - self.written < UNWRITTEN_BYTES_MAX
    }

    pub(super) fn push(&mut self, frame: &Frame) {
        frames::write(frame, &mut self.out);
        self.is_flushed = false;
    }

    /// Writes all that was pushed.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
            self.has_written = true;
        }
        self.written = 0;
        self.out.clear();
        if self.out.capacity() > BUFFER_BYTES_KEPT {
            self.out = Vec::new();
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Says every second that this side lives, and judges the peer: by what it says, if the caller has just read all
    /// there is; by what it takes, if not. True: a second is over.
    pub(super) fn poll_pulse(&mut self, cx: &mut Context<'_>, has_read_all: bool) -> io::Result<bool> {
        if self.pulse.poll_tick(cx).is_pending() {
            return Ok(false);
        }
        // Registers for the next one.
        while self.pulse.poll_tick(cx).is_ready() {}
        let is_stuck = !self.is_flushed && !self.has_written;
        self.has_written = false;
        if has_read_all || is_stuck {
            self.silences += 1;
        }
        if self.silences >= SILENCES_MAX {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer says nothing any more"));
        }
        if self.is_flushed {
            self.push(&Frame::Alive);
        }
        Ok(true)
    }

    /// Says the one thing, hears the next.
    pub(super) async fn ask(&mut self, frame: &Frame) -> io::Result<Frame> {
        self.push(frame);
        self.next().await
    }

    /// Waits for a frame, with all written.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(frame) = self.poll_frame(cx) {
                return Poll::Ready(frame);
            }
            self.poll_pulse(cx, true)?;
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            Poll::Pending
        })
        .await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }
}

/// A peer that does not keep to the protocol.
pub(super) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
