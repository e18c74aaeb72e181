//! Reads frames and hands out what they carry.

use std::sync::PoisonError;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use super::frame::{self, Head};
use super::headers::HeaderReader;
use super::writer::Outgoing;
use super::{
    CONTROL_BYTES_MAX, Open, PIECE_BYTES_MAX, PIECES_WAITING_MAX, Role, STREAMS_MAX, SpdyError, Stream,
};

pub(super) struct Reader {
    role: Role,
    frames: mpsc::Sender<Outgoing>,
    accepting: mpsc::Sender<Stream>,
    open: Open,
    headers: HeaderReader,
    /// The highest number of the other side's streams.
    newest: u32,
}

impl Reader {
    pub(super) fn new(
        role: Role,
        frames: mpsc::Sender<Outgoing>,
        accepting: mpsc::Sender<Stream>,
        open: Open,
    ) -> Self {
        Self { role, frames, accepting, open, headers: HeaderReader::new(), newest: 0 }
    }

    /// Until the other side hangs up. Every stream ends with it.
    pub(super) async fn run(mut self, io: impl AsyncRead + Send) -> Result<(), SpdyError> {
        let io = BufReader::with_capacity(PIECE_BYTES_MAX, io);
        tokio::pin!(io);
        let read = async {
            loop {
                let mut head = [0; frame::HEAD_BYTES];
                match io.read_exact(&mut head).await {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
                let head = Head::parse(head).ok_or(SpdyError::Malformed("another version"))?;
                match head {
                    Head::Data { id, flags, length } => self.data(&mut io, id, length, flags).await?,
                    Head::Control { length, .. } if length > CONTROL_BYTES_MAX => {
                        return Err(SpdyError::Malformed("a control frame is too long"));
                    }
                    Head::Control { kind, flags, length } => {
                        let mut body = vec![0; length];
                        io.read_exact(&mut body).await?;
                        self.control(kind, flags, body).await?;
                    }
                }
            }
        };
        let ended = read.await;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        ended
    }

    async fn data(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        id: u32,
        length: usize,
        flags: u8,
    ) -> Result<(), SpdyError> {
        let mut left = length;
        while left > 0 {
            let mut piece = BytesMut::zeroed(left.min(PIECE_BYTES_MAX));
            io.read_exact(&mut piece).await?;
            left -= piece.len();
            // Not under the lock: its reader may be slow. Who reads no longer gets nothing.
            let stream = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
            if let Some(stream) = stream {
                let _nobody = stream.send(piece.freeze()).await;
            }
        }
        if flags & frame::FLAG_FIN != 0 {
            self.end(id);
        }
        Ok(())
    }

    async fn control(&mut self, kind: u16, flags: u8, body: Vec<u8>) -> Result<(), SpdyError> {
        let id = || frame::stream_id(&body).ok_or(SpdyError::Malformed("a control frame is too short"));
        match kind {
            frame::SYN_STREAM => self.accept(id()?, flags, &body).await,
            frame::SYN_REPLY | frame::HEADERS => {
                // Not needed, but the next block follows on from this one.
                let block = body.get(4..).ok_or(SpdyError::Malformed("a control frame is too short"))?;
                self.headers.read(block)?;
                if flags & frame::FLAG_FIN != 0 {
                    self.end(id()?);
                }
                Ok(())
            }
            frame::RST_STREAM => {
                self.end(id()?);
                Ok(())
            }
            // One that answers ours has our parity; we send none.
            frame::PING => self.send(Outgoing::Pong { body: Bytes::from(body) }).await,
            // GOAWAY: they will hang up when they are done. SETTINGS and WINDOW_UPDATE: there is no flow control.
            _ => Ok(()),
        }
    }

    async fn accept(&mut self, id: u32, flags: u8, body: &[u8]) -> Result<(), SpdyError> {
        let block = body.get(10..).ok_or(SpdyError::Malformed("SYN_STREAM is too short"))?;
        let headers = self.headers.read(block)?;
        let theirs = if self.role == Role::Server { 1 } else { 0 };
        if id % 2 != theirs || id <= self.newest {
            return Err(SpdyError::Malformed("a stream has a number that it cannot have"));
        }
        self.newest = id;
        let (sender, data) = mpsc::channel(PIECES_WAITING_MAX);
        let refused = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = open.len() >= STREAMS_MAX;
            if !refused && flags & frame::FLAG_FIN == 0 {
                open.insert(id, sender);
            }
            refused
        };
        if refused {
            return self.send(Outgoing::Reset { id, status: frame::REFUSED_STREAM }).await;
        }
        self.send(Outgoing::Accept { id }).await?;
        // When nobody takes streams any more, they are ignored.
        let _nobody = self.accepting.send(Stream { id, headers, data }).await;
        Ok(())
    }

    fn end(&self, id: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    async fn send(&self, frame: Outgoing) -> Result<(), SpdyError> {
        // When nothing can be written any more, the writer's error says why.
        let _broken = self.frames.send(frame).await;
        Ok(())
    }
}
