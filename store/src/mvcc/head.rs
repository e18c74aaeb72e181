//! The few numbers of the state that are kept at hand, and saved as one row.

use base::{NodeId, Revision};
use bytes::{BufMut as _, Bytes, BytesMut};

use super::keyspace::Horizon;
use super::layout::Reader;
use super::overlay::Overlay;
use super::tables::{Changes, Table, TableError, View};
use crate::seeded::{self, Bug};

const ROW: &[u8] = b"head";
const ROW_BYTES: usize = 48;

/// Where the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) horizon: Horizon,
    /// Of the newest revision: its state hash, its time, and the bytes written up to it.
    pub(crate) hash: u32,
    pub(crate) time_ms: i64,
    pub(crate) written: u64,
    /// The highest node id that was ever taken.
    pub(crate) last_node: NodeId,
    /// A hash of what was done since the newest revision and made none: the next revision's hash takes it in.
    pub(crate) quiet: u32,
}

impl Default for Head {
    /// As in etcd: the first write of a new store makes revision 2, and its first compaction may be at 0.
    fn default() -> Self {
        Self {
            horizon: Horizon { newest: Revision::new(1), compacted: Revision::new(-1) },
            hash: 0,
            time_ms: 0,
            written: 0,
            last_node: NodeId::new(0),
            quiet: 0,
        }
    }
}

impl Head {
    pub(crate) fn load(view: &dyn View) -> Result<Self, TableError> {
        let Some(row) = view.get(Table::Meta, ROW)? else { return Ok(Self::default()) };
        let mut reader = Reader::new("meta", &row);
        let (newest, compacted) = (Revision::new(reader.i64()?), Revision::new(reader.i64()?));
        let forgets = seeded::is(Bug::RevisionGoesBack) && compacted.get() > 0;
        Ok(Self {
            horizon: Horizon { newest: if forgets { compacted } else { newest }, compacted },
            hash: reader.u32()?,
            time_ms: reader.i64()?,
            written: reader.u64()?,
            last_node: NodeId::new(reader.u64()?),
            quiet: reader.u32()?,
        })
    }

    pub(crate) fn save(&self, rows: &mut Overlay<'_>) {
        rows.put(Table::Meta, Bytes::from_static(ROW), self.row());
    }

    pub(crate) fn save_to(&self, changes: &mut Changes) {
        changes.put(Table::Meta, Bytes::from_static(ROW), self.row());
    }

    fn row(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(ROW_BYTES);
        row.put_i64(self.horizon.newest.get());
        row.put_i64(self.horizon.compacted.get());
        row.put_u32(self.hash);
        row.put_i64(self.time_ms);
        row.put_u64(self.written);
        row.put_u64(self.last_node.get());
        row.put_u32(self.quiet);
        row.freeze()
    }

    /// Notes what made no revision.
    pub(crate) fn note(&mut self, what: &[u8]) {
        let mut hash = crc32fast::Hasher::new_with_initial(self.quiet);
        hash.update(what);
        self.quiet = hash.finalize();
    }

    /// What the next revision's hash starts from.
    pub(crate) fn seed(&self) -> u32 {
        if self.quiet == 0 {
            return self.hash;
        }
        let mut hash = crc32fast::Hasher::new_with_initial(self.hash);
        hash.update(&self.quiet.to_be_bytes());
        hash.finalize()
    }
}
