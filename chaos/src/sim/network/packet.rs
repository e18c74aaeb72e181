//! What members say to each other, as bytes: calls and their answers, streams of appends and theirs.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use store::{Call, PeerError};

#[derive(Debug)]
pub(super) enum Packet {
    Question {
        id: u64,
        question: Question,
        /// The node that is meant: another one may live at its address by now.
        to: u64,
        within: Duration,
        payload: Bytes,
    },
    Answer {
        id: u64,
        answer: Result<Bytes, PeerError>,
    },
    Append {
        stream: u64,
        number: u64,
        payload: Bytes,
    },
    Appended {
        stream: u64,
        number: u64,
        answer: Result<Bytes, PeerError>,
    },
    /// The asked side has given as many answers and gives no more.
    Ended {
        stream: u64,
        answers: u64,
    },
    /// The asking side listens no more.
    Gone {
        stream: u64,
    },
}

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Call(Call),
    /// Opens the stream of appends that bears the question's number.
    Open,
    /// The payload is a snapshot with everything in it.
    Snapshot,
}

const QUESTIONS: [Question; 11] = [
    Question::Call(Call::Append),
    Question::Call(Call::Heartbeat),
    Question::Call(Call::Vote),
    Question::Call(Call::PreVote),
    Question::Call(Call::TransferLeader),
    Question::Call(Call::Forward),
    Question::Call(Call::ReadIndex),
    Question::Call(Call::Audit),
    Question::Call(Call::Introduce),
    Question::Open,
    Question::Snapshot,
];

impl Packet {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Question { id, question, to, within, payload } => {
                out.put_u8(0);
                out.put_u64(*id);
                out.put_u64(*to);
                let place = QUESTIONS.iter().position(|one| one == question).unwrap_or_default();
                out.put_u8(u8::try_from(place).unwrap_or_default());
                out.put_u64(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
                out.put_slice(payload);
            }
            Self::Answer { id, answer } => {
                out.put_u8(1);
                out.put_u64(*id);
                encode_answer(answer, out);
            }
            Self::Append { stream, number, payload } => {
                out.put_u8(2);
                out.put_u64(*stream);
                out.put_u64(*number);
                out.put_slice(payload);
            }
            Self::Appended { stream, number, answer } => {
                out.put_u8(3);
                out.put_u64(*stream);
                out.put_u64(*number);
                encode_answer(answer, out);
            }
            Self::Ended { stream, answers } => {
                out.put_u8(4);
                out.put_u64(*stream);
                out.put_u64(*answers);
            }
            Self::Gone { stream } => {
                out.put_u8(5);
                out.put_u64(*stream);
            }
        }
    }

    /// None of what no member has sent.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        let id = bytes.try_get_u64().ok()?;
        Some(match kind {
            0 => {
                let to = bytes.try_get_u64().ok()?;
                let question = *QUESTIONS.get(usize::from(bytes.try_get_u8().ok()?))?;
                let within = Duration::from_millis(bytes.try_get_u64().ok()?);
                Self::Question { id, question, to, within, payload: bytes }
            }
            1 => Self::Answer { id, answer: decode_answer(bytes)? },
            2 => Self::Append { stream: id, number: bytes.try_get_u64().ok()?, payload: bytes },
            3 => {
                let number = bytes.try_get_u64().ok()?;
                Self::Appended { stream: id, number, answer: decode_answer(bytes)? }
            }
            4 => Self::Ended { stream: id, answers: bytes.try_get_u64().ok()? },
            5 => Self::Gone { stream: id },
            _ => return None,
        })
    }
}

fn encode_answer(answer: &Result<Bytes, PeerError>, out: &mut BytesMut) {
    let (kind, text) = match answer {
        Ok(payload) => {
            out.put_u8(0);
            return out.put_slice(payload);
        }
        Err(PeerError::Unreachable(source)) => (1, source.to_string()),
        Err(PeerError::Timeout) => (2, String::new()),
        Err(PeerError::Refused(reason)) => (3, reason.clone()),
    };
    out.put_u8(kind);
    out.put_slice(text.as_bytes());
}

fn decode_answer(mut bytes: Bytes) -> Option<Result<Bytes, PeerError>> {
    let kind = bytes.try_get_u8().ok()?;
    let text = || String::from_utf8_lossy(&bytes).into_owned();
    Some(match kind {
        0 => Ok(bytes),
        1 => Err(PeerError::Unreachable(text().into())),
        2 => Err(PeerError::Timeout),
        3 => Err(PeerError::Refused(text())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let payload = || Bytes::from_static(b"payload");
        let mut packets: Vec<Packet> = QUESTIONS
            .into_iter()
            .map(|question| Packet::Question {
                id: 7,
                question,
                to: 3,
                within: Duration::from_millis(350),
                payload: payload(),
            })
            .collect();
        let failures = || {
            let refused = PeerError::Refused("not I".to_owned());
            [PeerError::Unreachable("gone".into()), PeerError::Timeout, refused]
        };
        packets.extend(failures().map(|failure| Packet::Answer { id: 1, answer: Err(failure) }));
        packets.extend(failures().map(|failure| Packet::Appended {
            stream: 1,
            number: 2,
            answer: Err(failure),
        }));
        packets.push(Packet::Answer { id: 1, answer: Ok(payload()) });
        packets.push(Packet::Append { stream: 3, number: 9, payload: payload() });
        packets.push(Packet::Ended { stream: 3, answers: 4 });
        packets.push(Packet::Gone { stream: 3 });
        for packet in packets {
            let mut bytes = BytesMut::new();
            packet.encode(&mut bytes);
            let arrived = Packet::decode(bytes.freeze()).expect("it can be read");
            assert_eq!(format!("{arrived:?}"), format!("{packet:?}"));
        }
    }

    #[test]
    fn what_nobody_sent_is_not_understood() {
        for bytes in [&b""[..], &[9; 30], &[0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 1, 9]] {
            assert!(Packet::decode(Bytes::copy_from_slice(bytes)).is_none(), "{bytes:?}");
        }
    }
}
