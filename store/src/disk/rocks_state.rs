//! The state machine in a RocksDB without write-ahead log.
//!
//! Column families are flushed together, so after a crash the tables are as they were after some write, and the log
//! is replayed from there. A copy is a checkpoint: hard links, in a directory beside the current one.
//!
//! ```text
//! CURRENT-DB     the name of the directory in use
//! db-3/          the tables
//! frozen-7/      the newest copy
//! copy-8/        a copy that is handed out; what a crash leaves of it is removed at the next start
//! ballast        room that is given back when the disk is full
//! intake-2/      a copy that is arriving; what a break leaves of it is used by the next one
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, DBRawIterator, FlushOptions, Options, ReadOptions, Snapshot, WriteBatch, WriteOptions,
};

use super::ballast::Ballast;
use super::files::{self, Kept};
use super::intake::Intakes;
use super::{APPLIED, Arrived, Frozen, Room, StateDisk, intake};
use crate::failpoint;
use crate::mvcc::tables::{Change, Changes, Cursor, Table, TableError, View};
use crate::raft::peers::{Intake, SnapshotFile};

const CURRENT: &str = "CURRENT-DB";
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// What a flush may take beside the rows: manifests, indexes.
const FLUSH_ROOM_BYTES: u64 = 4 * 1024 * 1024;
const WRITE_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// How many flushes' files lie side by side before they are merged into the next level.
const YOUNG_FILES_MAX: i32 = 8;

pub(crate) struct RocksState {
    root: PathBuf,
    tables: ArcSwap<Tables>,
    newest: Mutex<Option<Frozen>>,
    intakes: Mutex<Intakes>,
    next_number: AtomicU64,
    cache: Cache,
    ballast: Ballast,
}

/// The tables in use, in a directory that goes when they have been replaced and their last reader has ended.
struct Tables {
    // Closed before its directory goes.
    db: DB,
    dir: Kept,
}

impl RocksState {
    /// Opens the tables in `root`, or makes them, and removes what an interrupted step has left.
    pub(crate) fn open(root: &Path) -> Result<Self, TableError> {
        fs::create_dir_all(root).map_err(TableError::Io)?;
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let (name, tables) = open_current(root, &cache)?;
        let mut highest = 1;
        let mut frozen = Vec::new();
        let mut intakes = Intakes::default();
        for prefix in ["db", "frozen", "intake", "copy"] {
            for number in files::numbered(root, prefix).map_err(TableError::Io)? {
                highest = highest.max(number);
                let found = format!("{prefix}-{number}");
                match prefix {
                    "frozen" => frozen.push(number),
                    "intake" => intakes.broken.push(root.join(found)),
                    _ if found == name => {}
                    _ => fs::remove_dir_all(root.join(found)).map_err(TableError::Io)?,
                }
            }
        }
        let state = Self {
            root: root.to_owned(),
            tables: ArcSwap::from_pointee(tables),
            newest: Mutex::new(None),
            intakes: Mutex::new(intakes),
            next_number: AtomicU64::new(highest + 1),
            cache,
            ballast: Ballast::find(root),
        };
        state.adopt_newest(&frozen)?;
        Ok(state)
    }

    fn adopt_newest(&self, frozen: &[u64]) -> Result<(), TableError> {
        let Some((newest, older)) = frozen.split_last() else { return Ok(()) };
        for number in older {
            fs::remove_dir_all(self.root.join(format!("frozen-{number}"))).map_err(TableError::Io)?;
        }
        let described = describe(self.root.join(format!("frozen-{newest}")), &mut |_| {})?;
        *self.newest() = Some(described);
        Ok(())
    }

    fn newest(&self) -> MutexGuard<'_, Option<Frozen>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds up properties of all tables.
    fn sum<const N: usize>(&self, properties: [&str; N]) -> u64 {
        let tables = self.tables.load_full();
        let db = &tables.db;
        let size = |table| {
            let family = family(db, table).ok()?;
            let property = |name: &str| db.property_int_value_cf(family, name).ok().flatten();
            Some(properties.into_iter().filter_map(property).sum::<u64>())
        };
        Table::ALL.into_iter().filter_map(size).sum()
    }

    fn intakes(&self) -> MutexGuard<'_, Intakes> {
        self.intakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room_for_flush(&self) -> Result<(), TableError> {
        let unflushed = self.sum(["rocksdb.cur-size-all-mem-tables"]);
        let room = self.room().map_err(TableError::Io)?;
        self.ballast.make_room_for(2 * unflushed + FLUSH_ROOM_BYTES, room).map_err(TableError::Io)
    }

    /// Flushes everything, and links the files into a new directory.
    fn checkpoint(&self, prefix: &str) -> Result<PathBuf, TableError> {
        let tables = self.tables.load_full();
        let db = &tables.db;
        let all = Table::ALL.into_iter().map(|table| family(db, table)).collect::<Result<Vec<_>, _>>()?;
        self.make_room_for_flush()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        failpoint::reach("flush: nothing flushed");
        db.flush_cfs_opt(&all, &options).map_err(table_error)?;
        failpoint::reach("flush: flushed");
        let dir = self.fresh_dir(prefix);
        Checkpoint::new(db).and_then(|checkpoint| checkpoint.create_checkpoint(&dir)).map_err(table_error)?;
        files::sync_dir(&self.root).map_err(TableError::Io)?;
        failpoint::reach("snapshot: linked");
        Ok(dir)
    }

    fn fresh_dir(&self, prefix: &str) -> PathBuf {
        self.root.join(format!("{prefix}-{}", self.next_number.fetch_add(1, Ordering::SeqCst)))
    }
}

/// RocksDB's errors as the standard library's, so that callers need not know RocksDB.
fn table_error(error: rocksdb::Error) -> TableError {
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
    TableError::Io(io::Error::new(kind, error))
}

fn families(cache: &Cache) -> impl Iterator<Item = ColumnFamilyDescriptor> + '_ {
    Table::ALL.into_iter().map(|table| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_cache_index_and_filter_blocks(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_level_zero_file_num_compaction_trigger(YOUNG_FILES_MAX);
        // What is rewritten soon is not worth compressing.
        let (none, lz4) = (DBCompressionType::None, DBCompressionType::Lz4);
        options.set_compression_per_level(&[none, none, lz4, lz4, lz4, lz4, lz4]);
        ColumnFamilyDescriptor::new(table.name(), options)
    })
}

/// Opens the directory in use, or makes the first one. Tables that were there once are never made anew.
fn open_current(root: &Path, cache: &Cache) -> Result<(String, Tables), TableError> {
    let current = root.join(CURRENT);
    let known = match fs::read_to_string(&current) {
        Ok(name) => Some(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(TableError::Io(error)),
    };
    let name = known.clone().unwrap_or_else(|| "db-1".to_owned());
    let dir = root.join(&name);
    if known.is_some() && !dir.join("CURRENT").exists() {
        return Err(TableError::Corrupt { table: "state", what: "the tables are missing" });
    }
    let tables = Tables { db: open_db(&dir, cache)?, dir: Kept::new(dir) };
    if known.is_none() {
        files::write_atomically(&current, name.as_bytes()).map_err(TableError::Io)?;
    }
    Ok((name, tables))
}

fn open_db(dir: &Path, cache: &Cache) -> Result<DB, TableError> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_keep_log_file_num(2);
    options.set_max_open_files(512);
    DB::open_cf_descriptors(&options, dir, families(cache)).map_err(table_error)
}

/// Reads out of a copy how far it is.
fn describe(dir: PathBuf, look: &mut dyn FnMut(&dyn View)) -> Result<Frozen, TableError> {
    let names = Table::ALL.map(Table::name);
    let db = DB::open_cf_for_read_only(&Options::default(), &dir, names, false).map_err(table_error)?;
    let applied = db.get_cf(family(&db, Table::Meta)?, APPLIED).map_err(table_error)?.map(Bytes::from);
    look(&RocksView { db: &db, rows: db.snapshot() });
    drop(db);
    let hold = Some(Arc::new(Kept::new(dir.clone())));
    Ok(Frozen { dir, inline: Bytes::new(), applied, hold })
}

fn family(db: &DB, table: Table) -> Result<&rocksdb::ColumnFamily, TableError> {
    db.cf_handle(table.name())
        .ok_or(TableError::Corrupt { table: table.name(), what: "the table is missing" })
}

impl StateDisk for RocksState {
    fn with_view(&self, f: &mut dyn FnMut(&dyn View)) {
        let tables = self.tables.load_full();
        let db = &tables.db;
        let view = RocksView { db, rows: db.snapshot() };
        f(&view);
    }

    fn write(&self, changes: &Changes) -> Result<(), TableError> {
        let tables = self.tables.load_full();
        let db = &tables.db;
        let mut batch = WriteBatch::default();
        for change in &changes.0 {
            match change {
                Change::Put { table, key, value } => batch.put_cf(family(db, *table)?, key, value),
                Change::Delete { table, key } => batch.delete_cf(family(db, *table)?, key),
                Change::DeleteRange { table, from, to } => {
                    batch.delete_range_cf(family(db, *table)?, from, to)
                }
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        failpoint::reach("apply: nothing written");
        db.write_opt(batch, &options).map_err(table_error)?;
        failpoint::reach("apply: written");
        Ok(())
    }

    fn freeze(&self) -> Result<Frozen, TableError> {
        let frozen = describe(self.checkpoint("frozen")?, &mut |_| {})?;
        let before = self.newest().replace(frozen.clone());
        if let Some(hold) = before.and_then(|before| before.hold) {
            hold.supersede();
        }
        // Whoever has a copy of its own has caught up.
        self.intakes().remove_broken().map_err(TableError::Io)?;
        failpoint::reach("snapshot: taken");
        Ok(frozen)
    }

    fn copy(&self, look: &mut dyn FnMut(&dyn View)) -> Result<Frozen, TableError> {
        let copy = describe(self.checkpoint("copy")?, look)?;
        if let Some(hold) = &copy.hold {
            hold.supersede();
        }
        Ok(copy)
    }

    fn newest_frozen(&self) -> Result<Option<Frozen>, TableError> {
        Ok(self.newest().clone())
    }

    fn intake(&self, files: &[SnapshotFile]) -> Result<Intake, TableError> {
        if !intake::names_are_plain(files) {
            return Err(TableError::Corrupt { table: "snapshot", what: "a file has an unsafe name" });
        }
        // The newest offer wins; what an older transfer has brought so far is not lost.
        let mut intakes = self.intakes();
        let frozen = self.newest().as_ref().map(|frozen| frozen.dir.clone());
        let current = self.tables.load().dir.path().to_owned();
        let older = intakes.arriving.take();
        intakes.broken.extend(older);
        let sources: Vec<PathBuf> = intakes.broken.iter().cloned().chain(frozen).chain([current]).collect();
        let intake = intake::begin(self.fresh_dir("intake"), files, &sources).map_err(TableError::Io)?;
        intakes.arriving = Some(intake.dir.clone());
        intakes.remove_broken().map_err(TableError::Io)?;
        Ok(intake)
    }

    fn install(&self, arrived: &Arrived) -> Result<(), TableError> {
        let dir = self.fresh_dir("db");
        if arrived.keep {
            hard_link_all(&arrived.dir, &dir).map_err(TableError::Io)?;
        } else {
            fs::rename(&arrived.dir, &dir).map_err(TableError::Io)?;
            self.intakes().arriving.take_if(|arriving| *arriving == arrived.dir);
        }
        files::sync_dir(&self.root).map_err(TableError::Io)?;
        failpoint::reach("install: moved");
        let tables = Tables { db: open_db(&dir, &self.cache)?, dir: Kept::new(dir.clone()) };
        failpoint::reach("install: opened");
        let name = dir.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        files::write_atomically(&self.root.join(CURRENT), &name).map_err(TableError::Io)?;
        failpoint::reach("install: current");
        self.tables.swap(Arc::new(tables)).dir.supersede();
        self.freeze()?;
        failpoint::reach("install: done");
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        // What is not flushed yet counts, too: a young store has no file at all.
        self.sum(["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"])
    }

    fn live_bytes(&self) -> u64 {
        self.sum(["rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables"])
    }

    fn room(&self) -> io::Result<Room> {
        files::room(&self.root)
    }

    fn settle_ballast(&self, bytes: u64, enough: u64) -> io::Result<()> {
        self.ballast.settle(bytes, enough, self.room()?)
    }

    fn compact(&self) -> Result<(), TableError> {
        let tables = self.tables.load_full();
        let mut options = CompactOptions::default();
        // The tables' own flushes and compactions go on beside it.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        for table in Table::ALL {
            failpoint::reach("defragment: before a table");
            tables.db.compact_range_cf_opt(
                family(&tables.db, table)?,
                None::<&[u8]>,
                None::<&[u8]>,
                &options,
            );
        }
        failpoint::reach("defragment: rewritten");
        Ok(())
    }

    fn waits(&self) -> bool {
        true
    }
}

fn hard_link_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == "LOG" {
            continue;
        }
        // RocksDB appends to nothing but a new manifest, so sharing the others is safe; CURRENT is replaced by rename.
        let target = to.join(entry.file_name());
        if entry.path().extension().is_some_and(|extension| extension == "sst") {
            fs::hard_link(entry.path(), target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    files::sync_dir(to)
}

struct RocksView<'a> {
    db: &'a DB,
    rows: Snapshot<'a>,
}

impl View for RocksView<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        Ok(self.rows.get_cf(family(self.db, table)?, key).map_err(table_error)?.map(Bytes::from))
    }

    fn cursor(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + '_>, TableError> {
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let mut rows = self.rows.raw_iterator_cf_opt(family(self.db, table)?, options);
        rows.seek(from);
        settled(RocksCursor { rows }).map(|cursor| Box::new(cursor) as Box<dyn Cursor + '_>)
    }
}

struct RocksCursor<'a> {
    rows: DBRawIterator<'a>,
}

/// An iterator ends both at the last row and at an error; tell them apart.
fn settled(cursor: RocksCursor<'_>) -> Result<RocksCursor<'_>, TableError> {
    cursor.check()?;
    Ok(cursor)
}

impl RocksCursor<'_> {
    fn check(&self) -> Result<(), TableError> {
        if self.rows.valid() { Ok(()) } else { self.rows.status().map_err(table_error) }
    }
}

impl Cursor for RocksCursor<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.rows.key()
    }

    fn value(&self) -> &[u8] {
        self.rows.value().unwrap_or_default()
    }

    fn advance(&mut self) -> Result<(), TableError> {
        self.rows.next();
        self.check()
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), TableError> {
        self.rows.seek(key);
        self.check()
    }
}

#[cfg(test)]
pub(crate) mod tests;
