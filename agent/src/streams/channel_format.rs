//! How channels are told apart in WebSocket messages: by a first byte, and perhaps all in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::protocol::Channels;
use super::websocket::{Courtesy, Event, Reader, WebSocketError, Writer};

/// A message that must be held whole.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

impl Channels {
    /// The number that the first byte of a message stands for.
    pub(super) fn number(self, first: u8) -> u8 {
        if self.base64 { first.wrapping_sub(b'0') } else { first }
    }

    /// What undoes base64, piece by piece.
    pub(super) fn inbox(self) -> Inbox {
        Inbox { base64: self.base64, held: BytesMut::new() }
    }

    /// One message.
    pub(super) async fn write<W: AsyncWrite + Unpin>(
        self,
        client: &mut Writer<W>,
        channel: u8,
        data: &[u8],
    ) -> Result<(), WebSocketError> {
        if self.base64 {
            client.text([&[b'0'.wrapping_add(channel)], STANDARD.encode(data).as_bytes()]).await
        } else {
            client.binary([&[channel], data]).await
        }
    }
}

/// A piece of a message, after the byte that names its channel.
pub(super) struct Piece {
    /// `None`: the message is empty.
    pub(super) channel: Option<u8>,
    /// The message ends here.
    pub(super) last: bool,
    pub(super) data: Bytes,
}

/// What a client sends; what it expects besides goes to whoever writes.
pub(super) struct ChannelReader<R, A> {
    client: Reader<R>,
    channels: Channels,
    /// That of the message under way.
    channel: Option<u8>,
    answers: mpsc::Sender<A>,
}

impl<R: AsyncRead + Unpin, A: From<Courtesy>> ChannelReader<R, A> {
    pub(super) fn new(client: Reader<R>, channels: Channels, answers: mpsc::Sender<A>) -> Self {
        Self { client, channels, channel: None, answers }
    }

    /// `None` when the client has hung up, or has said good-bye and was answered.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, WebSocketError> {
        while let Some(event) = self.client.next().await? {
            match event {
                Event::Data { first, last, mut data } => {
                    if first {
                        self.channel = data.first().map(|named| self.channels.number(*named));
                        data.advance(data.len().min(1));
                    }
                    return Ok(Some(Piece { channel: self.channel, last, data }));
                }
                Event::Ping(ping) => self.answer(Courtesy::Pong(ping)).await,
                Event::Close => {
                    self.answer(Courtesy::Close).await;
                    // Who writes stops when it has answered.
                    self.answers.closed().await;
                    break;
                }
            }
        }
        Ok(None)
    }

    async fn answer(&mut self, courtesy: Courtesy) {
        // Who writes has stopped: the client will not miss it.
        let _stopped = self.answers.send(courtesy.into()).await;
    }
}

/// Takes the pieces of messages, after their first byte.
pub(super) struct Inbox {
    base64: bool,
    held: BytesMut,
}

impl Inbox {
    /// The bytes that are meant: of each piece at once, or in base64 of the whole message.
    pub(super) fn take(&mut self, piece: Bytes, last: bool) -> Result<Option<Bytes>, WebSocketError> {
        if !self.base64 {
            return Ok(Some(piece));
        }
        let Some(message) = self.hold(&piece, last)? else { return Ok(None) };
        let plain = STANDARD.decode(&message);
        Ok(Some(plain.map_err(|_| WebSocketError::Malformed("a message is not in base64"))?.into()))
    }

    /// The whole message, with its last piece.
    pub(super) fn hold(&mut self, piece: &[u8], last: bool) -> Result<Option<Bytes>, WebSocketError> {
        if self.held.len() + piece.len() > MESSAGE_BYTES_MAX {
            return Err(WebSocketError::Malformed("a message is too long"));
        }
        self.held.extend_from_slice(piece);
        Ok(last.then(|| self.held.split().freeze()))
    }
}
