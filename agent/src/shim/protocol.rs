//! What the agent and a pod's shim say to each other, on a connection per request: a request, its answer, and for
//! sessions the bytes of the streams. Each message is a byte for its kind, its length in four bytes, its payload.

use std::io;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::container::spec::{ProcessSpec, StartFailure};
use crate::runtime::{Streams, TerminalSize};

/// Of the payload of one message; what is longer was not written by us.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Answered when the container runs, or has failed to.
    Start { container: String },
    /// Asks it to end, and makes it end after `grace_ms`. Answered when it has exited.
    Stop { container: String, grace_ms: u64 },
    /// After the answer, the streams.
    Exec { container: String, process: Box<ProcessSpec>, streams: Streams, when_left: WhenLeft },
    /// After the answer, the streams.
    Attach { container: String, streams: Streams },
    /// The container's log was renamed: another is to be begun.
    ReopenLog { container: String },
    /// Ends every container at once, and the shim. Answered when all have exited.
    Shutdown,
}

/// What becomes of an executed process whose session is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WhenLeft {
    GoesOn,
    IsKilled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// The process did not start.
    NotStarted(StartFailure),
    Refused(String),
}

/// What a session consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A request or an answer, as JSON.
    Talk(Bytes),
    Stdin(Bytes),
    StdinEnd,
    Resize(TerminalSize),
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last message of a session.
    Exited(i32),
}

impl Message {
    pub(crate) fn talk(what: &impl Serialize) -> io::Result<Self> {
        Ok(Self::Talk(serde_json::to_vec(what)?.into()))
    }

    fn parts(self) -> (u8, Bytes) {
        match self {
            Self::Talk(json) => (0, json),
            Self::Stdin(data) => (1, data),
            Self::StdinEnd => (2, Bytes::new()),
            Self::Resize(size) => {
                let [a, b] = size.width.to_be_bytes();
                let [c, d] = size.height.to_be_bytes();
                (3, Bytes::copy_from_slice(&[a, b, c, d]))
            }
            Self::Stdout(data) => (4, data),
            Self::Stderr(data) => (5, data),
            Self::Exited(code) => (6, Bytes::copy_from_slice(&code.to_be_bytes())),
        }
    }

    fn of(kind: u8, payload: Bytes) -> Option<Self> {
        Some(match kind {
            0 => Self::Talk(payload),
            1 => Self::Stdin(payload),
            2 => Self::StdinEnd,
            3 => {
                let [a, b, c, d] = <[u8; 4]>::try_from(&payload[..]).ok()?;
                let (width, height) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                Self::Resize(TerminalSize { width, height })
            }
            4 => Self::Stdout(payload),
            5 => Self::Stderr(payload),
            6 => Self::Exited(i32::from_be_bytes(<[u8; 4]>::try_from(&payload[..]).ok()?)),
            _ => return None,
        })
    }
}

/// # Errors
/// When the other side has hung up.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), message: Message) -> io::Result<()> {
    let (kind, payload) = message.parts();
    let length = u32::try_from(payload.len()).map_err(|_| invalid("a message is too long"))?;
    let mut bytes = BytesMut::with_capacity(5 + payload.len());
    bytes.extend_from_slice(&[kind]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&payload);
    to.write_all(&bytes).await
}

/// `None` when the other side has hung up between two messages. Must be polled to its end.
///
/// # Errors
/// When it hung up within one, or has sent what is none.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > PAYLOAD_BYTES_MAX {
        return Err(invalid("a message is too long"));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Message::of(kind, payload.into()).map(Some).ok_or_else(|| invalid("a message of an unknown kind"))
}

/// A request or an answer, which must come first.
///
/// # Errors
/// When something else comes, or nothing.
pub(crate) async fn read_talk<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    match read(from).await? {
        Some(Message::Talk(json)) => Ok(serde_json::from_slice(&json)?),
        Some(_) => Err(invalid("streams began before the talk")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_message_arrives_as_it_was_sent() {
        let size = TerminalSize { width: 80, height: 24 };
        let messages = [
            Message::talk(&Request::Shutdown).unwrap(),
            Message::Stdin(Bytes::from_static(b"in")),
            Message::StdinEnd,
            Message::Resize(size),
            Message::Stdout(Bytes::from_static(b"out")),
            Message::Stderr(Bytes::new()),
            Message::Exited(-1),
        ];
        let (mut here, mut there) = tokio::io::duplex(1 << 16);
        for message in &messages {
            write(&mut here, message.clone()).await.unwrap();
        }
        drop(here);
        for message in messages {
            assert_eq!(read(&mut there).await.unwrap(), Some(message));
        }
        assert_eq!(read(&mut there).await.unwrap(), None);
    }

    #[tokio::test]
    async fn lengths_that_nobody_wrote_are_refused_before_memory_is_taken() {
        let mut bytes: &[u8] = &[1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut bytes: &[u8] = &[3, 0, 0, 0, 1, 0];
        assert!(read(&mut bytes).await.is_err());
        let mut bytes: &[u8] = &[1, 0, 0];
        assert_eq!(read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
