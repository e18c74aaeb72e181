//! Turns the events of one revision into the responses that carry them. Pure.

use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::mvccpb;

use super::super::convert;
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

    fn wants(self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put => !self.puts,
            EventKind::Delete => !self.deletes,
        }
    }
}

/// What one response may carry when the client lets its responses be split.
pub(super) const FRAGMENT_BYTES_MAX: usize = 1536 * 1024;

/// One response, or several fragments of at most `bytes_max` where a single event allows; none if all is filtered.
/// Headers are the caller's.
pub(super) fn responses(
    watch_id: i64,
    events: &[std::sync::Arc<Event>],
    filters: Filters,
    bytes_max: Option<usize>,
) -> Vec<pb::WatchResponse> {
    let events = events.iter().filter(|event| filters.wants(event)).map(|event| convert::event(event));
    let mut parts: Vec<Vec<mvccpb::Event>> = Vec::new();
    let mut room = 0;
    for event in events {
        let size = event.encoded_len();
        match parts.last_mut() {
            Some(part) if bytes_max.is_none() || size <= room => part.push(event),
            _ => {
                room = bytes_max.unwrap_or(usize::MAX);
                parts.push(vec![event]);
            }
        }
        room = room.saturating_sub(size);
    }
    let last = parts.len().saturating_sub(1);
    let response = |(at, events)| pb::WatchResponse {
        watch_id,
        events,
        fragment: at < last,
        ..pb::WatchResponse::default()
    };
    parts.into_iter().enumerate().map(response).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::Revision;
    use bytes::Bytes;

    use super::*;
    use crate::KeyValue;

    fn event(kind: EventKind, key: &'static str, bytes: usize) -> Arc<Event> {
        let kv = KeyValue {
            key: Bytes::from(key),
            value: Bytes::from(vec![0; bytes]),
            mod_revision: Revision::new(7),
            ..KeyValue::default()
        };
        Arc::new(Event { kind, kv, prev: None })
    }

    fn keys(responses: &[pb::WatchResponse]) -> Vec<(String, bool)> {
        let key = |event: &mvccpb::Event| {
            event.kv.as_ref().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).unwrap_or_default()
        };
        responses.iter().map(|one| (one.events.iter().map(key).collect(), one.fragment)).collect()
    }

    #[test]
    fn a_revision_is_one_response_unless_it_may_be_split() {
        let events = [
            event(EventKind::Put, "a", 600),
            event(EventKind::Put, "b", 600),
            event(EventKind::Put, "c", 10),
        ];
        let whole = responses(1, &events, Filters::default(), None);
        assert_eq!(keys(&whole), [("abc".to_owned(), false)]);
        let split = responses(1, &events, Filters::default(), Some(1000));
        assert_eq!(keys(&split), [("a".to_owned(), true), ("bc".to_owned(), false)]);
        let tiny = responses(1, &events, Filters::default(), Some(1));
        assert_eq!(keys(&tiny), [("a".to_owned(), true), ("b".to_owned(), true), ("c".to_owned(), false)]);
    }

    #[test]
    fn filtered_events_are_not_sent() {
        let events = [event(EventKind::Put, "a", 1), event(EventKind::Delete, "b", 0)];
        let no_puts = Filters::of(&[FilterType::Noput.into()]);
        assert_eq!(keys(&responses(1, &events, no_puts, None)), [("b".to_owned(), false)]);
        let nothing = Filters::of(&[FilterType::Noput.into(), FilterType::Nodelete.into()]);
        assert!(responses(1, &events, nothing, None).is_empty());
    }
}
