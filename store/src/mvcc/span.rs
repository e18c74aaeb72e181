//! Which keys a request means: one key, a half-open interval, or everything from a key on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An interval of keys, in byte order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub start: Bytes,
    pub end: End,
}

/// Where a [`Span`] ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum End {
    /// Only the start key itself.
    Single,
    /// Every key below this one.
    Before(Bytes),
    /// Every key from the start on.
    Unbounded,
}

impl Span {
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: End::Single }
    }

    /// Every key that starts with `prefix`; the empty prefix means every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                End::Before(end.into())
            }
            None => End::Unbounded,
        };
        Self { start, end }
    }

    /// `start <= key < end`.
    pub fn range(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: End::Before(end.into()) }
    }

    pub fn all() -> Self {
        Self { start: Bytes::new(), end: End::Unbounded }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start,
            End::Before(end) => key >= &self.start[..] && key < &end[..],
            End::Unbounded => key >= &self.start[..],
        }
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        match &self.end {
            End::Single | End::Unbounded => false,
            End::Before(end) => end <= &self.start,
        }
    }

    pub fn is_single(&self) -> bool {
        matches!(self.end, End::Single)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_its_successor() {
        assert_eq!(Span::prefix("a/").end, End::Before("a0".into()));
        assert_eq!(Span::prefix(&b"a\xff\xff"[..]).end, End::Before("b".into()));
        assert_eq!(Span::prefix(&b"\xff"[..]).end, End::Unbounded);
        assert_eq!(Span::prefix("").end, End::Unbounded);
    }

    #[test]
    fn contains_is_half_open() {
        let span = Span::range("b", "d");
        assert!(!span.contains(b"a") && span.contains(b"b") && span.contains(b"czz") && !span.contains(b"d"));
        assert!(Span::range("b", "b").is_empty());
        assert!(Span::key("b").contains(b"b") && !Span::key("b").contains(b"b0"));
    }
}
