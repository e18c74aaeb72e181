//! A view with changes on top that are not written yet, so that later operations see earlier ones.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use bytes::Bytes;

use super::tables::{Change, Changes, Cursor, Table, TableError, View};

/// `base`, as it will look once the changes that were made through this overlay are written.
pub(crate) struct Overlay<'a> {
    base: &'a dyn View,
    pending: BTreeMap<(Table, Bytes), Option<Bytes>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a dyn View) -> Self {
        Self { base, pending: BTreeMap::new() }
    }

    pub(crate) fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.pending.insert((table, key.into()), Some(value.into()));
    }

    pub(crate) fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.pending.insert((table, key.into()), None);
    }

    /// What has to be written, in key order.
    pub(crate) fn into_changes(self) -> Changes {
        let change = |((table, key), value)| match value {
            Some(value) => Change::Put { table, key, value },
            None => Change::Delete { table, key },
        };
        Changes(self.pending.into_iter().map(change).collect())
    }
}

impl View for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        match self.pending.get(&(table, Bytes::copy_from_slice(key))) {
            Some(pending) => Ok(pending.clone()),
            None => self.base.get(table, key),
        }
    }

    fn cursor(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + '_>, TableError> {
        let to = to.map(Bytes::copy_from_slice);
        if to.as_deref().is_some_and(|to| to <= from) {
            return self.base.cursor(table, from, Some(from));
        }
        let mut merged = Merged {
            base: self.base.cursor(table, from, to.as_deref())?,
            pending: &self.pending,
            table,
            range: self.pending.range((Bound::Unbounded, Bound::Excluded((Table::Ver, Bytes::new())))),
            next: None,
            to,
        };
        merged.seek_pending(from);
        merged.settle()?;
        Ok(Box::new(merged))
    }
}

type Pending = BTreeMap<(Table, Bytes), Option<Bytes>>;

/// Walks the base and the pending changes side by side; a pending row hides the base's row of the same key.
struct Merged<'a> {
    base: Box<dyn Cursor + 'a>,
    pending: &'a Pending,
    table: Table,
    range: btree_map::Range<'a, (Table, Bytes), Option<Bytes>>,
    next: Option<(&'a Bytes, Option<&'a Bytes>)>,
    to: Option<Bytes>,
}

impl Merged<'_> {
    fn seek_pending(&mut self, from: &[u8]) {
        let from = Bound::Included((self.table, Bytes::copy_from_slice(from)));
        self.range = self.pending.range((from, Bound::Unbounded));
        self.step_pending();
    }

    fn step_pending(&mut self) {
        self.next = self
            .range
            .next()
            .filter(|((table, key), _)| *table == self.table && self.to.as_ref().is_none_or(|to| key < to))
            .map(|((_, key), value)| (key, value.as_ref()));
    }

    /// Whether the current row is the pending one.
    fn on_pending(&self) -> bool {
        match (self.next, self.base.key()) {
            (Some((pending, _)), Some(base)) => &pending[..] <= base,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Skips rows that are deleted by a pending change.
    fn settle(&mut self) -> Result<(), TableError> {
        while self.on_pending() && self.next.is_some_and(|(_, value)| value.is_none()) {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), TableError> {
        if !self.on_pending() {
            return self.base.advance();
        }
        if self.next.map(|(key, _)| &key[..]) == self.base.key() {
            self.base.advance()?;
        }
        self.step_pending();
        Ok(())
    }
}

impl Cursor for Merged<'_> {
    fn key(&self) -> Option<&[u8]> {
        if self.on_pending() { self.next.map(|(key, _)| &key[..]) } else { self.base.key() }
    }

    fn value(&self) -> &[u8] {
        if self.on_pending() {
            self.next.and_then(|(_, value)| value).map_or(&[], |value| &value[..])
        } else {
            self.base.value()
        }
    }

    fn advance(&mut self) -> Result<(), TableError> {
        self.step()?;
        self.settle()
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), TableError> {
        self.base.seek(key)?;
        self.seek_pending(key);
        self.settle()
    }
}
