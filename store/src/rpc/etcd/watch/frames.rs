//! Turns what a watch found into the responses that carry it. Pure.

use base::Revision;
use bytes::BufMut;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;

use crate::hub::Piece;
use crate::{Event, EventKind};

/// Kinds of events that a watch does not want.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filters {
    puts: bool,
    deletes: bool,
}

impl Filters {
    /// Unknown filters are ignored, as in etcd.
    pub(super) fn of(filters: &[i32]) -> Self {
        let has = |kind: FilterType| filters.contains(&kind.into());
        Self { puts: has(FilterType::Noput), deletes: has(FilterType::Nodelete) }
    }

    fn apply(self, piece: Piece) -> Option<Piece> {
        if !self.puts && !self.deletes {
            return Some(piece);
        }
        piece.filtered(|event: &Event| match event.kind {
            EventKind::Put => !self.puts,
            EventKind::Delete => !self.deletes,
        })
    }
}

/// How a watch wants to be told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    pub(super) filters: Filters,
    pub(super) prev_kv: bool,
    /// The events of one revision may be split.
    pub(super) fragment: bool,
}

/// A response that is about to be sent.
#[derive(Debug)]
pub(super) enum Frame {
    Plain(Box<pb::WatchResponse>),
    Events {
        /// Everything but the events.
        head: Box<pb::WatchResponse>,
        prev_kv: bool,
        pieces: Vec<Piece>,
    },
}

impl From<pb::WatchResponse> for Frame {
    fn from(response: pb::WatchResponse) -> Self {
        Self::Plain(Box::new(response))
    }
}

impl Frame {
    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Plain(response) => response.encoded_len(),
            Self::Events { head, prev_kv, pieces } => {
                let events = pieces.iter().map(|piece| piece.encoded_len(*prev_kv));
                head.encoded_len() + events.sum::<usize>()
            }
        }
    }

    pub(super) fn put(&self, into: &mut impl BufMut) {
        match self {
            Self::Plain(response) => response.encode_raw(into),
            Self::Events { head, prev_kv, pieces } => {
                head.encode_raw(into);
                pieces.iter().for_each(|piece| piece.put(*prev_kv, into));
            }
        }
    }
}

/// What one response carries, about: etcd's limit for a request. Only a single revision, or event, may be larger.
pub(super) const RESPONSE_BYTES_MAX: usize = 1536 * 1024;

/// One response, or several of at most `bytes_max` where single revisions allow (single events, if the watch lets its
/// revisions be split); none if all is filtered. `head` makes all of a response but its events: it is handed the
/// revision that the response reaches.
pub(super) fn responses(
    pieces: Vec<Piece>,
    manner: Manner,
    bytes_max: usize,
    head: impl Fn(Revision) -> pb::WatchResponse,
) -> Vec<Frame> {
    let prev_kv = manner.prev_kv;
    let mut frames = Vec::new();
    let mut waiting: Vec<Piece> = Vec::new();
    let mut room = bytes_max;
    let flush = |frames: &mut Vec<Frame>, waiting: &mut Vec<Piece>, fragment: bool| {
        if let Some(last) = waiting.last() {
            let head = Box::new(pb::WatchResponse { fragment, ..head(last.revision()) });
            frames.push(Frame::Events { head, prev_kv, pieces: std::mem::take(waiting) });
        }
    };
    for piece in pieces.into_iter().filter_map(|piece| manner.filters.apply(piece)) {
        let size = piece.encoded_len(prev_kv);
        if size > room {
            flush(&mut frames, &mut waiting, false);
            room = bytes_max;
        }
        if size <= bytes_max || !manner.fragment {
            room = room.saturating_sub(size);
            waiting.push(piece);
            continue;
        }
        let mut parts = piece.split(prev_kv, bytes_max).into_iter().peekable();
        while let Some(part) = parts.next() {
            waiting.push(part);
            flush(&mut frames, &mut waiting, parts.peek().is_some());
        }
    }
    flush(&mut frames, &mut waiting, false);
    frames
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::KeyValue;
    use crate::hub::Made;

    fn piece(revision: i64, events: &[(&'static str, usize)]) -> Piece {
        let event = |(key, size): &(&'static str, usize)| {
            let kv = KeyValue {
                key: Bytes::from(*key),
                value: Bytes::from(vec![0; *size]),
                mod_revision: Revision::new(revision),
                ..KeyValue::default()
            };
            let kind = if *size == 0 { EventKind::Delete } else { EventKind::Put };
            Arc::new(Event { kind, kv, prev: None })
        };
        Piece::all(&Made::new(Revision::new(revision), events.iter().map(event).collect()))
    }

    /// `revision: keys`, with a `+` where more of the revision follows.
    fn told(pieces: &[Piece], manner: Manner, bytes_max: usize) -> Vec<String> {
        let head = |revision: Revision| pb::WatchResponse {
            header: Some(pb::ResponseHeader { revision: revision.get(), ..Default::default() }),
            ..Default::default()
        };
        let tell = |frame: &Frame| {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            assert_eq!(bytes.len(), frame.encoded_len());
            let response = pb::WatchResponse::decode(&bytes[..]).unwrap();
            let keys = response.events.iter().flat_map(|event| event.kv.as_ref().unwrap().key.to_vec());
            let keys = String::from_utf8(keys.collect()).unwrap();
            format!(
                "{}: {keys}{}",
                response.header.unwrap().revision,
                if response.fragment { "+" } else { "" }
            )
        };
        responses(pieces.to_vec(), manner, bytes_max, head).iter().map(tell).collect()
    }

    #[test]
    fn several_revisions_share_a_response_but_none_is_split_unless_it_may_be() {
        let pieces = [
            piece(7, &[("a", 300)]),
            piece(8, &[("b", 300)]),
            piece(9, &[("c", 600), ("d", 600), ("e", 10)]),
            piece(10, &[("f", 300)]),
        ];
        let whole = Manner::default();
        assert_eq!(told(&pieces, whole, usize::MAX), ["10: abcdef"]);
        assert_eq!(told(&pieces, whole, 1000), ["8: ab", "9: cde", "10: f"]);
        let split = Manner { fragment: true, ..whole };
        assert_eq!(told(&pieces, split, 1000), ["8: ab", "9: c+", "9: de", "10: f"]);
        assert_eq!(told(&pieces[2..3], split, 1), ["9: c+", "9: d+", "9: e"]);
    }

    #[test]
    fn filtered_events_are_not_sent() {
        let pieces = [piece(7, &[("a", 1), ("b", 0)]), piece(8, &[("c", 1)])];
        let told = |filters: &[FilterType]| {
            let filters: Vec<i32> = filters.iter().map(|filter| i32::from(*filter)).collect();
            told(&pieces, Manner { filters: Filters::of(&filters), ..Manner::default() }, 1000)
        };
        assert_eq!(told(&[FilterType::Noput]), ["7: b"]);
        assert_eq!(told(&[FilterType::Nodelete]), ["8: ac"]);
        assert!(told(&[FilterType::Noput, FilterType::Nodelete]).is_empty());
    }
}
