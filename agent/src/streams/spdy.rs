//! SPDY/3.1 as Kubernetes speaks it: streams of bytes, each named by headers, on one connection.
//!
//! Either end may be this one: the node API is the server of clients, and the client of a container runtime.
//! There is no flow control but the connection's own, as in the implementation that everybody else uses: a
//! stream that is not read holds up the others. What waits is bounded by named limits, however large a frame
//! says that it is.

mod frame;
mod headers;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub(crate) use headers::Headers;
use writer::Outgoing;

/// Pieces of a stream's data that wait for its reader.
const PIECES_WAITING_MAX: usize = 8;
/// The largest piece.
const PIECE_BYTES_MAX: usize = 32 * 1024;
/// Frames that wait to be written.
const FRAMES_WAITING_MAX: usize = 8;
/// Streams that the other side opened and nobody has taken.
const STREAMS_WAITING_MAX: usize = 16;
/// Streams that are open at one time; more are refused.
const STREAMS_MAX: usize = 512;
/// A control frame, which is held whole.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Why a connection ended before its time.
#[derive(Debug, Error)]
pub(crate) enum SpdyError {
    #[error("the connection broke")]
    Broke(#[from] std::io::Error),
    #[error("not SPDY/3.1: {0}")]
    Malformed(&'static str),
}

/// Who opened the connection, and so who has the odd stream numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// A stream that the other side opened, or what the other side sends on one of ours.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// Names in small letters.
    pub(crate) headers: Headers,
    /// Ends when the other side has finished or reset the stream, and when the connection ends.
    pub(crate) data: mpsc::Receiver<Bytes>,
}

/// One end of a connection. `work` must be polled for anything to move; dropping it hangs up.
pub(crate) struct Connection<W> {
    pub(crate) handle: Handle,
    pub(crate) accepted: mpsc::Receiver<Stream>,
    pub(crate) work: W,
}

type Open = Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>;

/// Sends on a connection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    frames: mpsc::Sender<Outgoing>,
    open: Open,
}

/// The other side has hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HungUp;

/// Speaks SPDY/3.1 on `io`, which was upgraded to it. `work` ends when the other side hangs up, or breaks the
/// protocol.
pub(crate) fn connection<T>(
    io: T,
    role: Role,
) -> Connection<impl Future<Output = Result<(), SpdyError>> + Send + 'static>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (frames, outgoing) = mpsc::channel(FRAMES_WAITING_MAX);
    let (accepting, accepted) = mpsc::channel(STREAMS_WAITING_MAX);
    let open = Open::default();
    let handle = Handle { frames: frames.clone(), open: open.clone() };
    let reader = reader::Reader::new(role, frames, accepting, open);
    let work = async move {
        let reading = reader.run(read);
        let writing = writer::run(write, outgoing);
        tokio::pin!(reading, writing);
        tokio::select! {
            biased;
            read = &mut reading => read,
            // Nobody can write any more; what comes in may still matter.
            wrote = &mut writing => match wrote {
                Ok(()) => reading.await,
                Err(error) => Err(error),
            },
        }
    };
    Connection { handle, accepted, work }
}

impl Handle {
    /// Opens a stream; `id` must be the next of this side's numbers. What the other side sends on it comes
    /// from the receiver.
    pub(crate) async fn open(&self, id: u32, headers: Headers) -> Result<mpsc::Receiver<Bytes>, HungUp> {
        let (sender, data) = mpsc::channel(PIECES_WAITING_MAX);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        self.send(Outgoing::Open { id, headers }).await?;
        Ok(data)
    }

    pub(crate) async fn data(&self, id: u32, data: Bytes) -> Result<(), HungUp> {
        self.send(Outgoing::Data { id, data, last: false }).await
    }

    /// Nothing more will be sent on the stream.
    pub(crate) async fn finish(&self, id: u32) -> Result<(), HungUp> {
        self.send(Outgoing::Data { id, data: Bytes::new(), last: true }).await
    }

    /// What the other side still sends on the stream is dropped.
    pub(crate) fn forget(&self, id: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// No more streams, please; `last` was the last one.
    pub(crate) async fn go_away(&self, last: u32) -> Result<(), HungUp> {
        self.send(Outgoing::GoAway { last }).await
    }

    async fn send(&self, frame: Outgoing) -> Result<(), HungUp> {
        self.frames.send(frame).await.map_err(|_closed| HungUp)
    }
}
