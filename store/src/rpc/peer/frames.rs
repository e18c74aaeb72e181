//! The frames that members exchange: messages to bytes and back, and nothing else.
//!
//! A frame is its length (u32, of what follows), its kind (u8) and its fields; numbers are big endian. A length is
//! checked before anything is kept for it, and the memory that is held grows with what has arrived, not with what was
//! announced. What cannot be read ends the connection.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

use super::{Address, MESSAGE_BYTES_MAX};
use crate::{Call, PeerError};

/// What goes before a message in its frame has room in this.
const HEAD_BYTES_MAX: usize = 64;
const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + HEAD_BYTES_MAX;
const LENGTH_BYTES: usize = 4;
/// What one read asks for: a TLS record's content.
const READ_BYTES: usize = 16 * 1024;
/// With less room than this left, the next read gets a new buffer.
const READ_BYTES_MIN: usize = 4 * 1024;

/// What one member says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A question; the answer bears its id. The caller has given up after `within`.
    Call {
        id: u64,
        call: Call,
        address: Address,
        within: Duration,
        payload: Bytes,
    },
    Answer {
        id: u64,
        payload: Bytes,
    },
    /// Instead of an answer; of a stream of appends, with the id 0.
    Failure {
        id: u64,
        failure: Failure,
    },
    /// Begins a stream of appends.
    Open(Address),
    Opened,
    Append(Bytes),
    /// The answer to the first append that has none.
    Appended(Bytes),
    /// This side's half of the stream of appends is over. After both halves the connection may open another.
    End,
    /// Each side says this every second, also while it has nothing to say.
    Alive,
}

/// A [`PeerError`] on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Unreachable(String),
    Timeout,
    Refused(String),
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum FrameError {
    #[error("a frame announces {0} bytes")]
    Length(usize),
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    #[error("a frame of kind {0} has other fields than it should")]
    Fields(u8),
}

mod kind {
    pub(super) const CALL: u8 = 1;
    pub(super) const ANSWER: u8 = 2;
    pub(super) const FAILURE: u8 = 3;
    pub(super) const OPEN: u8 = 4;
    pub(super) const OPENED: u8 = 5;
    pub(super) const APPEND: u8 = 6;
    pub(super) const APPENDED: u8 = 7;
    pub(super) const END: u8 = 8;
    pub(super) const ALIVE: u8 = 9;
}

/// A call's number is its place here.
const CALLS: [Call; 9] = [
    Call::Append,
    Call::Heartbeat,
    Call::Vote,
    Call::PreVote,
    Call::TransferLeader,
    Call::Forward,
    Call::ReadIndex,
    Call::Audit,
    Call::Introduce,
];

/// Bytes that arrive in pieces, and the frames in them.
#[derive(Default)]
pub(super) struct Decoder {
    arrived: BytesMut,
}

impl Decoder {
    /// Where to put what arrives next.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.arrived.capacity() - self.arrived.len() < READ_BYTES_MIN {
            self.arrived.reserve(READ_BYTES);
        }
        &mut self.arrived
    }

    /// The next frame, once all of it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(mut length) = self.arrived.get(..LENGTH_BYTES) else { return Ok(None) };
        let length = length.get_u32() as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        if self.arrived.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.arrived.advance(LENGTH_BYTES);
        let mut frame = self.arrived.split_to(length).freeze();
        let kind = frame.get_u8();
        read(kind, frame).map(Some)
    }

    /// Whether [`Frame::End`] has arrived and is the next one; then it is taken.
    pub(super) fn takes_end(&mut self) -> bool {
        let is_next = self.arrived.starts_with(&[0, 0, 0, 1, kind::END]);
        if is_next {
            self.arrived.advance(LENGTH_BYTES + 1);
        }
        is_next
    }
}

fn read(kind: u8, body: Bytes) -> Result<Frame, FrameError> {
    let mut fields = Fields { kind, body };
    match kind {
        kind::CALL => {
            let id = fields.u64()?;
            let number = usize::from(fields.u8()?);
            let call = *CALLS.get(number).ok_or(FrameError::Fields(kind))?;
            let address = fields.address()?;
            let within = Duration::from_millis(fields.u64()?);
            Ok(Frame::Call { id, call, address, within, payload: fields.body })
        }
        kind::ANSWER => Ok(Frame::Answer { id: fields.u64()?, payload: fields.body }),
        kind::FAILURE => Ok(Frame::Failure { id: fields.u64()?, failure: fields.failure()? }),
        kind::OPEN => {
            let address = fields.address()?;
            fields.end(Frame::Open(address))
        }
        kind::OPENED => fields.end(Frame::Opened),
        kind::APPEND => Ok(Frame::Append(fields.body)),
        kind::APPENDED => Ok(Frame::Appended(fields.body)),
        kind::END => fields.end(Frame::End),
        kind::ALIVE => fields.end(Frame::Alive),
        _ => Err(FrameError::Kind(kind)),
    }
}

struct Fields {
    kind: u8,
    body: Bytes,
}

impl Fields {
    fn u8(&mut self) -> Result<u8, FrameError> {
        self.body.try_get_u8().map_err(|_| FrameError::Fields(self.kind))
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.body.try_get_u64().map_err(|_| FrameError::Fields(self.kind))
    }

    fn address(&mut self) -> Result<Address, FrameError> {
        let (cluster, from) = match self.u8()? {
            0 => (None, None),
            1 => (Some(self.u64()?), Some(self.u64()?)),
            _ => return Err(FrameError::Fields(self.kind)),
        };
        Ok(Address { cluster, from, to: Some(self.u64()?) })
    }

    fn failure(mut self) -> Result<Failure, FrameError> {
        let number = self.u8()?;
        let text = std::str::from_utf8(&self.body).map_err(|_| FrameError::Fields(self.kind))?;
        match number {
            0 => Ok(Failure::Unreachable(text.to_owned())),
            1 => self.end(Failure::Timeout),
            2 => Ok(Failure::Refused(text.to_owned())),
            _ => Err(FrameError::Fields(self.kind)),
        }
    }

    fn end<T>(&self, read: T) -> Result<T, FrameError> {
        if self.body.is_empty() { Ok(read) } else { Err(FrameError::Fields(self.kind)) }
    }
}

/// Appends the frame. A message must not be longer than [`MESSAGE_BYTES_MAX`]: nobody would read it.
pub(super) fn write(frame: &Frame, out: &mut Vec<u8>) {
    let begin = out.len();
    out.put_u32(0);
    match frame {
        Frame::Call { id, call, address, within, payload } => {
            out.put_u8(kind::CALL);
            out.put_u64(*id);
            out.put_u8(number(*call));
            write_address(address, out);
            out.put_u64(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
            out.put_slice(payload);
        }
        Frame::Answer { id, payload } => {
            out.put_u8(kind::ANSWER);
            out.put_u64(*id);
            out.put_slice(payload);
        }
        Frame::Failure { id, failure } => {
            let (number, text) = match failure {
                Failure::Unreachable(text) => (0, text.as_str()),
                Failure::Timeout => (1, ""),
                Failure::Refused(text) => (2, text.as_str()),
            };
            out.put_u8(kind::FAILURE);
            out.put_u64(*id);
            out.put_u8(number);
            out.put_slice(text.as_bytes());
        }
        Frame::Open(address) => {
            out.put_u8(kind::OPEN);
            write_address(address, out);
        }
        Frame::Opened => out.put_u8(kind::OPENED),
        Frame::Append(payload) => {
            out.put_u8(kind::APPEND);
            out.put_slice(payload);
        }
        Frame::Appended(payload) => {
            out.put_u8(kind::APPENDED);
            out.put_slice(payload);
        }
        Frame::End => out.put_u8(kind::END),
        Frame::Alive => out.put_u8(kind::ALIVE),
    }
    let length = u32::try_from(out.len() - begin - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Of a node without an identity there is only the receiver.
fn write_address(address: &Address, out: &mut Vec<u8>) {
    match (address.cluster, address.from) {
        (Some(cluster), Some(from)) => {
            out.put_u8(1);
            out.put_u64(cluster);
            out.put_u64(from);
        }
        (None, _) | (_, None) => out.put_u8(0),
    }
    out.put_u64(address.to.unwrap_or_default());
}

fn number(call: Call) -> u8 {
    match call {
        Call::Append => 0,
        Call::Heartbeat => 1,
        Call::Vote => 2,
        Call::PreVote => 3,
        Call::TransferLeader => 4,
        Call::Forward => 5,
        Call::ReadIndex => 6,
        Call::Audit => 7,
        Call::Introduce => 8,
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Unreachable(source) => Self::Unreachable(source.to_string()),
            PeerError::Timeout => Self::Timeout,
            PeerError::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl From<Failure> for PeerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(text) => Self::Unreachable(text.into()),
            Failure::Timeout => Self::Timeout,
            Failure::Refused(reason) => Self::Refused(reason),
        }
    }
}

#[cfg(test)]
mod tests;
