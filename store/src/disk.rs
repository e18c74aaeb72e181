//! Where rows and the log live: two traits; RocksDB and our own segments behind them, and a twin in memory for tests
//! and simulation.
//!
//! Only this room names rocksdb or bincode. It knows bytes and tables, nothing of Raft and nothing of MVCC's meaning.

pub(crate) mod ballast;
pub(crate) mod codec;
pub(crate) mod files;
mod intake;
pub(crate) mod memory;
pub(crate) mod rocks_state;
pub(crate) mod segments;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::mvcc::tables::{Changes, TableError, View};
use crate::raft::peers::{Intake, SnapshotFile};
use crate::seeded::{self, Bug};

/// Where the state machine's position is kept in `meta`, in the same batch as the data.
pub(crate) const APPLIED: &[u8] = b"applied";

/// The tables of the state machine. Writes are atomic and in order, and durable only after a [`StateDisk::freeze`].
pub(crate) trait StateDisk: Send + Sync + 'static {
    /// Calls `f` once with a consistent view.
    fn with_view(&self, f: &mut dyn FnMut(&dyn View));

    fn write(&self, changes: &Changes) -> Result<(), TableError>;

    /// Makes everything written durable, and keeps a copy of it as it is now.
    fn freeze(&self) -> Result<Frozen, TableError>;

    /// Makes a copy that nothing else knows of and that ends with its holder, and shows what is in it.
    fn copy(&self, look: &mut dyn FnMut(&dyn View)) -> Result<Frozen, TableError>;

    /// The newest copy that was kept, also by an earlier process.
    fn newest_frozen(&self) -> Result<Option<Frozen>, TableError>;

    /// Makes room for the files of another node's copy, and says which of them are not here already.
    fn intake(&self, files: &[SnapshotFile]) -> Result<Intake, TableError>;

    /// Replaces all tables by a copy that has arrived.
    fn install(&self, arrived: &Arrived) -> Result<(), TableError>;

    /// About how many bytes the tables take.
    fn size_bytes(&self) -> u64;

    /// About how many bytes of the tables are not garbage.
    fn live_bytes(&self) -> u64;

    /// How much room the tables' disk has.
    fn room(&self) -> io::Result<Room>;

    /// Holds `bytes` of the disk as long as more than `enough` is left beside them; gives them back when it is full.
    fn settle_ballast(&self, bytes: u64, enough: u64) -> io::Result<()>;

    /// Rewrites the tables without what was deleted. Takes long; reads and writes go on meanwhile.
    fn compact(&self) -> Result<(), TableError>;

    /// Whether calls may wait for a device; long ones then belong on a blocking thread.
    fn waits(&self) -> bool;
}

/// Reads through a view and returns what `f` makes of it.
///
/// # Panics
/// If the disk does not call back, which its contract demands.
pub(crate) fn read<T>(disk: &dyn StateDisk, f: impl FnOnce(&dyn View) -> T) -> T {
    let mut f = Some(f);
    let mut out = None;
    disk.with_view(&mut |view| {
        if let Some(f) = f.take() {
            out = Some(f(view));
        }
    });
    out.expect("with_view calls back once")
}

/// Runs what may wait for a device on a thread of its own, so that no task does. A disk that never waits is used at once:
/// a simulation has one thread.
pub(crate) async fn aside<T: Send + 'static>(
    waits: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if waits { tokio::task::spawn_blocking(work).await.map_err(io::Error::other) } else { Ok(work()) }
}

/// The space of a file system, as far as we may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// A copy of the tables at one moment. Its files stay while this is held.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) dir: PathBuf,
    /// The copy itself, of a disk that has no files.
    pub(crate) inline: Bytes,
    /// The row that says how far the copy is.
    pub(crate) applied: Option<Bytes>,
    pub(crate) hold: Option<Arc<files::Kept>>,
}

/// A copy that came from another node.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) dir: PathBuf,
    pub(crate) inline: Bytes,
    /// The directory is somebody's copy and must stay; else it becomes ours.
    pub(crate) keep: bool,
}

/// The Raft log, the vote and the committed index. One writer calls `write`, in order.
pub(crate) trait LogDisk: Send + Sync + 'static {
    fn load(&self) -> io::Result<LogHead>;

    /// The entries with `from <= index < to`, in order.
    fn entries(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>>;

    /// Performs the writes in order; durable on return if any of them asks for it. After a crash those that were not
    /// durable are there up to some write.
    fn write(&self, writes: &[LogWrite]) -> io::Result<()>;

    /// Comes when what was written is durable, of a disk that does not wait: a simulated one takes its time.
    fn settled(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether calls may wait for a device.
    fn waits(&self) -> bool;
}

/// What the log says beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogHead {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<Bytes>,
    pub(crate) last: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogWrite {
    Vote(Bytes),
    /// Need not be durable: it only shortens recovery.
    Committed(Option<Bytes>),
    Entry {
        index: u64,
        entry: Bytes,
    },
    /// Removes this index and all above.
    TruncateFrom(u64),
    /// Removes this index and all below.
    PurgeTo {
        index: u64,
        id: Bytes,
    },
}

impl LogWrite {
    /// Whether somebody is told that it is durable.
    pub(crate) fn must_be_durable(&self) -> bool {
        match self {
            Self::Vote(_) if seeded::is(Bug::VoteNotSynced) => false,
            Self::Vote(_) | Self::Entry { .. } | Self::TruncateFrom(_) => true,
            Self::Committed(_) | Self::PurgeTo { .. } => false,
        }
    }
}
