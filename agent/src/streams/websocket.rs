//! WebSocket (RFC 6455), the server's side. Messages are read in pieces, so that nothing is held whole that a
//! client chose the length of.

#[cfg(test)]
pub(super) mod tests;
mod tunnel;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

pub(crate) use tunnel::tunnel;

/// The largest piece of a message.
pub(crate) const PIECE_BYTES_MAX: usize = 32 * 1024;
/// What RFC 6455 appends to a client's key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// All is done.
const NORMAL_CLOSURE: u16 = 1000;

/// Why a connection ended before its time.
#[derive(Debug, Error)]
pub(crate) enum WebSocketError {
    #[error("the connection broke")]
    Broke(#[from] std::io::Error),
    #[error("not WebSocket: {0}")]
    Malformed(&'static str),
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A piece of a message.
    Data {
        /// The message begins here.
        first: bool,
        /// The message ends here.
        last: bool,
        data: Bytes,
    },
    Ping(Bytes),
    Close,
}

/// What a client waits for, besides data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Courtesy {
    Pong(Bytes),
    /// It has said good-bye.
    Close,
}

/// What the server's `Sec-WebSocket-Accept` says to a client's key.
pub(crate) fn accept_key(key: &str) -> String {
    let both = format!("{key}{KEY_SUFFIX}");
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes()))
}

/// Reads what a client sends.
pub(crate) struct Reader<R> {
    io: BufReader<R>,
    /// Of the frame that is being read: what is left of it, its mask and where in the mask it is.
    left: u64,
    mask: [u8; 4],
    at: usize,
    frame_is_last: bool,
    /// Inside a message.
    in_message: bool,
    /// Nothing of the message was handed out yet.
    first: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(io: R) -> Self {
        let io = BufReader::with_capacity(PIECE_BYTES_MAX, io);
        Self { io, left: 0, mask: [0; 4], at: 0, frame_is_last: true, in_message: false, first: true }
    }

    /// What comes next; `None` when the client hung up without a word. Not cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, WebSocketError> {
        loop {
            if self.left > 0 {
                return self.piece().await.map(Some);
            }
            let mut head = [0; 2];
            match self.io.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let [first, second] = head;
            if first & RESERVED != 0 {
                return Err(WebSocketError::Malformed("a reserved bit is set"));
            }
            if second & MASKED == 0 {
                return Err(WebSocketError::Malformed("a frame is not masked"));
            }
            let (last, opcode) = (first & FIN != 0, first & OPCODE);
            let length = self.length(second & !MASKED).await?;
            self.io.read_exact(&mut self.mask).await?;
            self.at = 0;
            if matches!(opcode, CLOSE | PING | PONG) {
                match self.control(opcode, last, length).await? {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            match (opcode, self.in_message) {
                (TEXT | BINARY, false) => self.first = true,
                (CONTINUATION, true) => {}
                _ => return Err(WebSocketError::Malformed("a frame comes out of turn")),
            }
            (self.left, self.frame_is_last, self.in_message) = (length, last, !last);
            if length == 0 && last {
                let first = std::mem::take(&mut self.first);
                return Ok(Some(Event::Data { first, last: true, data: Bytes::new() }));
            }
        }
    }

    async fn length(&mut self, short: u8) -> Result<u64, WebSocketError> {
        Ok(match short {
            126 => self.io.read_u16().await?.into(),
            127 => self.io.read_u64().await?,
            length => length.into(),
        })
    }

    async fn control(
        &mut self,
        opcode: u8,
        last: bool,
        length: u64,
    ) -> Result<Option<Event>, WebSocketError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !last || length > CONTROL_BYTES_MAX {
            return Err(WebSocketError::Malformed("a control frame is too long"));
        }
        let data = self.unmasked(length).await?;
        Ok(match opcode {
            CLOSE => Some(Event::Close),
            PING => Some(Event::Ping(data)),
            _ => None,
        })
    }

    async fn piece(&mut self) -> Result<Event, WebSocketError> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        let data = self.unmasked(length).await?;
        self.left -= u64::try_from(length).unwrap_or(self.left);
        let last = self.left == 0 && self.frame_is_last;
        Ok(Event::Data { first: std::mem::take(&mut self.first), last, data })
    }

    async fn unmasked(&mut self, length: usize) -> Result<Bytes, WebSocketError> {
        let mut data = BytesMut::zeroed(length);
        self.io.read_exact(&mut data).await?;
        // Eight bytes at a time: the compiler makes vectors of it.
        self.mask.rotate_left(self.at % 4);
        let [a, b, c, d] = self.mask;
        let (wide, mask) = (u64::from_ne_bytes([a, b, c, d, a, b, c, d]), self.mask);
        let mut words = data.chunks_exact_mut(8);
        for word in &mut words {
            if let Ok(bytes) = <[u8; 8]>::try_from(&*word) {
                word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
            }
        }
        words.into_remainder().iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        self.at = length % 4;
        Ok(data.freeze())
    }
}

/// Writes what a server sends. Every write is flushed.
pub(crate) struct Writer<W> {
    io: W,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(crate) fn new(io: W) -> Self {
        Self { io }
    }

    /// One binary message, of `parts` one after the other.
    pub(crate) async fn binary(&mut self, parts: [&[u8]; 2]) -> Result<(), WebSocketError> {
        self.frame(BINARY, parts).await
    }

    pub(crate) async fn text(&mut self, parts: [&[u8]; 2]) -> Result<(), WebSocketError> {
        self.frame(TEXT, parts).await
    }

    /// Whether the connection goes on.
    pub(crate) async fn courtesy(&mut self, courtesy: Courtesy) -> Result<bool, WebSocketError> {
        match courtesy {
            Courtesy::Pong(ping) => self.frame(PONG, [&ping, &[]]).await.map(|()| true),
            Courtesy::Close => self.close().await.map(|()| false),
        }
    }

    /// Says that nothing more comes.
    pub(crate) async fn close(&mut self) -> Result<(), WebSocketError> {
        self.frame(CLOSE, [&NORMAL_CLOSURE.to_be_bytes(), &[]]).await?;
        Ok(self.io.shutdown().await?)
    }

    async fn frame(&mut self, opcode: u8, parts: [&[u8]; 2]) -> Result<(), WebSocketError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut frame = Vec::with_capacity(length + 10);
        frame.push(FIN | opcode);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..126), _) => frame.push(short),
            (_, Ok(middle)) => {
                frame.push(126);
                frame.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        parts.iter().for_each(|part| frame.extend_from_slice(part));
        self.io.write_all(&frame).await?;
        Ok(self.io.flush().await?)
    }
}
