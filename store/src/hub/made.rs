//! What one revision changed, and the bytes that tell it: encoded once, by the first watch that sends it, and shared.

use std::sync::{Arc, OnceLock};

use base::Revision;
use bytes::{BufMut, Bytes};
use prost::Message as _;
use proto::mvccpb;

use crate::mvcc::request::{Event, EventKind, KeyValue};

/// What an event weighs in memory beside its keys and values.
const EVENT_BYTES: usize = 256;
/// Field 11 of a `WatchResponse`, length-delimited: an event.
const EVENT_TAG: u8 = 11 << 3 | 2;

#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Arc<Event>>,
    wire: OnceLock<Wire>,
}

/// The events as fields of a `WatchResponse`, one after the other, each with what its key held before.
#[derive(Debug)]
struct Wire {
    bytes: Bytes,
    events: Vec<Place>,
}

/// Where an event is in the bytes: tag and length, then the message, whose last field is `prev_kv`.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    message: usize,
    prev: usize,
    end: usize,
}

impl Made {
    pub(crate) fn new(revision: Revision, events: Vec<Arc<Event>>) -> Arc<Self> {
        Arc::new(Self { revision, events, wire: OnceLock::new() })
    }

    /// About what this takes in memory once it is encoded.
    pub(crate) fn weight(&self) -> usize {
        let size = |kv: &KeyValue| kv.key.len() + kv.value.len();
        let of = |event: &Arc<Event>| 2 * (size(&event.kv) + event.prev.as_ref().map_or(0, size));
        self.events.iter().map(|event| EVENT_BYTES + of(event)).sum()
    }

    fn wire(&self) -> &Wire {
        self.wire.get_or_init(|| Wire::of(&self.events))
    }
}

impl Wire {
    fn of(events: &[Arc<Event>]) -> Self {
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(events.len());
        for event in events {
            let message = message(event);
            let at = bytes.len();
            let length = message.encoded_len();
            bytes.reserve(length + 6);
            bytes.put_u8(EVENT_TAG);
            prost::encode_length_delimiter(length, &mut bytes).expect("a vector grows");
            let start = bytes.len();
            message.encode_raw(&mut bytes);
            let prev = message.prev_kv.as_ref().map_or(0, |prev| {
                let length = prev.encoded_len();
                1 + prost::length_delimiter_len(length) + length
            });
            places.push(Place { at, message: start, prev: bytes.len() - prev, end: bytes.len() });
        }
        Self { bytes: bytes.into(), events: places }
    }
}

fn message(event: &Event) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let key_value = |kv: &KeyValue| mvccpb::KeyValue {
        key: kv.key.clone(),
        value: kv.value.clone(),
        create_revision: kv.create_revision.get(),
        mod_revision: kv.mod_revision.get(),
        version: kv.version,
        lease: kv.lease.get(),
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(&event.kv)),
        prev_kv: event.prev.as_ref().map(key_value),
    }
}

/// The events of one revision that a watch is to hear of.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) made: Arc<Made>,
    which: Which,
}

#[derive(Clone, Debug)]
enum Which {
    All,
    /// By their places, in order.
    Some(Vec<usize>),
}

impl Piece {
    #[cfg(test)]
    pub(crate) fn all(made: &Arc<Made>) -> Self {
        Self { made: made.clone(), which: Which::All }
    }

    /// The first event of those to hear of is at this place; more may be added.
    pub(crate) fn starting(made: &Arc<Made>, place: usize) -> Self {
        let which = if made.events.len() == 1 { Which::All } else { Which::Some(vec![place]) };
        Self { made: made.clone(), which }
    }

    /// Adds a later place.
    pub(crate) fn add(&mut self, place: usize) {
        if let Which::Some(places) = &mut self.which {
            places.push(place);
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.made.revision
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        let (all, some) = match &self.which {
            Which::All => (0..self.made.events.len(), &[][..]),
            Which::Some(places) => (0..0, &places[..]),
        };
        all.chain(some.iter().copied())
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.places().map(|place| &self.made.events[place])
    }

    /// Leaves out what `wanted` does not want; `None` when nothing is left.
    pub(crate) fn filtered(self, wanted: impl Fn(&Event) -> bool) -> Option<Self> {
        let places: Vec<usize> = self.places().filter(|place| wanted(&self.made.events[*place])).collect();
        if places.is_empty() {
            return None;
        }
        let all = places.len() == self.made.events.len();
        Some(Self { made: self.made, which: if all { Which::All } else { Which::Some(places) } })
    }

    /// Splits into pieces of about `bytes_max`, an event at least.
    pub(crate) fn split(self, prev: bool, bytes_max: usize) -> Vec<Self> {
        let wire = self.made.wire();
        let mut parts: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for place in self.places() {
            let size = wire.events[place].len(prev);
            match parts.last_mut() {
                Some(part) if size <= room => part.push(place),
                Some(_) | None => {
                    room = bytes_max;
                    parts.push(vec![place]);
                }
            }
            room = room.saturating_sub(size);
        }
        let part = |places| Self { made: self.made.clone(), which: Which::Some(places) };
        parts.into_iter().map(part).collect()
    }

    /// How many bytes [`Piece::put`] writes.
    pub(crate) fn encoded_len(&self, prev: bool) -> usize {
        let wire = self.made.wire();
        match self.which {
            Which::All if prev => wire.bytes.len(),
            Which::All | Which::Some(_) => self.places().map(|place| wire.events[place].len(prev)).sum(),
        }
    }

    /// Writes the events as fields of a `WatchResponse`.
    pub(crate) fn put(&self, prev: bool, into: &mut impl BufMut) {
        let wire = self.made.wire();
        if prev && matches!(self.which, Which::All) {
            into.put_slice(&wire.bytes);
            return;
        }
        for place in self.places() {
            let Place { at, message, prev: before, end } = wire.events[place];
            if prev || before == end {
                into.put_slice(&wire.bytes[at..end]);
            } else {
                into.put_u8(EVENT_TAG);
                prost::encode_length_delimiter(before - message, into).expect("a buffer grows");
                into.put_slice(&wire.bytes[message..before]);
            }
        }
    }
}

impl Place {
    fn len(&self, prev: bool) -> usize {
        if prev {
            return self.end - self.at;
        }
        let length = self.prev - self.message;
        1 + prost::length_delimiter_len(length) + length
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb as pb;

    use super::*;

    fn event(key: &'static str, size: usize, prev: Option<usize>) -> Arc<Event> {
        let kv = |size| KeyValue {
            key: key.into(),
            value: vec![7; size].into(),
            mod_revision: Revision::new(9),
            version: 3,
            ..KeyValue::default()
        };
        let kind = if size == 0 { EventKind::Delete } else { EventKind::Put };
        Arc::new(Event { kind, kv: kv(size), prev: prev.map(kv) })
    }

    fn decoded(piece: &Piece, prev: bool) -> Vec<mvccpb::Event> {
        let mut bytes = Vec::new();
        piece.put(prev, &mut bytes);
        assert_eq!(bytes.len(), piece.encoded_len(prev));
        pb::WatchResponse::decode(&bytes[..]).expect("a response").events
    }

    #[test]
    fn the_shared_bytes_say_what_a_message_of_its_own_would() {
        let events = vec![event("a", 300, Some(200)), event("b", 1, None), event("c", 0, Some(20_000))];
        let made = Made::new(Revision::new(9), events.clone());
        for prev in [true, false] {
            let expected = |event: &Arc<Event>| {
                let message = message(event);
                mvccpb::Event { prev_kv: message.prev_kv.filter(|_| prev), ..message }
            };
            let expected: Vec<_> = events.iter().map(expected).collect();
            assert_eq!(decoded(&Piece::all(&made), prev), expected);
            let mut some = Piece::starting(&made, 0);
            some.add(2);
            assert_eq!(decoded(&some, prev), [expected[0].clone(), expected[2].clone()]);
        }
    }

    #[test]
    fn a_piece_is_filtered_and_split_at_events() {
        let events = vec![event("a", 600, None), event("b", 600, None), event("c", 10, None)];
        let piece = Piece::all(&Made::new(Revision::new(9), events));
        let keys = |piece: &Piece| piece.events().map(|event| event.kv.key.clone()).collect::<Vec<_>>();
        let split = |bytes_max| piece.clone().split(false, bytes_max).iter().map(keys).collect::<Vec<_>>();
        assert_eq!(split(1000), [vec!["a"], vec!["b", "c"]]);
        assert_eq!(split(1), [vec!["a"], vec!["b"], vec!["c"]]);
        assert_eq!(split(usize::MAX), [vec!["a", "b", "c"]]);
        let some = piece.clone().filtered(|event| event.kv.key != "b").expect("two");
        assert_eq!(keys(&some), ["a", "c"]);
        assert!(piece.filtered(|_| false).is_none());
    }
}
