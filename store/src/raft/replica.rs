//! This node's copy of the state: applies entries, publishes what they did, and answers reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base::Revision;
use bytes::Bytes;
use openraft::EntryPayload;
use tokio::sync::watch;

use super::health::HealthCell;
use super::record;
use super::types::{Entry, LogId, StoredMembership};
use crate::disk::{APPLIED, Arrived, StateDisk, aside, codec, read};
use crate::hub::Hub;
use crate::leases::LeaseNews;
use crate::metrics;
use crate::mvcc::alarm::Alarms;
use crate::mvcc::auth::Auth;
use crate::mvcc::keyspace::Horizon;
use crate::mvcc::machine::{AppliedEntry, Difference, Machine, Outcome, OutcomeCodec, Stamped};
use crate::mvcc::overlay::Overlay;
use crate::mvcc::tables::{Change, Changes, Table, TableError, View};
use crate::seeded::{self, Bug};
use crate::status::Health;

/// How far this replica is. Published after the rows are written, so whoever sees it can read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last applied log index; 0 before the first.
    pub(crate) applied: u64,
    pub(crate) horizon: Horizon,
    pub(crate) hash: u32,
    /// Changes of keys since this process started.
    pub(crate) changes: u64,
    /// Grows with each change of the leases.
    pub(crate) leases: u64,
}

pub(crate) struct Replica {
    pub(crate) disk: Arc<dyn StateDisk>,
    pub(crate) hub: Hub,
    pub(crate) lease_news: LeaseNews,
    core: Mutex<Core>,
    progress: watch::Sender<Progress>,
    alarms: watch::Sender<Alarms>,
    /// Up to where this node has deleted what was compacted.
    cleaned: watch::Sender<Revision>,
    pub(crate) health: HealthCell,
    /// Set once Raft runs. Before that, entries are applied whatever the health: Raft's start waits for them.
    running: AtomicBool,
    /// The users as of the published progress, or a moment later.
    auth: ArcSwap<Auth>,
}

/// Why this replica is quarantined. The row is this node's own: it is not part of the replicated state.
const QUARANTINED: &[u8] = b"untrusted";

struct Core {
    machine: Machine,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl Core {
    fn load(disk: &dyn StateDisk) -> Result<Self, TableError> {
        read(disk, |view| {
            let machine = Machine::load(view, outcome_codec())?;
            let (applied, membership) = match view.get(Table::Meta, APPLIED)? {
                Some(row) => record::decode_applied(&row).map_err(TableError::Io)?,
                None => (None, StoredMembership::default()),
            };
            Ok(Self { machine, applied, membership })
        })
    }

    fn progress(&self, changes: u64, leases: u64) -> Progress {
        Progress {
            applied: self.applied.map_or(0, |id| id.index),
            horizon: self.machine.horizon(),
            hash: self.machine.hash(),
            changes,
            leases,
        }
    }
}

pub(crate) fn outcome_codec() -> OutcomeCodec {
    OutcomeCodec { encode: |outcome| codec::encode(outcome), decode: |bytes| codec::decode(bytes).ok() }
}

impl Replica {
    pub(crate) fn open(disk: Arc<dyn StateDisk>, ring_bytes_max: usize) -> Result<Self, TableError> {
        let core = Core::load(disk.as_ref())?;
        let progress = core.progress(0, 0);
        let health = match read(disk.as_ref(), |view| view.get(Table::Meta, QUARANTINED))? {
            Some(why) => Health::Quarantined { why: String::from_utf8_lossy(&why).into_owned() },
            None => Health::Sound,
        };
        let auth = core.machine.auth().clone();
        Ok(Self {
            disk,
            lease_news: LeaseNews::default(),
            hub: Hub::new(progress.horizon.newest, ring_bytes_max),
            cleaned: watch::Sender::new(Revision::new(0)),
            alarms: watch::Sender::new(core.machine.alarms().clone()),
            core: Mutex::new(core),
            progress: watch::Sender::new(progress),
            health: HealthCell::new(health),
            running: AtomicBool::new(false),
            auth: ArcSwap::new(auth),
        })
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    pub(crate) fn watch_progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn tell_cleaned(&self, below: Revision) {
        self.cleaned.send_replace(below);
    }

    /// Waits until what a compaction at `compacted` took is deleted here.
    pub(crate) async fn wait_until_clean(&self, compacted: Revision) {
        let mut cleaned = self.cleaned.subscribe();
        let _ = cleaned.wait_for(|cleaned| *cleaned >= compacted).await;
    }

    pub(crate) fn alarms(&self) -> Alarms {
        self.alarms.borrow().clone()
    }

    pub(crate) fn applied(&self) -> (Option<LogId>, StoredMembership) {
        let core = self.lock();
        (core.applied, core.membership.clone())
    }

    /// Waits until the entry at `index` is applied here.
    pub(crate) async fn wait_for_index(&self, index: u64) {
        let mut progress = self.progress.subscribe();
        let _ = progress.wait_for(|progress| progress.applied >= index).await;
    }

    pub(crate) async fn wait_for_revision(&self, revision: Revision) {
        let mut progress = self.progress.subscribe();
        let _ = progress.wait_for(|progress| progress.horizon.newest >= revision).await;
    }

    /// Raft runs from here on: a quarantine now holds its entries back.
    pub(crate) fn run(&self) {
        self.running.store(true, Ordering::Release);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// How far this replica is, whatever is published.
    pub(crate) fn applied_index(&self) -> u64 {
        self.lock().applied.map_or(0, |id| id.index)
    }

    /// It is in doubt whether what is served is right.
    pub(crate) fn suspect(&self, why: String) {
        if !self.health.is_quarantined() {
            self.health.set(Health::Suspect { why });
            self.hub.rouse();
        }
    }

    /// What this replica holds is wrong. Whether that is news.
    pub(crate) fn quarantine(&self, why: String) -> bool {
        let mut row = Changes::default();
        row.put(Table::Meta, Bytes::from_static(QUARANTINED), why.clone());
        if let Err(error) = self.disk.write(&row) {
            tracing::warn!(%error, "a restart will not know of the quarantine");
        }
        let news = !self.health.is_quarantined();
        self.health.set(Health::Quarantined { why });
        self.hub.rouse();
        news
    }

    /// A read or a write of rows has failed. Damage takes the replica out of service.
    pub(crate) fn failed(&self, error: &TableError) {
        let source = std::error::Error::source(error);
        tracing::error!(%error, ?source, "cannot read the state");
        if error.is_damage() {
            self.quarantine(format!("its tables are damaged: {error}"));
        }
    }

    /// Waits out a quarantine, if damage is why a row could not be read; any other failure is final.
    pub(crate) async fn outlive(&self, error: TableError) -> Result<(), TableError> {
        self.failed(&error);
        if !error.is_damage() {
            return Err(error);
        }
        // An error means that the node is stopping, which the caller finds out by itself.
        let _stopping = self.health.released().await;
        Ok(())
    }

    /// Applies entries as one write, and returns the outcomes of each one's commands, in order; `None`: not while
    /// quarantined.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<Option<Vec<Vec<Outcome>>>, TableError> {
        let mut core = self.lock();
        if self.is_running() && self.health.is_quarantined() {
            return Ok(None);
        }
        let mut done = Vec::with_capacity(entries.len());
        let rows = read(self.disk.as_ref(), |view| {
            let mut rows = Overlay::new(view);
            for entry in entries {
                done.push(core.apply_one(&mut rows, entry)?);
            }
            let applied = record::encode_applied(core.applied.as_ref(), &core.membership);
            rows.put(Table::Meta, Bytes::from_static(APPLIED), applied);
            Ok::<_, TableError>(rows.into_changes())
        })?;
        if seeded::is(Bug::AppliedApart) {
            let is_position = |change: &Change| matches!(change, Change::Put { key, .. } if key == APPLIED);
            let (position, rows) = rows.0.into_iter().partition(is_position);
            self.disk.write(&Changes(position))?;
            self.disk.write(&Changes(rows))?;
        } else {
            self.disk.write(&rows)?;
        }
        let Progress { mut changes, mut leases, .. } = self.progress();
        let mut outcomes = Vec::with_capacity(done.len());
        for entry in done {
            if let Some(Difference { revision, ours, theirs }) = entry.difference {
                let why = format!("revision {revision} has hash {ours:08x} here, {theirs:08x} on the leader");
                self.suspect(why);
            }
            let mut of_entry = Vec::with_capacity(entry.done.len());
            for applied in entry.done {
                if let Some(change) = applied.lease {
                    self.lease_news.add(change);
                    leases += 1;
                }
                if let Some((revision, events)) = applied.events {
                    metrics::count_events(events.len());
                    changes += events.len() as u64;
                    self.hub.push(revision, events);
                }
                of_entry.push(applied.outcome);
            }
            outcomes.push(of_entry);
        }
        self.publish_auth(&core);
        let progress = core.progress(changes, leases);
        self.publish_alarms(&core);
        self.progress.send_replace(progress);
        self.hub.publish(progress.horizon.newest);
        Ok(Some(outcomes))
    }

    /// Replaces everything by a copy from another node. Watchers go on from the disk.
    pub(crate) fn install(&self, arrived: &Arrived) -> Result<(), TableError> {
        let mut core = self.lock();
        self.disk.install(arrived)?;
        *core = Core::load(self.disk.as_ref())?;
        let Progress { changes, leases, .. } = self.progress();
        let progress = core.progress(changes, leases + 1);
        self.publish_alarms(&core);
        self.publish_auth(&core);
        self.progress.send_replace(progress);
        if seeded::is(Bug::InstallSkipsWatches) {
            self.hub.publish(progress.horizon.newest);
        } else {
            self.hub.restart(progress.horizon.newest);
        }
        Ok(())
    }

    pub(crate) fn auth(&self) -> arc_swap::Guard<Arc<Auth>> {
        self.auth.load()
    }

    /// Goes before the progress: whoever reads what an entry wrote finds the users as they were by then, or newer.
    fn publish_auth(&self, core: &Core) {
        if !Arc::ptr_eq(&self.auth.load(), core.machine.auth()) {
            self.auth.store(core.machine.auth().clone());
        }
    }

    /// Reads through a consistent view. Long reads go to a blocking thread when the disk may wait.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        long: bool,
        f: impl FnOnce(&dyn View, Horizon) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let replica = self.clone();
        // The horizon is read after the view is taken: rows that it allows cannot have been cleaned from the view.
        let work = move || {
            let newest = replica.progress().horizon.newest;
            read(replica.disk.as_ref(), |view| {
                f(view, Horizon { newest, compacted: replica.progress().horizon.compacted })
            })
        };
        aside(long && self.disk.waits(), work).await.map_err(TableError::Io)?
    }

    fn publish_alarms(&self, core: &Core) {
        self.alarms.send_if_modified(|alarms| {
            let changed = alarms != core.machine.alarms();
            if changed {
                alarms.clone_from(core.machine.alarms());
            }
            changed
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn apply_one(&mut self, rows: &mut Overlay<'_>, entry: &Entry) -> Result<AppliedEntry, TableError> {
        // A copy that was installed beside Raft is ahead of what Raft knows to be applied.
        if self.applied.is_some_and(|applied| entry.log_id.index <= applied.index) {
            return Ok(AppliedEntry::default());
        }
        self.applied = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => Ok(AppliedEntry::default()),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Ok(AppliedEntry::default())
            }
            EntryPayload::Normal(proposal) => {
                let commands = proposal.commands.unpack().map_err(TableError::Io)?;
                let commands =
                    commands.iter().map(|command| codec::decode(command)).collect::<Result<_, _>>();
                let stamped = Stamped {
                    index: entry.log_id.index,
                    time_ms: proposal.time_ms,
                    witness: proposal.witness.map(|(revision, hash)| (Revision::new(revision), hash)),
                    commands: commands.map_err(TableError::Io)?,
                };
                self.machine.apply(rows, &stamped)
            }
        }
    }
}
