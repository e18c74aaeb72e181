//! Operations that may have made a revision, found by a key that it changed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::makes;
use crate::history::{Change, Op, Operation, Outcome};
use crate::model::{Model, is_write, key_of, spans};

/// What of an operation made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All of it.
    Whole,
    /// A lock's owner key was made.
    Lock,
    /// It was given back.
    Unlock,
}

struct Token {
    operation: u32,
    kind: Kind,
}

/// Things that may have happened once each. A token's number is its place.
pub(super) struct Candidates<'i> {
    operations: &'i [Operation<'i>],
    tokens: Vec<Token>,
    by_key: BTreeMap<Cow<'i, str>, Vec<u32>>,
    /// Deletions of spans.
    by_span: Vec<(&'i str, &'i str, u32)>,
}

impl<'i> Candidates<'i> {
    /// All that may have written something, of the operations that `takes` takes. Locks wait, and give up, in steps of
    /// their own, so their revisions are looked for here however they ended.
    pub(super) fn of(operations: &'i [Operation<'i>], takes: impl Fn(&Operation<'_>) -> bool) -> Self {
        let mut candidates =
            Self { operations, tokens: Vec::new(), by_key: BTreeMap::new(), by_span: Vec::new() };
        for (index, operation) in (0..).zip(operations) {
            match operation.op {
                Op::Lock { name, lease } => {
                    let owner = owner_key(name, *lease);
                    let made = candidates.token(index, Kind::Lock);
                    candidates.at(Cow::Owned(owner.clone()), made);
                    if !matches!(operation.outcome, Outcome::Ok { .. }) {
                        let given_up = candidates.token(index, Kind::Unlock);
                        candidates.at(Cow::Owned(owner), given_up);
                    }
                }
                Op::Unlock { key } => {
                    let token = candidates.token(index, Kind::Unlock);
                    candidates.at(Cow::Borrowed(key), token);
                }
                op if takes(operation) && is_write(op) => {
                    let token = candidates.token(index, Kind::Whole);
                    candidates.add(op, token);
                }
                _ => {}
            }
        }
        candidates
    }

    fn token(&mut self, operation: u32, kind: Kind) -> u32 {
        self.tokens.push(Token { operation, kind });
        self.tokens.len() as u32 - 1
    }

    fn add(&mut self, op: &'i Op, token: u32) {
        match op {
            Op::Put(put) => self.at(Cow::Borrowed(&put.key), token),
            Op::Delete(delete) => match &delete.end {
                None => self.at(Cow::Borrowed(&delete.key), token),
                Some(end) => self.by_span.push((&delete.key, end, token)),
            },
            Op::Txn(txn) => {
                for op in txn.then.iter().chain(&txn.otherwise) {
                    self.add(op, token);
                }
            }
            _ => {}
        }
    }

    fn at(&mut self, key: Cow<'i, str>, token: u32) {
        self.by_key.entry(key).or_default().push(token);
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The index of a token's operation.
    pub(super) fn operation(&self, token: u32) -> usize {
        self.tokens[token as usize].operation as usize
    }

    /// Tokens that make exactly a revision's changes on the state before it, in the order of their calls.
    pub(super) fn fitting(&self, model: &Model<'_>, revision: u64) -> Vec<u32> {
        let Some(first) = model.changes(revision).first() else { return Vec::new() };
        let key = key_of(first);
        let exact = self.by_key.get(key).into_iter().flatten();
        let spanning = self.by_span.iter().filter(|(from, end, _)| spans(from, Some(end), key));
        let mut fitting: Vec<u32> = exact.copied().chain(spanning.map(|(_, _, token)| *token)).collect();
        fitting.sort_unstable();
        fitting.dedup();
        fitting.retain(|token| {
            let Token { operation, kind } = self.tokens[*token as usize];
            makes(model, &self.operations[operation as usize], kind, revision)
        });
        fitting
    }
}

/// Whether a revision is that step of a lock, and nothing else.
pub(super) fn is_lock_change(op: &Op, kind: Kind, changes: &[&Change]) -> bool {
    let [change] = changes else { return false };
    let is_owner = |owner: &str| match op {
        Op::Lock { name, lease } => owner == owner_key(name, *lease),
        Op::Unlock { key } => owner == key,
        _ => false,
    };
    match change {
        Change::Put { kv } => kind == Kind::Lock && is_owner(&kv.key),
        Change::Delete { key, .. } => kind == Kind::Unlock && is_owner(key),
    }
}

/// As etcd's lock service names it.
fn owner_key(name: &str, lease: i64) -> String {
    format!("{name}/{lease:x}")
}
