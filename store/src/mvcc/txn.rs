//! Transactions: compares choose a branch on the state before, then the branch runs, each operation seeing the ones
//! before it. Whatever can be refused is refused before the first change.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use base::{LeaseId, Revision};
use bytes::{Bytes, BytesMut};

use super::keyspace::{self, Horizon};
use super::layout::{self, Place, Version};
use super::newest::{Known, Newest};
use super::overlay::Overlay;
use super::request::{
    Compare, Delete, Event, EventKind, KeyValue, Op, OpResult, Put, RangeResult, Relation, Target, Txn,
    TxnResult,
};
use super::span::Span;
use super::tables::{Table, TableError, View};
use crate::error::StoreError;
use crate::seeded::{self, Bug};

/// Why a command stopped: the caller's fault, which every replica sees alike, or the disk's.
#[derive(Debug)]
pub(crate) enum Stop {
    Refused(StoreError),
    Failed(TableError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<TableError> for Stop {
    fn from(error: TableError) -> Self {
        Self::Failed(error)
    }
}

/// Makes at most one revision on top of `horizon`.
pub(crate) struct Writer<'o, 'v> {
    rows: &'o mut Overlay<'v>,
    newest: &'o mut Newest,
    horizon: Horizon,
    sub: u32,
    events: Vec<Arc<Event>>,
    hash: crc32fast::Hasher,
    recorded: BytesMut,
    bytes: u64,
}

/// A revision that a writer made.
pub(crate) struct Finished {
    pub(crate) events: Vec<Arc<Event>>,
    /// The state hash after it.
    pub(crate) hash: u32,
    /// What its row tells of the changes.
    pub(crate) recorded: BytesMut,
    /// How many bytes its rows take.
    pub(crate) bytes: u64,
}

impl<'o, 'v> Writer<'o, 'v> {
    pub(crate) fn new(
        rows: &'o mut Overlay<'v>,
        newest: &'o mut Newest,
        horizon: Horizon,
        hash: u32,
    ) -> Self {
        Self {
            rows,
            newest,
            horizon,
            sub: 0,
            events: Vec::new(),
            hash: crc32fast::Hasher::new_with_initial(hash),
            recorded: BytesMut::new(),
            bytes: 0,
        }
    }

    /// Runs a transaction whose shape `validate::check` has accepted.
    pub(crate) fn run(&mut self, txn: &Txn) -> Result<TxnResult, Stop> {
        let path = self.decide(txn)?;
        self.check(txn, &path)?;
        Ok(self.execute(txn, &path)?)
    }

    /// `None`: nothing changed.
    pub(crate) fn finish(self) -> Option<Finished> {
        let Self { events, hash, recorded, bytes, .. } = self;
        (self.sub > 0).then(|| Finished { events, hash: hash.finalize(), recorded, bytes })
    }

    /// Deletes every key of `span` and returns what they held.
    pub(crate) fn delete(&mut self, span: &Span) -> Result<Vec<KeyValue>, TableError> {
        let mut gone = Vec::new();
        if span.is_single() {
            let found = self.get(&span.start)?;
            gone.extend(
                found.map(|(place, version)| (version.into_key_value(span.start.clone(), place), place)),
            );
        } else {
            keyspace::visit(self.rows, span, self.next(), |row| {
                gone.push((row.with_value()?, row.place));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for (prev, place) in &gone {
            let tombstone = Version {
                kind: EventKind::Delete,
                create_revision: Revision::new(0),
                version: 0,
                lease: LeaseId::NONE,
                value: Bytes::new(),
            };
            self.detach(prev.lease, &prev.key);
            self.record(&prev.key, tombstone, Some((*place, prev.clone())));
        }
        Ok(gone.into_iter().map(|(prev, _)| prev).collect())
    }

    /// The version of a key as the operations so far have left it.
    fn get(&mut self, key: &Bytes) -> Result<Known, TableError> {
        self.newest.get(self.rows, key, self.horizon.newest.next())
    }

    fn next(&self) -> Revision {
        self.horizon.newest.next()
    }

    /// The revision that an answer is stamped with at this moment.
    fn head(&self) -> Revision {
        if self.sub > 0 { self.next() } else { self.horizon.newest }
    }

    fn decide(&mut self, txn: &Txn) -> Result<Path, TableError> {
        let mut succeeded = true;
        for compare in &txn.compares {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        let mut inner = Vec::new();
        for op in branch(txn, succeeded) {
            if let Op::Txn(nested) = op {
                inner.push(self.decide(nested)?);
            }
        }
        Ok(Path { succeeded, inner })
    }

    fn holds(&mut self, compare: &Compare) -> Result<bool, TableError> {
        let mut all = true;
        let mut any = false;
        if compare.span.is_single() {
            if let Some((place, version)) = self.get(&compare.span.start)? {
                any = true;
                all = compare_one(&version.into_key_value(compare.span.start.clone(), place), compare);
            }
        } else {
            keyspace::visit(self.rows, &compare.span, self.next(), |row| {
                any = true;
                let by_value = matches!(compare.target, Target::Value(_));
                let kv = if by_value { row.with_value()? } else { row.without_value()? };
                all = compare_one(&kv, compare);
                Ok(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        if any {
            return Ok(all);
        }
        Ok(match compare.target {
            Target::Value(_) => false,
            Target::Version(_) | Target::Create(_) | Target::Mod(_) | Target::Lease(_) => {
                compare_one(&KeyValue::default(), compare)
            }
        })
    }

    fn check(&mut self, txn: &Txn, path: &Path) -> Result<(), Stop> {
        let mut inner = path.inner.iter();
        for op in branch(txn, path.succeeded) {
            match op {
                Op::Range(range) => {
                    self.horizon.resolve(range.revision)?;
                }
                Op::Put(put) => self.check_put(put)?,
                Op::Delete(_) => {}
                Op::Txn(nested) => {
                    if let Some(path) = inner.next() {
                        self.check(nested, path)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_put(&mut self, put: &Put) -> Result<(), Stop> {
        let keeps = put.ignore_value || put.ignore_lease;
        if keeps && self.get(&put.key)?.is_none() {
            return Err(StoreError::KeyNotFound.into());
        }
        if !put.lease.is_none()
            && self.rows.get(Table::Lease, &layout::lease_key(put.lease))?.is_none()
            && !seeded::is(Bug::DeadLeaseIsTaken)
        {
            return Err(StoreError::LeaseNotFound.into());
        }
        Ok(())
    }

    fn execute(&mut self, txn: &Txn, path: &Path) -> Result<TxnResult, TableError> {
        let mut inner = path.inner.iter();
        let mut responses = Vec::new();
        for op in branch(txn, path.succeeded) {
            responses.push(match op {
                Op::Range(range) => {
                    let newest = self.head();
                    let at = range.revision.filter(|asked| asked.get() > 0).unwrap_or(newest);
                    let found = keyspace::range(self.rows, range, at)?;
                    OpResult::Range(RangeResult { revision: newest, ..found })
                }
                Op::Put(put) => {
                    let prev = self.put(put)?;
                    OpResult::Put { prev: prev.filter(|_| put.prev_kv) }
                }
                Op::Delete(Delete { span, prev_kv }) => {
                    let gone = self.delete(span)?;
                    let deleted = gone.len() as u64;
                    OpResult::Delete { deleted, prev: if *prev_kv { gone } else { Vec::new() } }
                }
                Op::Txn(nested) => match inner.next() {
                    Some(path) => OpResult::Txn(self.execute(nested, path)?),
                    None => continue,
                },
            });
        }
        Ok(TxnResult { succeeded: path.succeeded, responses, revision: self.head() })
    }

    fn put(&mut self, put: &Put) -> Result<Option<KeyValue>, TableError> {
        let found = self.get(&put.key)?;
        let prev = found.map(|(place, version)| (place, version.into_key_value(put.key.clone(), place)));
        let before = prev.as_ref().map(|(_, kv)| kv);
        let lease = if put.ignore_lease { before.map_or(LeaseId::NONE, |kv| kv.lease) } else { put.lease };
        let value = match before {
            Some(kv) if put.ignore_value => kv.value.clone(),
            Some(_) | None => put.value.clone(),
        };
        let by_chance = seeded::is(Bug::ApplyByChance) && seeded::chance();
        let version = Version {
            kind: EventKind::Put,
            create_revision: before.map_or(self.next(), |kv| kv.create_revision),
            version: before.map_or(1, |kv| kv.version + 1 + i64::from(by_chance)),
            lease,
            value,
        };
        let old_lease = before.map_or(LeaseId::NONE, |kv| kv.lease);
        if old_lease != lease {
            self.detach(old_lease, &put.key);
        }
        if !lease.is_none() {
            self.rows.put(Table::Lease, layout::attached_key(lease, &put.key), Bytes::new());
        }
        let mut before = before.cloned();
        if let Some(before) = before.as_mut().filter(|_| seeded::is(Bug::PreviousIsNew)) {
            before.value = put.value.clone();
        }
        self.record(&put.key, version, prev);
        Ok(before)
    }

    fn detach(&mut self, lease: LeaseId, key: &Bytes) {
        if !lease.is_none() {
            self.rows.delete(Table::Lease, layout::attached_key(lease, key));
        }
    }

    fn record(&mut self, key: &Bytes, version: Version, prev: Option<(Place, KeyValue)>) {
        let place = Place { revision: self.next(), sub: self.sub };
        self.sub += 1;
        let (prev_place, prev) = prev.unzip();
        let ver_key = layout::ver_key(key, place);
        let ver_row = layout::encode_version(&version);
        self.hash.update(&ver_key);
        self.hash.update(&ver_row);
        let recorded_before = self.recorded.len();
        layout::put_recorded(&mut self.recorded, key, &version, prev_place);
        let recorded = self.recorded.len() - recorded_before;
        self.bytes += (ver_key.len() + ver_row.len() + recorded) as u64;
        self.rows.put(Table::Ver, ver_key, ver_row);
        let kind = version.kind;
        self.newest.note(key, (kind == EventKind::Put).then(|| (place, version.clone())));
        let kv = version.into_key_value(key.clone(), place);
        self.events.push(Arc::new(Event { kind, kv, prev }));
    }
}

/// Which branches a transaction takes, decided before it runs.
struct Path {
    succeeded: bool,
    inner: Vec<Path>,
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn compare_one(kv: &KeyValue, compare: &Compare) -> bool {
    let ordering = match &compare.target {
        Target::Version(version) => kv.version.cmp(version),
        Target::Create(revision) => kv.create_revision.cmp(revision),
        Target::Mod(_) if seeded::is(Bug::CompareIgnoresRevision) => Ordering::Equal,
        Target::Mod(revision) => kv.mod_revision.cmp(revision),
        Target::Value(value) => kv.value.cmp(value),
        Target::Lease(lease) => kv.lease.cmp(lease),
    };
    match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Greater => ordering == Ordering::Greater,
        Relation::Less => ordering == Ordering::Less,
    }
}
