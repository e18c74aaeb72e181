//! The log in a RocksDB of its own, with its write-ahead log: one synced batch per write.

use std::io;
use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions,
};

use super::{LogDisk, LogHead, LogWrite};

const ENTRIES: &str = "entries";
const HEAD: &str = "head";
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const WRITE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// Above every index.
const END: [u8; 9] = [0xff; 9];

pub(crate) struct RocksLog {
    db: DB,
}

impl RocksLog {
    /// Opens the log in `dir`, or makes one.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(256);
        options.set_max_total_wal_size(4 * WRITE_BUFFER_BYTES as u64);
        let family = |name| {
            let mut options = Options::default();
            options.set_write_buffer_size(WRITE_BUFFER_BYTES);
            options.set_compression_type(DBCompressionType::Lz4);
            ColumnFamilyDescriptor::new(name, options)
        };
        let db = DB::open_cf_descriptors(&options, dir, [family(ENTRIES), family(HEAD)]).map_err(io_error)?;
        Ok(Self { db })
    }

    fn family(&self, name: &'static str) -> io::Result<&rocksdb::ColumnFamily> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a table of the log is missing"))
    }
}

impl LogDisk for RocksLog {
    fn load(&self) -> io::Result<LogHead> {
        let head = self.family(HEAD)?;
        let get = |name| Ok::<_, io::Error>(self.db.get_cf(head, name).map_err(io_error)?.map(Bytes::from));
        let last = self.db.iterator_cf(self.family(ENTRIES)?, IteratorMode::End).next();
        let last = last.transpose().map_err(io_error)?.map(|(_, entry)| Bytes::from(entry.into_vec()));
        Ok(LogHead { vote: get(VOTE)?, committed: get(COMMITTED)?, purged: get(PURGED)?, last })
    }

    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let mut options = rocksdb::ReadOptions::default();
        options.set_iterate_upper_bound(to.to_be_bytes());
        let mut rows = self.db.raw_iterator_cf_opt(self.family(ENTRIES)?, options);
        rows.seek(from.to_be_bytes());
        let mut entries = Vec::new();
        while let (Some(key), Some(entry)) = (rows.key(), rows.value()) {
            let index = <[u8; 8]>::try_from(key)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an index of the log is corrupt"))?;
            entries.push((u64::from_be_bytes(index), Bytes::copy_from_slice(entry)));
            rows.next();
        }
        rows.status().map_err(io_error)?;
        Ok(entries)
    }

    fn write(&self, writes: &[LogWrite]) -> io::Result<()> {
        let (entries, head) = (self.family(ENTRIES)?, self.family(HEAD)?);
        let mut batch = WriteBatch::default();
        for write in writes {
            match write {
                LogWrite::Vote(vote) => batch.put_cf(head, VOTE, vote),
                LogWrite::Committed(Some(id)) => batch.put_cf(head, COMMITTED, id),
                LogWrite::Committed(None) => batch.delete_cf(head, COMMITTED),
                LogWrite::Entry { index, entry } => batch.put_cf(entries, index.to_be_bytes(), entry),
                LogWrite::TruncateFrom(from) => {
                    batch.delete_range_cf(entries, &from.to_be_bytes()[..], &END[..]);
                }
                LogWrite::PurgeTo { index, id } => {
                    batch.delete_range_cf(entries, [0; 8], (index + 1).to_be_bytes());
                    batch.put_cf(head, PURGED, id);
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(writes.iter().any(LogWrite::must_be_durable));
        self.db.write_opt(batch, &options).map_err(io_error)
    }

    fn waits(&self) -> bool {
        true
    }
}

/// RocksDB's errors as the standard library's, so that callers need not know RocksDB.
pub(super) fn io_error(error: rocksdb::Error) -> io::Error {
    let text = error.to_string();
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        rocksdb::ErrorKind::IOError if text.contains("No space left") => io::ErrorKind::StorageFull,
        rocksdb::ErrorKind::IOError if text.contains("Read-only file system") => {
            io::ErrorKind::ReadOnlyFilesystem
        }
        rocksdb::ErrorKind::IOError if text.contains("Permission denied") => io::ErrorKind::PermissionDenied,
        rocksdb::ErrorKind::IOError if text.to_lowercase().contains("lock") => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
