//! Which of many spans hold a key, without looking at each of them.
//!
//! Single keys and prefixes are looked up; other intervals are walked, those that start beyond the key excepted. Equal
//! spans share one place, so the cost of a key is that of the *different* spans.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::mvcc::span::{End, Span};

/// Things filed under spans.
#[derive(Clone, Debug)]
pub(crate) struct Spans<T> {
    keys: BTreeMap<Bytes, T>,
    /// By the length of the prefix.
    prefixes: BTreeMap<usize, BTreeMap<Bytes, T>>,
    /// By start, then by end; `None` is beyond every key.
    ranges: BTreeMap<Bytes, BTreeMap<Option<Bytes>, T>>,
}

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), prefixes: BTreeMap::new(), ranges: BTreeMap::new() }
    }
}

impl<T: Default> Spans<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty() && self.ranges.is_empty()
    }

    /// What is filed under `span`.
    pub(crate) fn entry(&mut self, span: &Span) -> &mut T {
        let start = span.start.clone();
        match Place::of(span) {
            Place::Key => self.keys.entry(start).or_default(),
            Place::Prefix => self.prefixes.entry(start.len()).or_default().entry(start).or_default(),
            Place::Range(end) => self.ranges.entry(start).or_default().entry(end).or_default(),
        }
    }

    /// Changes what is filed under `span`, and forgets the span when `f` says that nothing is left.
    pub(crate) fn prune(&mut self, span: &Span, f: impl FnOnce(&mut T) -> bool) {
        match Place::of(span) {
            Place::Key => prune_in(&mut self.keys, &span.start, f),
            Place::Prefix => {
                prune_in(&mut self.prefixes, &span.start.len(), |same| {
                    prune_in(same, &span.start, f);
                    same.is_empty()
                });
            }
            Place::Range(end) => {
                prune_in(&mut self.ranges, &span.start, |ends| {
                    prune_in(ends, &end, f);
                    ends.is_empty()
                });
            }
        }
    }

    /// Everything that is filed.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        let prefixes = self.prefixes.values().flat_map(BTreeMap::values);
        let ranges = self.ranges.values().flat_map(BTreeMap::values);
        self.keys.values().chain(prefixes).chain(ranges)
    }

    /// Everything that is filed under a span which holds `key`.
    pub(crate) fn at<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a T> {
        let prefixes = self.prefixes.iter().take_while(|(length, _)| **length <= key.len());
        let starts = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let ranges = starts.flat_map(|(_, ends)| ends);
        let holds = move |end: &Option<Bytes>| end.as_ref().is_none_or(|end| key < &end[..]);
        self.keys
            .get(key)
            .into_iter()
            .chain(prefixes.filter_map(|(length, same)| same.get(&key[..*length])))
            .chain(ranges.filter(move |(end, _)| holds(end)).map(|(_, filed)| filed))
    }
}

enum Place {
    Key,
    Prefix,
    Range(Option<Bytes>),
}

impl Place {
    fn of(span: &Span) -> Self {
        match &span.end {
            End::Single => Self::Key,
            End::Before(_) | End::Unbounded if *span == Span::prefix(span.start.clone()) => Self::Prefix,
            End::Before(end) => Self::Range(Some(end.clone())),
            End::Unbounded => Self::Range(None),
        }
    }
}

fn prune_in<K: Ord, T>(map: &mut BTreeMap<K, T>, key: &K, f: impl FnOnce(&mut T) -> bool) {
    if map.get_mut(key).is_some_and(f) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span() -> impl Strategy<Value = Span> {
        let bytes = || proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..4);
        prop_oneof![
            bytes().prop_map(Span::key),
            bytes().prop_map(Span::prefix),
            (bytes(), bytes()).prop_map(|(start, end)| Span::range(start, end)),
            bytes().prop_map(|start| Span { start: start.into(), end: End::Unbounded }),
        ]
    }

    proptest! {
        /// The index finds what looking at every span would find, also after some were removed.
        #[test]
        fn finds_what_a_walk_finds(
            spans in proptest::collection::vec((span(), any::<bool>()), 0..30),
            keys in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..5), 1..20),
        ) {
            let mut index: Spans<Vec<usize>> = Spans::default();
            for (at, (span, _)) in spans.iter().enumerate() {
                index.entry(span).push(at);
            }
            for (at, (span, removed)) in spans.iter().enumerate() {
                if *removed {
                    index.prune(span, |filed| {
                        filed.retain(|one| *one != at);
                        filed.is_empty()
                    });
                }
            }
            for key in keys {
                let mut found: Vec<usize> = index.at(&key).flatten().copied().collect();
                found.sort_unstable();
                let walked = spans.iter().enumerate().filter(|(_, (span, removed))| !removed && span.contains(&key));
                let walked: Vec<usize> = walked.map(|(at, _)| at).collect();
                prop_assert_eq!(found, walked);
            }
            prop_assert_eq!(index.is_empty(), spans.iter().all(|(_, removed)| *removed));
        }
    }
}
