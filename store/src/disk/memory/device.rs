//! A simulated device: the folder of one log, as bytes.
//!
//! What a process has written outlives the process, up to the step that it was at. When the power goes, what was synced
//! stays; of all else some writes stay whole, some are torn, and some are gone, in any order. A step that somebody still
//! waits for may not have been begun.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::lock;
use super::simulated::{Chance, DiskWhims, SyncFate};
use crate::disk::segments::{Folder, Storage, WholeFrame, whole_frames};

/// What a device keeps or loses as a whole.
const SECTOR_BYTES: u64 = 512;
const FAILS: &str = "the simulated disk fails";

#[derive(Clone)]
pub(crate) struct Device {
    state: Arc<Mutex<State>>,
    whims: Arc<dyn DiskWhims>,
}

#[derive(Default)]
struct State {
    /// What a process sees.
    now: Contents,
    /// What no crash takes.
    durable: Contents,
    /// What is not durable, in order, with the syncs that nobody has been told of.
    since: Vec<Step>,
    /// So many of these have certainly been done: somebody was told.
    told: usize,
    /// How long the device needs for what it was asked since somebody was told.
    busy_for: Duration,
    files_made: u64,
    /// How much room is left for new segments; `None`: plenty.
    free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Step {
    Create { name: String, file: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
    Write { file: u64, at: u64, bytes: Vec<u8> },
    Resize { file: u64, bytes: u64 },
    Sync(Target),
}

/// What a sync is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Folder,
    File(u64),
}

impl Device {
    pub(super) fn new(whims: Arc<dyn DiskWhims>) -> Self {
        Self { state: Arc::default(), whims }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// As it was when it was bought.
    pub(super) fn empty(&self) {
        let mut state = self.lock();
        *state = State { files_made: state.files_made, free_bytes: state.free_bytes, ..State::default() };
    }

    pub(super) fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.lock().free_bytes = free_bytes;
    }

    /// Comes when the device is done with all that it was asked.
    pub(super) async fn settled(&self) {
        let busy_for = std::mem::take(&mut self.lock().busy_for);
        if !busy_for.is_zero() {
            tokio::time::sleep(busy_for).await;
        }
        self.settle();
    }

    /// It is done with all that it was asked, at once.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        let all = state.since.len();
        state.settle(all);
        state.busy_for = Duration::ZERO;
    }

    /// How many writes a loss of power may lose.
    pub(super) fn unsynced(&self) -> usize {
        self.lock().since.iter().filter(|step| matches!(step, Step::Write { .. })).count()
    }

    /// Ends the process that uses it, at any step of those that it still waits for.
    pub(super) fn kill(&self, chance: Chance<'_>) {
        let mut state = self.lock();
        state.stop(chance);
        state.show();
    }

    /// As [`Device::kill`], and keeps what a loss of power keeps.
    pub(super) fn cut_power(&self, chance: Chance<'_>) {
        let mut state = self.lock();
        state.stop(chance);
        state.tear(chance);
        state.show();
    }

    /// Flips a bit in one of the frames that a later one proves to have been durable: such damage can be seen. False:
    /// there are none. The process must have ended.
    pub(super) fn rot(&self, chance: Chance<'_>) -> bool {
        let mut state = self.lock();
        let proven = state.durable.proven_frames();
        let Some(last) = proven.len().checked_sub(1) else { return false };
        let (file, frame) = &proven[index(chance, last)];
        let byte = frame.place.start + index(chance, frame.place.len() - 1);
        if let Some(bytes) = state.durable.files.get_mut(file) {
            bytes[byte] ^= 1 << chance(7);
        }
        state.show();
        true
    }

    fn perform(&self, step: Step) {
        let mut state = self.lock();
        state.now.apply(&step);
        state.since.push(step);
    }

    fn sync(&self, target: Target) -> io::Result<()> {
        let (after, is_kept) = match self.whims.sync() {
            SyncFate::Durable { after } => (after, true),
            SyncFate::Forgotten { after } => (after, false),
            SyncFate::Fails(kind) => return Err(io::Error::new(kind, FAILS)),
        };
        let mut state = self.lock();
        state.busy_for += after;
        if is_kept {
            state.since.push(Step::Sync(target));
        }
        Ok(())
    }
}

impl State {
    /// The first so many steps are done: what they have synced is durable.
    fn settle(&mut self, count: usize) {
        let mut steps = std::mem::take(&mut self.since);
        let later = steps.split_off(count);
        let mut synced = BTreeSet::new();
        let mut open = Vec::new();
        for step in steps.iter().rev() {
            open.push(!synced.contains(&step.target()));
            if let Step::Sync(target) = step {
                synced.insert(*target);
            }
        }
        for (step, is_open) in steps.into_iter().zip(open.into_iter().rev()) {
            match step {
                Step::Sync(_) => {}
                step if is_open => self.since.push(step),
                step => self.durable.apply(&step),
            }
        }
        self.told = self.since.len();
        self.since.extend(later);
    }

    /// The process gets no further than some step that it waits for.
    fn stop(&mut self, chance: Chance<'_>) {
        let done = self.told + index(chance, self.since.len() - self.told);
        self.since.truncate(done);
        self.settle(done);
        self.busy_for = Duration::ZERO;
    }

    /// What is not durable is kept, torn or lost. The file system's own journal is in order.
    fn tear(&mut self, chance: Chance<'_>) {
        let steps = std::mem::take(&mut self.since);
        self.told = 0;
        let of_folder = steps.iter().filter(|step| step.target() == Target::Folder).count();
        let mut kept_of_folder = index(chance, of_folder);
        for step in steps {
            match step {
                Step::Write { file, at, bytes } => {
                    for (at, bytes) in torn(at, &bytes, chance) {
                        self.durable.apply(&Step::Write { file, at, bytes });
                    }
                }
                Step::Resize { .. } | Step::Sync(_) => {}
                step if kept_of_folder > 0 => {
                    kept_of_folder -= 1;
                    self.durable.apply(&step);
                }
                Step::Create { .. } | Step::Rename { .. } | Step::Remove { .. } => {}
            }
        }
    }

    /// What the next process will find.
    fn show(&mut self) {
        self.now = self.durable.clone();
        for step in &self.since {
            self.now.apply(step);
        }
    }
}

impl Step {
    fn target(&self) -> Target {
        match self {
            Self::Create { .. } | Self::Rename { .. } | Self::Remove { .. } => Target::Folder,
            Self::Write { file, .. } | Self::Resize { file, .. } => Target::File(*file),
            Self::Sync(target) => *target,
        }
    }
}

impl Contents {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { name, file } => {
                self.files.entry(*file).or_default();
                self.rename(name.clone(), *file);
            }
            Step::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.rename(to.clone(), file);
                }
            }
            Step::Remove { name } => {
                if let Some(file) = self.names.remove(name) {
                    self.files.remove(&file);
                }
            }
            Step::Write { file, at, bytes } => {
                let content = self.files.entry(*file).or_default();
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Step::Resize { file, bytes } => {
                self.files.entry(*file).or_default().resize(usize::try_from(*bytes).unwrap_or(usize::MAX), 0);
            }
            Step::Sync(_) => {}
        }
    }

    fn rename(&mut self, name: String, file: u64) {
        if let Some(before) = self.names.insert(name, file) {
            self.files.remove(&before);
        }
    }

    /// Frames that cannot be taken for torn ones, whatever becomes of them: one that will stay calls them durable.
    fn proven_frames(&self) -> Vec<(u64, WholeFrame)> {
        let segments = self.names.iter().filter_map(|(name, file)| {
            let number = name.strip_prefix("segment-")?.parse().ok()?;
            Some((*file, whole_frames(number, self.files.get(file)?)))
        });
        let all: Vec<(u64, WholeFrame)> =
            segments.flat_map(|(file, frames)| frames.into_iter().map(move |frame| (file, frame))).collect();
        let durable = all.iter().map(|(_, frame)| frame.durable).max().unwrap_or(0);
        all.into_iter().filter(|(_, frame)| frame.number < durable).collect()
    }
}

/// What a loss of power leaves of a write: none of it, its beginning, some of its sectors, or all.
fn torn(at: u64, bytes: &[u8], chance: Chance<'_>) -> Vec<(u64, Vec<u8>)> {
    match chance(3) {
        0 => Vec::new(),
        1 => vec![(at, bytes[..index(chance, bytes.len())].to_vec())],
        2 => sectors(at, bytes).into_iter().filter(|_| chance(1) == 1).collect(),
        _ => vec![(at, bytes.to_vec())],
    }
}

fn sectors(at: u64, bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut sectors = Vec::new();
    let (mut at, mut rest) = (at, bytes);
    while !rest.is_empty() {
        let room = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(rest.len());
        let (sector, later) = rest.split_at(room.min(rest.len()));
        sectors.push((at, sector.to_vec()));
        at += sector.len() as u64;
        rest = later;
    }
    sectors
}

fn index(chance: Chance<'_>, most: usize) -> usize {
    usize::try_from(chance(most as u64)).unwrap_or(most).min(most)
}

impl Folder for Device {
    fn numbered(&self, prefix: &str) -> io::Result<Vec<u64>> {
        let state = self.lock();
        let number = |name: &String| name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok();
        let mut numbers: Vec<u64> = state.now.names.keys().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        let file = self.lock().now.names.get(name).copied();
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Arc::new(Opened { device: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        let file = {
            let mut state = self.lock();
            state.files_made += 1;
            state.files_made
        };
        self.perform(Step::Create { name: name.to_owned(), file });
        Ok(Arc::new(Opened { device: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.perform(Step::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.perform(Step::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Self::sync(self, Target::Folder)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}

/// A file of a device.
struct Opened {
    device: Device,
    file: u64,
}

impl Opened {
    fn gone() -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, "the file was removed")
    }
}

impl Storage for Opened {
    fn bytes(&self) -> io::Result<u64> {
        let state = self.device.lock();
        state.now.files.get(&self.file).map(|bytes| bytes.len() as u64).ok_or_else(Self::gone)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let state = self.device.lock();
        let bytes = state.now.files.get(&self.file).ok_or_else(Self::gone)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let wanted = bytes.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(wanted);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let fails = self.device.whims.write();
        let taken = if fails.is_some() { bytes.len() / 2 } else { bytes.len() };
        self.device.perform(Step::Write { file: self.file, at, bytes: bytes[..taken].to_vec() });
        fails.map_or(Ok(()), |kind| Err(io::Error::new(kind, FAILS)))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.device.lock().free_bytes.is_some_and(|free_bytes| free_bytes < bytes) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, FAILS));
        }
        self.device.perform(Step::Resize { file: self.file, bytes });
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        self.device.sync(Target::File(self.file))
    }
}

#[cfg(test)]
mod tests;
