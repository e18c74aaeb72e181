//! The caller's end of a connection for calls: one task that owns it, writes what is asked and hands out the answers.
//!
//! It connects first, then lives until the connection breaks; who waits then hears it. A caller that has given up is
//! forgotten; its answer, if it comes, is dropped.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::super::frames::Frame;
use super::super::line::{Line, invalid};
use super::super::{Address, CALLS_MAX, STOP_GRACE};
use super::dial::Dialler;
use crate::{Call, PeerError};

/// Questions that wait to be written; then their callers wait, too.
const QUEUE_MAX: usize = 1024;

/// A question on its way to the connection's task.
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) address: Address,
    pub(super) within: Duration,
    pub(super) payload: Bytes,
    pub(super) answer: oneshot::Sender<Result<Bytes, PeerError>>,
}

/// Why nobody answers any more.
#[derive(Clone, Debug, Error)]
#[error("the connection to the peer is lost")]
struct Lost(#[source] Arc<io::Error>);

impl Lost {
    fn unreachable(&self) -> PeerError {
        PeerError::Unreachable(Box::new(self.clone()))
    }
}

/// A queue, and the task that serves it until the connection breaks, nobody has the sender, or `stop`.
pub(super) fn line(
    dialler: Dialler,
    url: String,
    stop: CancellationToken,
) -> (mpsc::Sender<Asked>, impl Future<Output = ()> + Send + 'static) {
    let (asks, asked) = mpsc::channel(QUEUE_MAX);
    (asks, run(dialler, url, asked, stop))
}

async fn run(dialler: Dialler, url: String, mut asked: mpsc::Receiver<Asked>, stop: CancellationToken) {
    let lost = match dialler.connect(&url).await {
        Ok(line) => {
            let waiting = BTreeMap::new();
            let mut caller = Caller { line, asked, waiting, next_id: 1, is_ending: false };
            let ended = caller.run(&stop).await;
            let lost = Lost(Arc::new(ended.err().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())));
            debug!(%url, reason = %lost.0, waiting = caller.waiting.len(), "a connection to a peer has ended");
            for (_, answer) in std::mem::take(&mut caller.waiting) {
                // Who has given up does not listen.
                let _gone = answer.send(Err(lost.unreachable()));
            }
            asked = caller.asked;
            lost
        }
        Err(error) => {
            debug!(%url, %error, "cannot connect to a peer");
            Lost(Arc::new(error))
        }
    };
    asked.close();
    while let Some(question) = asked.recv().await {
        let _gone = question.answer.send(Err(lost.unreachable()));
    }
}

struct Caller<S> {
    line: Line<S>,
    asked: mpsc::Receiver<Asked>,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Bytes, PeerError>>>,
    next_id: u64,
    /// Ends as soon as nobody waits.
    is_ending: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Caller<S> {
    async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            ended = std::future::poll_fn(|cx| self.poll(cx)) => return ended,
        }
        self.is_ending = true;
        let rest = std::future::poll_fn(|cx| self.poll(cx));
        tokio::time::timeout(STOP_GRACE, rest).await.unwrap_or_else(|late| Err(late.into()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Poll::Ready(frame) = self.line.poll_frame(cx) {
                self.hear(frame?)?;
            }
            let mut is_over = false;
            while self.may_ask() {
                match self.asked.poll_recv(cx) {
                    Poll::Ready(Some(question)) => self.ask(question),
                    Poll::Ready(None) => {
                        is_over = true;
                        break;
                    }
                    Poll::Pending => {
                        is_over = self.is_ending;
                        break;
                    }
                }
            }
            if is_over && self.waiting.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.line.poll_pulse(cx, true)? {
                self.waiting.retain(|_, answer| !answer.is_closed());
            }
            let could_ask = self.may_ask();
            let flushed = self.line.poll_flush(cx)?;
            // Without room nobody was asked for more.
            if flushed.is_pending() || could_ask || !self.may_ask() {
                return Poll::Pending;
            }
        }
    }

    fn may_ask(&self) -> bool {
        self.line.has_room() && self.waiting.len() < CALLS_MAX
    }

    fn ask(&mut self, question: Asked) {
        let Asked { call, address, within, payload, answer } = question;
        if answer.is_closed() {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.line.push(&Frame::Call { id, call, address, within, payload });
        self.waiting.insert(id, answer);
    }

    fn hear(&mut self, frame: Frame) -> io::Result<()> {
        let (id, result) = match frame {
            Frame::Answer { id, payload } => (id, Ok(payload)),
            Frame::Failure { id, failure } => (id, Err(failure.into())),
            Frame::Call { .. }
            | Frame::Open(_)
            | Frame::Opened
            | Frame::Append(_)
            | Frame::Appended(_)
            | Frame::End
            | Frame::Alive => return Err(invalid("the peer answers a call with something else")),
        };
        if let Some(answer) = self.waiting.remove(&id) {
            let _gone = answer.send(result);
        }
        Ok(())
    }
}
