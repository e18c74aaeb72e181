//! The only code that talks to the store for objects: keys, reads, and one guarded transaction per write.
//!
//! A write names the revision that it replaces and the other keys that must not have moved since they were
//! looked at; the store refuses it otherwise. Nothing here retries: callers decide what a lost race means.

use std::sync::Arc;
use std::time::Duration;

use base::Revision;
use bytes::Bytes;
use kinds::Kind;
use store::{
    Compare, Delete, Op, OpResult, Put, Range, RangeResult, Relation, Span, Store, StoreError, Target, Txn,
    Watch, Watcher,
};
use tokio::sync::OwnedSemaphorePermit;

use self::draft::Draft;
use crate::object::Stored;
use crate::status::Status;

mod draft;

/// How long a read waits for a revision that this server has not seen yet.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);

/// Which objects: all of a kind, those of a namespace, or one.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
}

/// What a write relies on, and what else it does.
#[derive(Debug)]
pub(crate) enum Guard {
    /// A key must still be at the revision at which a decision was taken; revision 0 means absent. It may be changed by
    /// the same transaction.
    Key { key: String, revision: Revision, change: Option<Change> },
    /// Nothing below a prefix was written after a revision.
    Quiet { prefix: String, since: Revision },
    /// Whose turn it is at this server. It ends with the guard.
    Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
}

impl Guard {
    /// The key must still be there, or be absent still (revision 0).
    pub(crate) fn at(key: String, revision: Revision) -> Self {
        Self::Key { key, revision, change: None }
    }

    /// The same, and the key is changed by the same transaction.
    pub(crate) fn changing(key: String, revision: Revision, change: Change) -> Self {
        Self::Key { key, revision, change: Some(change) }
    }

    fn compare(&self) -> Option<Compare> {
        match self {
            Self::Key { key, revision, .. } => Some(Compare::mod_revision(key.clone(), *revision)),
            Self::Quiet { prefix, since } => Some(quiet(prefix, *since)),
            Self::Turn(_) => None,
        }
    }
}

/// Holds while nothing below `prefix` is newer than `since`.
fn quiet(prefix: &str, since: Revision) -> Compare {
    let span = Span::prefix(prefix.to_owned());
    Compare { span, target: Target::Mod(since.next()), relation: Relation::Less }
}

impl Change {
    fn op(&self, key: &str) -> Op {
        match self {
            Self::Put(value) => Op::Put(Put::of(key.to_owned(), value.clone())),
            Self::Delete => Op::Delete(Delete::of(Span::key(key.to_owned()))),
        }
    }
}

/// What a write does to its key.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Bytes),
    Delete,
}

/// How a write ended.
pub(crate) enum Written {
    At(Revision),
    /// The key was not where the caller thought; this is what it holds.
    Lost(Option<Stored>),
    /// A guard moved: decide again.
    GuardMoved,
}

/// Which state a read may be answered from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Freshness {
    /// Everything acknowledged before the read began.
    Newest,
    /// Whatever this server has.
    Any,
    /// At least this revision.
    NotOlderThan(Revision),
    /// Exactly this revision.
    At(Revision),
}

/// One page of a list.
pub(crate) struct Page {
    pub(crate) items: Vec<(Bytes, Stored)>,
    /// Whether keys follow the last one.
    pub(crate) more: bool,
    pub(crate) revision: Revision,
}

/// Objects in the store.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) store: Store,
    /// Where writes wait for each other, if they do.
    draft: Option<Arc<Draft>>,
}

impl Scope {
    /// `/registry/<plural>/` or `/registry/<plural>/<namespace>/`; of custom kinds the group comes first, which has a
    /// dot and so is no plural.
    pub(crate) fn prefix(&self) -> String {
        let plural = self.kind.plural;
        let group = self.kind.custom.map(|_| format!("{}/", self.kind.group)).unwrap_or_default();
        match &self.namespace {
            Some(namespace) => format!("/registry/{group}{plural}/{namespace}/"),
            None => format!("/registry/{group}{plural}/"),
        }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }
}

impl Storage {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, draft: None }
    }

    /// The same objects, but writes wait until they are [committed](Self::commit) together. Reads see them already.
    pub(crate) fn drafting(&self) -> Self {
        Self { store: self.store.clone(), draft: Some(Arc::default()) }
    }

    /// Whether writes wait for each other.
    pub(crate) fn is_drafting(&self) -> bool {
        self.draft.is_some()
    }

    /// Commits what was drafted, as one revision; `None` if something that it relied on has moved.
    pub(crate) async fn commit(&self) -> Result<Option<Revision>, Status> {
        match self.draft.as_ref().and_then(|draft| draft.transaction()) {
            Some(txn) => {
                let outcome = self.store.txn(txn).await?;
                Ok(outcome.succeeded.then_some(outcome.revision))
            }
            None => Ok(Some(self.store.read_barrier().await?)),
        }
    }

    /// One object; `None` when absent.
    pub(crate) async fn get(&self, key: &str, freshness: Freshness) -> Result<Option<Stored>, Status> {
        if let Some(planned) = self.draft.as_ref().and_then(|draft| draft.planned(key)) {
            return Ok(planned);
        }
        let found = self.range(Range::key(key.to_owned()), freshness).await?;
        Ok(found.kvs.into_iter().next().map(stored))
    }

    /// Up to `limit` objects (0: all) of `prefix`, from the key `prefix + start` on.
    pub(crate) async fn page(
        &self,
        prefix: &str,
        start: &str,
        limit: usize,
        freshness: Freshness,
    ) -> Result<Page, Status> {
        let whole = Span::prefix(prefix.to_owned());
        let span = Span { start: format!("{prefix}{start}").into(), end: whole.end };
        let range = Range { limit, uncounted: true, ..Range::of(span) };
        let found = self.range(range, freshness).await?;
        let revision = match freshness {
            Freshness::At(revision) => revision,
            Freshness::Newest | Freshness::Any | Freshness::NotOlderThan(_) => found.revision,
        };
        let mut items = found.kvs.into_iter().map(|kv| (kv.key.clone(), stored(kv))).collect();
        if let Some(draft) = self.draft.as_ref().filter(|_| limit == 0 && start.is_empty()) {
            items = draft.overlay(prefix, items);
        }
        Ok(Page { items, more: found.more, revision })
    }

    /// How many objects of `prefix` there are from the key `prefix + start` on.
    pub(crate) async fn count(&self, prefix: &str, start: &str, freshness: Freshness) -> Result<u64, Status> {
        let whole = Span::prefix(prefix.to_owned());
        let span = Span { start: format!("{prefix}{start}").into(), end: whole.end };
        let range = Range { count_only: true, ..Range::of(span) };
        Ok(self.range(range, freshness).await?.count)
    }

    /// Whether writes wait here for each other.
    pub(crate) fn is_draft(&self) -> bool {
        self.draft.is_some()
    }

    /// Applies `change` to `key`, and what guards change to theirs, if it is still at `expected` (0: absent) and no guard
    /// moved.
    pub(crate) async fn write(
        &self,
        key: &str,
        expected: Revision,
        change: Change,
        guards: &[Guard],
    ) -> Result<Written, Status> {
        if let Some(draft) = &self.draft {
            let now = self.get(key, Freshness::Newest).await?;
            let at = now.as_ref().map_or(Revision::new(0), Stored::written_at);
            return Ok(match at == expected {
                true => Written::At(draft.plan(key, expected, change, guards)),
                false => Written::Lost(now),
            });
        }
        let mut compares = vec![Compare::mod_revision(key.to_owned(), expected)];
        compares.extend(guards.iter().filter_map(Guard::compare));
        let mut success = vec![change.op(key)];
        success.extend(guards.iter().filter_map(|guard| match guard {
            Guard::Key { key, change: Some(change), .. } => Some(change.op(key)),
            Guard::Key { .. } | Guard::Quiet { .. } | Guard::Turn(_) => None,
        }));
        let failure = vec![Op::Range(Range::key(key.to_owned()))];
        let outcome = self.store.txn(Txn { compares, success, failure }).await?;
        if outcome.succeeded {
            return Ok(Written::At(outcome.revision));
        }
        let current = outcome.responses.into_iter().find_map(|response| match response {
            OpResult::Range(found) => found.kvs.into_iter().next(),
            OpResult::Put { .. } | OpResult::Delete { .. } | OpResult::Txn(_) => None,
        });
        let at = current.as_ref().map_or(Revision::new(0), |kv| kv.mod_revision);
        Ok(if at == expected { Written::GuardMoved } else { Written::Lost(current.map(stored)) })
    }

    /// Events of `prefix` from those of revision `from` on, or from now on.
    pub(crate) fn watch(&self, prefix: &str, from: Option<Revision>) -> Result<Watcher, StoreError> {
        let watch = Watch { prev_kv: true, ..Watch::of(Span::prefix(prefix.to_owned())) };
        self.store.watch(match from {
            Some(revision) => watch.from(revision),
            None => watch,
        })
    }

    async fn range(&self, mut range: Range, freshness: Freshness) -> Result<RangeResult, Status> {
        // A draft is begun anew when something has moved, and must see it then.
        let freshness = if self.draft.is_some() { Freshness::Newest } else { freshness };
        match freshness {
            Freshness::Newest => {}
            Freshness::Any => range.serializable = true,
            Freshness::NotOlderThan(revision) => {
                self.wait_for(revision).await?;
                range.serializable = true;
            }
            Freshness::At(revision) => {
                self.wait_for(revision).await?;
                range.serializable = true;
                range.revision = Some(revision);
            }
        }
        Ok(self.store.range(range).await?)
    }

    async fn wait_for(&self, revision: Revision) -> Result<(), Status> {
        tokio::time::timeout(WAIT_FOR_REVISION, self.store.wait_for(revision))
            .await
            .map_err(|_| Status::version_too_large(revision.get(), self.store.revision().get()))
    }
}

fn stored(kv: store::KeyValue) -> Stored {
    Stored { json: kv.value, revision: Some(kv.mod_revision) }
}
