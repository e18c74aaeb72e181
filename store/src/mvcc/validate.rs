//! What can be refused before a transaction is proposed: shapes that no state could make valid.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::request::{Op, Put, Txn};
use super::span::{End, Span};
use crate::error::StoreError;
use crate::limits::Limits;

/// Checks sizes, empty keys, contradicting flags, and that no path changes a key twice.
pub(crate) fn check(txn: &Txn, limits: &Limits) -> Result<(), StoreError> {
    let size = txn_bytes(txn);
    if size > limits.request_bytes_max {
        return Err(StoreError::TooLarge { size, limit: limits.request_bytes_max });
    }
    check_shape(txn, limits.txn_ops_max, limits)?;
    paths(&txn.success)?;
    paths(&txn.failure)?;
    Ok(())
}

/// Whether nothing in it can change a key.
pub(crate) fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Range(_) => true,
        Op::Put(_) | Op::Delete(_) => false,
        Op::Txn(inner) => is_read_only(inner),
    })
}

/// Whether it may be answered from what this node has applied: it has ranges, and each of them says so. Comparisons
/// alone are a question of which nobody has said that an old answer will do.
pub(crate) fn is_serializable(txn: &Txn) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure).peekable();
    let asks = ops.peek().is_some();
    asks && ops.all(|op| match op {
        Op::Range(range) => range.serializable,
        Op::Put(_) | Op::Delete(_) => false,
        Op::Txn(inner) => is_serializable(inner),
    })
}

fn check_shape(txn: &Txn, ops_max: usize, limits: &Limits) -> Result<(), StoreError> {
    let ops = txn.compares.len().max(txn.success.len()).max(txn.failure.len());
    if ops > ops_max {
        return Err(StoreError::TooManyOps { limit: limits.txn_ops_max });
    }
    for compare in &txn.compares {
        check_span(&compare.span)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(range) => check_span(&range.span)?,
            Op::Put(put) => check_put(put)?,
            Op::Delete(delete) => check_span(&delete.span)?,
            Op::Txn(inner) => check_shape(inner, ops_max - ops, limits)?,
        }
    }
    Ok(())
}

pub(crate) fn check_span(span: &Span) -> Result<(), StoreError> {
    if span.is_single() && span.start.is_empty() { Err(StoreError::EmptyKey) } else { Ok(()) }
}

fn check_put(put: &Put) -> Result<(), StoreError> {
    if put.key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    if put.ignore_value && !put.value.is_empty() {
        return Err(StoreError::ValueProvided);
    }
    if put.ignore_lease && !put.lease.is_none() {
        return Err(StoreError::LeaseProvided);
    }
    Ok(())
}

/// What one path through a transaction touches.
#[derive(Default)]
struct Touched {
    puts: BTreeSet<Bytes>,
    deletes: Vec<Span>,
}

impl Touched {
    fn overlaps(&self, other: &Self) -> bool {
        let deleted = |puts: &BTreeSet<Bytes>, deletes: &[Span]| {
            deletes.iter().any(|span| first_inside(puts, span).is_some())
        };
        self.puts.intersection(&other.puts).next().is_some()
            || deleted(&self.puts, &other.deletes)
            || deleted(&other.puts, &self.deletes)
    }

    fn absorb(&mut self, other: Self) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

fn first_inside<'a>(puts: &'a BTreeSet<Bytes>, span: &Span) -> Option<&'a Bytes> {
    match &span.end {
        End::Single => puts.get(&span.start),
        End::Before(_) | End::Unbounded => {
            puts.range(span.start.clone()..).next().filter(|key| span.contains(key))
        }
    }
}

/// Everything the operations may touch. The two branches of an inner transaction may overlap each other.
fn paths(ops: &[Op]) -> Result<Touched, StoreError> {
    let mut all = Touched::default();
    for op in ops {
        let mut one = Touched::default();
        match op {
            Op::Range(_) => {}
            Op::Put(put) => {
                one.puts.insert(put.key.clone());
            }
            Op::Delete(delete) => one.deletes.push(delete.span.clone()),
            Op::Txn(inner) => {
                one = paths(&inner.success)?;
                one.absorb(paths(&inner.failure)?);
            }
        }
        if all.overlaps(&one) {
            return Err(StoreError::DuplicateKey);
        }
        all.absorb(one);
    }
    Ok(all)
}

fn txn_bytes(txn: &Txn) -> usize {
    let of_span = |span: &Span| {
        span.start.len()
            + match &span.end {
                End::Single | End::Unbounded => 0,
                End::Before(end) => end.len(),
            }
    };
    let of_op = |op: &Op| match op {
        Op::Range(range) => of_span(&range.span),
        Op::Put(put) => put.key.len() + put.value.len(),
        Op::Delete(delete) => of_span(&delete.span),
        Op::Txn(inner) => txn_bytes(inner),
    };
    txn.compares.iter().map(|compare| of_span(&compare.span)).sum::<usize>()
        + txn.success.iter().chain(&txn.failure).map(of_op).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::request::{Delete, Range};

    fn check(txn: &Txn) -> Result<(), StoreError> {
        super::check(txn, &Limits::default())
    }

    fn put(key: &'static str) -> Op {
        Op::Put(Put::of(key, "v"))
    }

    fn delete(start: &'static str, end: &'static str) -> Op {
        Op::Delete(Delete::of(Span::range(start, end)))
    }

    fn then(success: Vec<Op>) -> Txn {
        Txn { success, ..Txn::default() }
    }

    #[test]
    fn one_path_changes_a_key_once() {
        let twice = Err(StoreError::DuplicateKey);
        assert_eq!(check(&then(vec![put("a"), put("b")])), Ok(()));
        assert_eq!(check(&then(vec![put("a"), put("a")])), twice);
        assert_eq!(check(&then(vec![delete("a", "c"), put("b")])), twice);
        assert_eq!(check(&then(vec![put("b"), delete("a", "c")])), twice);
        assert_eq!(check(&then(vec![delete("a", "c"), delete("b", "d")])), Ok(()));
        let either = Txn { success: vec![put("a")], failure: vec![put("a")], ..Txn::default() };
        assert_eq!(check(&then(vec![Op::Txn(either.clone())])), Ok(()));
        assert_eq!(check(&then(vec![Op::Txn(either), put("a")])), twice);
    }

    #[test]
    fn an_old_answer_will_do_only_for_who_says_so() {
        let range = |serializable| Op::Range(Range { serializable, ..Range::key("a") });
        assert!(is_serializable(&then(vec![range(true), range(true)])));
        assert!(is_serializable(&then(vec![Op::Txn(then(vec![range(true)]))])));
        assert!(!is_serializable(&then(vec![range(true), range(false)])));
        assert!(!is_serializable(&then(vec![put("a")])));
        // Whether their comparisons hold is an answer, too.
        assert!(!is_serializable(&Txn::default()));
        assert!(!is_serializable(&then(vec![Op::Txn(Txn::default())])));
        assert!(!is_serializable(&then(vec![range(true), Op::Txn(Txn::default())])));
    }

    #[test]
    fn shapes_are_bounded() {
        let many = |count: usize| then((0..count).map(|n| Op::Put(Put::of(format!("{n}"), "v"))).collect());
        assert_eq!(check(&many(128)), Ok(()));
        assert_eq!(check(&many(129)), Err(StoreError::TooManyOps { limit: 128 }));
        assert_eq!(check(&then(vec![Op::Put(Put::of("", "v"))])), Err(StoreError::EmptyKey));
        let large = then(vec![Op::Put(Put::of("k", vec![0; Limits::default().request_bytes_max]))]);
        assert!(matches!(check(&large), Err(StoreError::TooLarge { .. })));
    }
}
