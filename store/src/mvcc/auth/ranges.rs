//! A set of keys as merged intervals, so that a span which several permissions cover together is covered.

use std::cmp::Ordering;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::mvcc::span::{End, Span};

/// Half-open intervals in order, with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    intervals: Vec<Interval>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Bytes,
    /// `None`: every key from the start on.
    end: Option<Bytes>,
}

impl Interval {
    fn of(span: &Span) -> Self {
        let end = match &span.end {
            End::Single => Some(successor(&span.start)),
            End::Before(end) => Some(end.clone()),
            End::Unbounded => None,
        };
        // No key is empty, so the lowest bound there is stands for both.
        let start = if span.start.is_empty() { Bytes::from_static(&[0]) } else { span.start.clone() };
        Self { start, end }
    }
}

impl Ranges {
    pub(crate) fn add(&mut self, span: &Span) {
        let mut added = Interval::of(span);
        if added.end.as_ref().is_some_and(|end| *end <= added.start) {
            return;
        }
        // Everything that the new interval overlaps or touches becomes part of it.
        let from = self.intervals.partition_point(|one| ends_before(one, &added.start));
        let to = self.intervals.partition_point(|one| !starts_after(one, added.end.as_ref()));
        for one in self.intervals.drain(from..to) {
            added.start = added.start.min(one.start);
            if later(one.end.as_ref(), added.end.as_ref()) == Ordering::Greater {
                added.end = one.end;
            }
        }
        self.intervals.insert(from, added);
    }

    /// Whether every key of the span is inside.
    pub(crate) fn cover(&self, span: &Span) -> bool {
        let asked = Interval::of(span);
        let at = self.intervals.partition_point(|one| one.start <= asked.start);
        let Some(one) = at.checked_sub(1).and_then(|at| self.intervals.get(at)) else { return false };
        one.end.as_ref().is_none_or(|end| *end > asked.start)
            && later(one.end.as_ref(), asked.end.as_ref()) != Ordering::Less
    }
}

/// The lowest key above `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(key.len() + 1);
    out.put_slice(key);
    out.put_u8(0);
    out.freeze()
}

fn ends_before(one: &Interval, start: &Bytes) -> bool {
    one.end.as_ref().is_some_and(|end| end < start)
}

fn starts_after(one: &Interval, end: Option<&Bytes>) -> bool {
    end.is_some_and(|end| one.start > *end)
}

/// Compares two ends, of which `None` is the highest.
fn later(one: Option<&Bytes>, other: Option<&Bytes>) -> Ordering {
    match (one, other) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(spans: &[Span]) -> Ranges {
        let mut ranges = Ranges::default();
        spans.iter().for_each(|span| ranges.add(span));
        ranges
    }

    #[test]
    fn permissions_that_touch_cover_a_span_together() {
        let two = ranges(&[Span::range("a", "c"), Span::range("c", "e"), Span::key("k")]);
        assert_eq!(two.intervals.len(), 2);
        assert!(two.cover(&Span::range("b", "d")) && two.cover(&Span::key("k")));
        assert!(!two.cover(&Span::range("d", "f")) && !two.cover(&Span::key("e")));
        assert!(!two.cover(&Span::range("k", "l")) && !two.cover(&Span::prefix("k")));
    }

    #[test]
    fn a_key_and_its_successor_are_neighbours() {
        let pair = ranges(&[Span::key("a"), Span::key(&b"a\0"[..])]);
        assert!(pair.cover(&Span::range("a", &b"a\0\0"[..])));
    }

    #[test]
    fn from_a_key_on_means_every_key_above() {
        let above = ranges(&[Span { start: "m".into(), end: End::Unbounded }]);
        assert!(above.cover(&Span::prefix("z")) && above.cover(&Span::key(&b"\xff\xff"[..])));
        assert!(!above.cover(&Span::all()) && !above.cover(&Span::key("l")));
        assert!(ranges(&[Span::prefix("")]).cover(&Span::all()));
    }

    fn spans() -> impl Strategy<Value = Span> {
        let key = || proptest::collection::vec(0u8..4, 1..3);
        prop_oneof![
            key().prop_map(Span::key),
            (key(), key()).prop_map(|(start, end)| Span::range(start, end)),
            key().prop_map(|start| Span { start: start.into(), end: End::Unbounded }),
        ]
    }

    proptest! {
        /// Keys of up to three small bytes stand for all keys: an interval ends at such a key or at none.
        #[test]
        fn a_span_is_covered_when_each_of_its_keys_is(
            granted in proptest::collection::vec(spans(), 0..6),
            asked in spans(),
        ) {
            let all = ranges(&granted);
            let mut keys = vec![vec![]];
            for length in 0..3 {
                let longer: Vec<Vec<u8>> = keys.iter().filter(|key| key.len() == length)
                    .flat_map(|key| (0u8..5).map(move |byte| [&key[..], &[byte]].concat())).collect();
                keys.extend(longer);
            }
            let mut inside = keys.iter().filter(|key| !key.is_empty() && asked.contains(key)).peekable();
            prop_assume!(inside.peek().is_some());
            let each = inside.all(|key| granted.iter().any(|span| span.contains(key)));
            prop_assert_eq!(all.cover(&asked), each);
        }
    }
}
