//! Opening the tables at start; when they are damaged, taking a copy from another member before Raft starts.
//!
//! Whom to ask is not read from the tables: it is where the members were when this node last ran, and whoever lives now
//! at the addresses of the configuration, and whom those name. Vote and log stay as they are. Damaged tables are set
//! aside, not deleted: somebody may want to know what happened.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use futures::future::join_all;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Disk, NodeConfig, Required};
use crate::disk::rocks_state::RocksState;
use crate::disk::{StateDisk, aside, files};
use crate::entrance::messages::{Asks, Welcome};
use crate::entrance::settle::{introduce, introduction};
use crate::error::StartError;
use crate::mvcc::tables::TableError;
use crate::raft::log_store::LogReader;
use crate::raft::peers::{Peer, Peers};
use crate::raft::record;
use crate::raft::replica::Replica;
use crate::seat::Seated;
use crate::store::rebuild;

/// Says that the tables beside it must not be used: they were found to be damaged, or are not complete yet.
const CONDEMNED: &str = "CONDEMNED";
const PAUSE: Duration = Duration::from_secs(1);
/// How long somebody may take to say who it is.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// What opening the tables needs to know.
pub(super) struct Repair<'a> {
    pub(super) config: &'a NodeConfig,
    pub(super) seat: &'a Seated,
    pub(super) peers: &'a dyn Peers,
    pub(super) log: LogReader,
    pub(super) stop: &'a CancellationToken,
}

/// Makes the next start take a copy from another member.
pub(super) fn condemn(disk: &Disk) {
    match disk {
        Disk::Memory(memory) => memory.tables.set_condemned(true),
        Disk::Directory(path) => {
            if let Err(error) = files::write_atomically(&path.join("state").join(CONDEMNED), b"") {
                error!(%error, "cannot mark the damaged tables");
            }
        }
    }
}

/// Tables may have applied what is not in this node's log: the others had made it durable when this node had not. Raft
/// goes on from where the tables are, and needs a snapshot of just that.
async fn close_gap(replica: &Replica, log: &LogReader) -> Result<(), TableError> {
    let applied = replica.applied_index();
    if applied == 0 || applied < log.end() {
        return Ok(());
    }
    info!(applied, end = log.end(), "the tables are ahead of the log");
    let disk = replica.disk.clone();
    aside(disk.waits(), move || disk.freeze()).await.map_err(TableError::Io)?.map(drop)
}

impl Repair<'_> {
    /// As [`Self::open`], with a log that holds what it must, and that the tables go with.
    ///
    /// # Errors
    /// As [`Self::open`]; or when the log ends too soon.
    pub(super) async fn open_complete(&self, required: &Required) -> Result<Replica, StartError> {
        let replica = self.open().await?;
        required.check(self.log.end().saturating_sub(1).max(replica.applied_index()))?;
        let closed = close_gap(&replica, &self.log).await;
        closed.map_err(|error| self.config.disk.failed(error.into()))?;
        Ok(replica)
    }

    /// # Errors
    /// When the disk fails, or the tables are damaged and there is nobody to take a copy from.
    async fn open(&self) -> Result<Replica, StartError> {
        let damage = match self.try_open().await {
            Ok(replica) => return Ok(replica),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(self.config.disk.failed(error.into())),
        };
        let failed = |error| self.config.disk.failed(error);
        if self.known().is_empty() && self.addresses().is_empty() {
            return Err(failed(damage.into()));
        }
        error!(%damage, source = ?std::error::Error::source(&damage), "the tables are damaged; another member is asked for a copy");
        let tables = begin_anew(&self.config.disk).map_err(failed)?;
        // A log that was never cut holds everything.
        if self.log.first_needed() > 0 {
            self.fill(&tables).await?;
        }
        acquit(&self.config.disk).map_err(failed)?;
        Replica::open(tables, self.config.watch_ring_bytes).map_err(|error| failed(error.into()))
    }

    async fn try_open(&self) -> Result<Replica, TableError> {
        let (disk, ring_bytes) = (self.config.disk.clone(), self.config.watch_ring_bytes);
        let open = move || {
            if is_condemned(&disk) {
                let what = "they were found to be damaged before";
                return Err(TableError::Corrupt { table: "all", what });
            }
            let tables: Arc<dyn StateDisk> = match disk {
                Disk::Memory(memory) => Arc::new(memory.tables),
                Disk::Directory(path) => Arc::new(RocksState::open(&path.join("state"))?),
            };
            Replica::open(tables, ring_bytes)
        };
        aside(self.config.disk.waits(), open).await.map_err(TableError::Io)?
    }

    /// Asks one after the other, until there is a copy that goes with the log.
    async fn fill(&self, tables: &Arc<dyn StateDisk>) -> Result<(), StartError> {
        let mut least = self.log.first_needed();
        let attempts = async {
            loop {
                for peer in self.others().await {
                    match self.fill_from(&peer, least, tables).await {
                        Ok(true) => return peer.id,
                        // What this log holds beyond the copy was never committed: a copy from further on replaces it.
                        Ok(false) => least = self.log.end(),
                        Err(why) => warn!(peer = %peer.id, url = %peer.url, why, "no copy from this member"),
                    }
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                let error = std::io::Error::other("stopped before the tables were repaired");
                Err(self.config.disk.failed(error))
            }
            from = attempts => {
                info!(%from, "the tables are repaired");
                Ok(())
            }
        }
    }

    /// Everybody who may have a copy: who is known by id, and whoever says who it is.
    async fn others(&self) -> Vec<Peer> {
        let mut others = self.known();
        let place = self.seat.place();
        let introduction = introduction(self.config, (&self.seat.file, self.seat.process), Asks::Standing);
        let addresses = self.addresses();
        // Ids are not known here: these only tell connections apart.
        let asked = addresses.iter().zip(0..).map(|(url, at)| {
            let to = Peer { id: NodeId::new(u64::MAX - at), url: url.clone() };
            let introduction = &introduction;
            async move {
                introduce(self.peers, &to, introduction, ANSWER_TIME_MAX).await.map(|said| (to.url, said))
            }
        });
        for (url, said) in join_all(asked).await.into_iter().flatten() {
            if let Welcome::Placed { cluster_id, node_id, members, .. } = said
                && cluster_id == place.cluster_id
            {
                others.push(Peer { id: node_id, url });
                others.extend(members.into_iter().map(|(id, url)| Peer { id, url }));
            }
        }
        let mut seen = BTreeSet::new();
        others.retain(|peer| peer.id != place.node_id && seen.insert((peer.id, peer.url.clone())));
        others
    }

    /// The members as of this node's last run, and its fellow founders where the configuration says that they are.
    fn known(&self) -> Vec<Peer> {
        let place = self.seat.place();
        let mut known = self.seat.remembered_members();
        known.extend(self.config.others().into_iter().filter_map(|(name, peer)| {
            let founder = place.founders.iter().find(|founder| founder.name == name)?;
            Some(Peer { id: founder.id, url: peer.url })
        }));
        known.retain(|peer| peer.id != place.node_id);
        known
    }

    /// Every address at which a member may live now.
    fn addresses(&self) -> BTreeSet<String> {
        let configured = self.config.others().into_iter().map(|(_, peer)| peer.url);
        configured.chain(self.known().into_iter().map(|peer| peer.url)).collect()
    }

    async fn fill_from(&self, peer: &Peer, least: u64, tables: &Arc<dyn StateDisk>) -> Result<bool, String> {
        let pulled = rebuild::pull(self.peers, peer, least, tables.clone()).await?;
        let (id, _) = record::decode_applied(&pulled.applied).map_err(|error| error.to_string())?;
        let id = id.ok_or("its copy has applied nothing")?;
        if !self.log.agrees_with(id).map_err(|error| error.to_string())? {
            return Ok(false);
        }
        let tables = tables.clone();
        let installed = aside(tables.waits(), move || tables.install(&pulled.arrived)).await;
        installed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(true)
    }
}

fn is_condemned(disk: &Disk) -> bool {
    match disk {
        Disk::Memory(memory) => memory.tables.is_condemned(),
        Disk::Directory(path) => path.join("state").join(CONDEMNED).exists(),
    }
}

/// Empty tables in the place of the damaged ones, not to be used before [`acquit`].
fn begin_anew(disk: &Disk) -> std::io::Result<Arc<dyn StateDisk>> {
    match disk {
        Disk::Memory(memory) => {
            memory.tables.empty();
            memory.tables.set_condemned(true);
            Ok(Arc::new(memory.tables.clone()))
        }
        Disk::Directory(path) => {
            let state = path.join("state");
            set_aside(&state)?;
            std::fs::create_dir_all(&state)?;
            let tables = Arc::new(RocksState::open(&state)?);
            files::write_atomically(&state.join(CONDEMNED), b"")?;
            Ok(tables)
        }
    }
}

/// The tables are complete.
fn acquit(disk: &Disk) -> std::io::Result<()> {
    match disk {
        Disk::Memory(memory) => memory.tables.set_condemned(false),
        Disk::Directory(path) => {
            let state = path.join("state");
            std::fs::remove_file(state.join(CONDEMNED))?;
            files::sync_dir(&state)?;
        }
    }
    Ok(())
}

/// Keeps the newest damaged tables only.
fn set_aside(state: &Path) -> std::io::Result<()> {
    let damaged = PathBuf::from(format!("{}-damaged", state.display()));
    match std::fs::remove_dir_all(&damaged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::rename(state, &damaged)?;
    state.parent().map_or(Ok(()), files::sync_dir)
}
