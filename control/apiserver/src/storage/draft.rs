//! Writes that wait for each other, to be committed as one revision or not at all.
//!
//! A draft remembers what each write wants and what it relied on. Whoever reads through the same storage meanwhile sees
//! what the draft would make of the state, so a later write can build on an earlier one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::Revision;
use bytes::Bytes;
use store::{Compare, Txn};

use super::{Change, Guard, quiet};
use crate::object::{DRAFTED, Stored};

#[derive(Debug, Default)]
pub(crate) struct Draft(Mutex<Drafted>);

#[derive(Debug, Default)]
struct Drafted {
    /// Where keys must still be; 0 is absent.
    relied_on: BTreeMap<String, Revision>,
    /// Below which prefixes nothing may be newer than that.
    quiet: BTreeMap<String, Revision>,
    changes: BTreeMap<String, Change>,
}

impl Draft {
    /// What is planned for a key; `None`: nothing.
    pub(super) fn planned(&self, key: &str) -> Option<Option<Stored>> {
        self.lock().changes.get(key).map(planned)
    }

    /// Lays what is planned below `prefix` over what is there.
    pub(super) fn overlay(&self, prefix: &str, items: Vec<(Bytes, Stored)>) -> Vec<(Bytes, Stored)> {
        let mut all: BTreeMap<Bytes, Stored> = items.into_iter().collect();
        let drafted = self.lock();
        for (key, change) in drafted.changes.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let key = Bytes::copy_from_slice(key.as_bytes());
            match planned(change) {
                Some(stored) => drop(all.insert(key, stored)),
                None => drop(all.remove(&key)),
            }
        }
        all.into_iter().collect()
    }

    /// Plans a change of a key that was found at `expected`, and returns what the object is at until it is committed.
    pub(super) fn plan(&self, key: &str, expected: Revision, change: Change, guards: &[Guard]) -> Revision {
        let mut drafted = self.lock();
        for guard in guards {
            drafted.heed(guard);
        }
        drafted.rely_on(key, expected);
        drafted.changes.insert(key.to_owned(), change);
        DRAFTED
    }

    /// All of it as one transaction; `None` when nothing changes.
    pub(super) fn transaction(&self) -> Option<Txn> {
        let drafted = self.lock();
        let compare = |(key, at): (&String, &Revision)| Compare::mod_revision(key.clone(), *at);
        let quiet = drafted.quiet.iter().map(|(prefix, since)| quiet(prefix, *since));
        let txn = Txn {
            compares: drafted.relied_on.iter().map(compare).chain(quiet).collect(),
            success: drafted.changes.iter().map(|(key, change)| change.op(key)).collect(),
            failure: Vec::new(),
        };
        (!txn.success.is_empty()).then_some(txn)
    }

    fn lock(&self) -> MutexGuard<'_, Drafted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drafted {
    fn heed(&mut self, guard: &Guard) {
        match guard {
            Guard::Key { key, revision, change } => {
                self.rely_on(key, *revision);
                if let Some(change) = change {
                    self.changes.insert(key.clone(), change.clone());
                }
            }
            // The first who looked says since when.
            Guard::Quiet { prefix, since } => drop(self.quiet.entry(prefix.clone()).or_insert(*since)),
            // Turns are for writes of their own: those of a draft could wait for each other for ever.
            Guard::Turn(_) => {}
        }
    }

    /// The first to rely on a key says where it was: one that finds it elsewhere has been overtaken, and so has all of it.
    fn rely_on(&mut self, key: &str, at: Revision) {
        if !self.changes.contains_key(key) {
            self.relied_on.entry(key.to_owned()).or_insert(at);
        }
    }
}

fn planned(change: &Change) -> Option<Stored> {
    match change {
        Change::Put(json) => Some(Stored { json: json.clone(), revision: Some(DRAFTED) }),
        Change::Delete => None,
    }
}
