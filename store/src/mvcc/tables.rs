//! The rows under the key space: four ordered tables, read through a view, changed by batches.
//!
//! `disk` implements [`View`] and [`Cursor`]; this module decides nothing about where rows live.

use std::io;

use bytes::Bytes;
use thiserror::Error;

/// The tables, named as their column families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// Versions of keys: newest first within a key.
    Ver,
    /// What each revision changed, and its state hash.
    Rev,
    /// Leases and the keys attached to them.
    Lease,
    /// Single values, and the answers kept for retries.
    Meta,
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [Self::Ver, Self::Rev, Self::Lease, Self::Meta];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ver => "ver",
            Self::Rev => "rev",
            Self::Lease => "lease",
            Self::Meta => "meta",
        }
    }
}

/// Why rows could not be read or written. Damage quarantines the replica; everything else stops the process.
#[derive(Debug, Error)]
pub(crate) enum TableError {
    #[error("cannot access the state machine's files")]
    Io(#[source] io::Error),
    #[error("a row of table {table} is corrupt: {what}")]
    Corrupt { table: &'static str, what: &'static str },
}

impl TableError {
    /// Whether the rows are there but wrong: another member's copy can replace them. A device that fails is not that.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io(source) => source.kind() == io::ErrorKind::InvalidData,
            Self::Corrupt { .. } => true,
        }
    }
}

impl From<TableError> for io::Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(source) => source,
            error @ TableError::Corrupt { .. } => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// A consistent view of all tables.
pub(crate) trait View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableError>;

    /// A cursor over `from <= key < to`, standing on the first such row. `to: None` means to the end of the table.
    fn cursor(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + '_>, TableError>;
}

/// Walks rows in key order.
pub(crate) trait Cursor {
    /// The row's key; `None` at the end.
    fn key(&self) -> Option<&[u8]>;
    /// The row's value; empty at the end.
    fn value(&self) -> &[u8];
    fn advance(&mut self) -> Result<(), TableError>;
    /// Moves forward to the first row whose key is `>= key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), TableError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put {
        table: Table,
        key: Bytes,
        value: Bytes,
    },
    Delete {
        table: Table,
        key: Bytes,
    },
    /// `from <= key < to`.
    DeleteRange {
        table: Table,
        from: Bytes,
        to: Bytes,
    },
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(pub(crate) Vec<Change>);

impl Changes {
    pub(crate) fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Change::Put { table, key: key.into(), value: value.into() });
    }

    pub(crate) fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.0.push(Change::Delete { table, key: key.into() });
    }

    pub(crate) fn delete_range(&mut self, table: Table, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.0.push(Change::DeleteRange { table, from: from.into(), to: to.into() });
    }
}
