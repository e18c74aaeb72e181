//! The real log on a simulated device: after any crash it says what it said after some write, and all that anybody was
//! told of; damage is refused.

use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryLog;
use crate::disk::segments::{LogOpenError, SegmentedLog};
use crate::disk::{LogDisk, LogHead, LogWrite};

/// Small, so that few writes fill several segments.
const SEGMENT_BYTES: u64 = 2048;
const PROMPT: SyncFate = SyncFate::Durable { after: Duration::ZERO };

struct Fate {
    sync: Mutex<SyncFate>,
    write: Mutex<Option<io::ErrorKind>>,
}

impl Fate {
    fn device() -> (Arc<Self>, Device) {
        let fate = Arc::new(Self { sync: Mutex::new(PROMPT), write: Mutex::default() });
        (fate.clone(), Device::new(fate))
    }

    fn set(&self, sync: SyncFate) {
        *lock(&self.sync) = sync;
    }
}

impl DiskWhims for Fate {
    fn sync(&self) -> SyncFate {
        *lock(&self.sync)
    }

    fn write(&self) -> Option<io::ErrorKind> {
        *lock(&self.write)
    }
}

fn open(device: &Device) -> Result<SegmentedLog, LogOpenError> {
    let log = SegmentedLog::open_in(Arc::new(device.clone()), SEGMENT_BYTES)?;
    device.settle();
    Ok(log)
}

fn entry(index: u64, size: usize) -> LogWrite {
    LogWrite::Entry { index, entry: Bytes::from(vec![index.to_le_bytes()[0]; size]) }
}

fn vote(term: u8) -> LogWrite {
    LogWrite::Vote(Bytes::from(vec![term; 9]))
}

type Content = (LogHead, Vec<(u64, Bytes)>);

fn content(log: &dyn LogDisk) -> Content {
    (log.load().expect("a head"), log.entries(0, u64::MAX).expect("entries"))
}

/// Chance that is different each time, and the same for the same seed.
fn dice(seed: u64) -> impl Fn(u64) -> u64 {
    let state = Cell::new(seed);
    move |most| {
        let next =
            state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.set(next);
        (next >> 33) % (most + 1)
    }
}

/// What was written, and how far somebody was told that it is durable.
#[derive(Default)]
struct Course {
    batches: Vec<Vec<LogWrite>>,
    told: usize,
}

impl Course {
    /// What the log says after each batch, and before the first.
    fn contents(&self) -> Vec<Content> {
        let twin = MemoryLog::default();
        let mut contents = vec![content(&twin)];
        for batch in &self.batches {
            twin.write(batch).expect("memory takes it");
            contents.push(content(&twin));
        }
        contents
    }

    /// The first index that is free, and the highest that is purged.
    fn ends(&self) -> (u64, u64) {
        let (mut next, mut purged) = (1, 0);
        for write in self.batches.iter().flatten() {
            match write {
                LogWrite::Entry { index, .. } => next = index + 1,
                LogWrite::TruncateFrom(index) => next = *index,
                LogWrite::PurgeTo { index, .. } => {
                    purged = *index;
                    next = next.max(index + 1);
                }
                LogWrite::Vote(_) | LogWrite::Committed(_) => {}
            }
        }
        (next, purged)
    }

    /// After a crash the log goes on from what it says now, which it must have said before.
    fn go_on_from(&mut self, found: &Content) -> Result<(), String> {
        let contents = self.contents();
        let at = (self.told..contents.len()).rev().find(|at| contents[*at] == *found);
        let (head, entries) = found;
        let at = at.ok_or_else(|| {
            let indices: Vec<u64> = entries.iter().map(|(index, _)| *index).collect();
            format!("told of {}: {:?} {:?} {indices:?}", self.told, head.vote, head.committed)
        })?;
        self.batches.truncate(at);
        self.told = at;
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u64,
        size: usize,
    },
    Truncate {
        back: u64,
    },
    Purge {
        keep: u64,
    },
    Vote(u8),
    Committed(u8),
    /// Somebody is told of all before.
    Settle,
    Kill(u64),
    CutPower(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4_u64, 0..700_usize).prop_map(|(count, size)| Step::Append { count, size }),
        1 => (0..4_u64).prop_map(|back| Step::Truncate { back }),
        2 => (0..6_u64).prop_map(|keep| Step::Purge { keep }),
        2 => any::<u8>().prop_map(Step::Vote),
        3 => any::<u8>().prop_map(Step::Committed),
        6 => Just(Step::Settle),
        1 => any::<u64>().prop_map(Step::Kill),
        3 => any::<u64>().prop_map(Step::CutPower),
    ]
}

fn writes(step: &Step, (next, purged): (u64, u64)) -> Vec<LogWrite> {
    match step {
        Step::Append { count, size } => (next..next + count).map(|index| entry(index, *size)).collect(),
        Step::Truncate { back } => vec![LogWrite::TruncateFrom(next.saturating_sub(*back).max(purged + 1))],
        Step::Purge { keep } => {
            let index = next.saturating_sub(1 + keep).max(purged);
            vec![LogWrite::PurgeTo { index, id: Bytes::from(index.to_le_bytes().to_vec()) }]
        }
        Step::Vote(term) => vec![vote(*term)],
        Step::Committed(id) => vec![LogWrite::Committed(Some(Bytes::from(vec![*id])))],
        Step::Settle | Step::Kill(_) | Step::CutPower(_) => Vec::new(),
    }
}

/// The device and the log on it, over several lives.
struct Bench {
    device: Device,
    log: Option<SegmentedLog>,
    course: Course,
}

impl Bench {
    fn new() -> Self {
        let (_, device) = Fate::device();
        let log = open(&device).expect("a log");
        Self { device, log: Some(log), course: Course::default() }
    }

    fn log(&self) -> &SegmentedLog {
        self.log.as_ref().expect("it is open")
    }

    fn perform(&mut self, step: &Step) -> Result<(), String> {
        let writes = writes(step, self.course.ends());
        match step {
            Step::Settle => {
                self.device.settle();
                // What need not be durable may still be lost.
                let must_be = |batch: &Vec<LogWrite>| batch.iter().any(LogWrite::must_be_durable);
                let durable = self.course.batches.iter().rposition(must_be).map_or(0, |last| last + 1);
                self.course.told = self.course.told.max(durable);
            }
            Step::Kill(seed) => {
                self.log = None;
                self.device.kill(&dice(*seed));
                self.again()?;
            }
            Step::CutPower(seed) => {
                self.log = None;
                self.device.cut_power(&dice(*seed));
                self.again()?;
            }
            Step::Append { .. }
            | Step::Truncate { .. }
            | Step::Purge { .. }
            | Step::Vote(_)
            | Step::Committed(_) => {
                self.log().write(&writes).map_err(|error| error.to_string())?;
                self.course.batches.push(writes);
            }
        }
        Ok(())
    }

    fn again(&mut self) -> Result<(), String> {
        let log = open(&self.device).map_err(|error| error.to_string())?;
        self.course.go_on_from(&content(&log))?;
        self.log = Some(log);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn after_any_crash_the_log_says_what_it_said_after_some_write(
        steps in proptest::collection::vec(step(), 1..60),
        seed in any::<u64>(),
    ) {
        let mut bench = Bench::new();
        for step in steps.iter().chain(&[Step::CutPower(seed)]) {
            let performed = bench.perform(step);
            prop_assert!(performed.is_ok(), "{step:?}: {}", performed.unwrap_err());
        }
    }

    #[test]
    fn a_bit_that_has_rotted_is_never_taken_for_a_torn_end(
        steps in proptest::collection::vec(step(), 1..60),
        seed in any::<u64>(),
    ) {
        let mut bench = Bench::new();
        for step in &steps {
            prop_assert!(bench.perform(step).is_ok());
        }
        bench.log = None;
        let chance = dice(seed);
        bench.device.cut_power(&chance);
        if bench.device.rot(&chance) {
            let opened = open(&bench.device).map(drop);
            prop_assert!(matches!(opened, Err(LogOpenError::Corrupt { .. })), "{opened:?}");
        }
    }
}

/// The second segment lost its head, and not what followed: it is dropped. Then it is begun anew, and got no further.
#[test]
fn what_a_dropped_segment_held_never_comes_back() {
    let mut bench = Bench::new();
    let filled = Step::Append { count: 3, size: 593 };
    let (power, kill) = (Step::CutPower(13_559_554_465_013_601_391), Step::Kill(1_310_919_757_652_462_046));
    let same = || Step::Truncate { back: 0 };
    let steps = [filled, same(), same(), Step::Committed(0), Step::Settle, power, Step::Vote(0)];
    for step in steps.iter().chain(&[Step::Append { count: 1, size: 0 }, kill]) {
        bench.perform(step).unwrap();
    }
}

#[test]
fn what_was_synced_stays_and_all_else_may_go_or_be_torn() {
    let (_, device) = Fate::device();
    let file = device.create("segment-1").unwrap();
    file.allocate(2048).unwrap();
    Folder::sync(&device).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    Storage::sync(file.as_ref()).unwrap();
    device.settle();
    file.write_at(&[2; 2048], 0).unwrap();
    assert_eq!(device.unsynced(), 1);
    let found = |chance: Chance<'_>| {
        let (_, twin) = Fate::device();
        let state = device.lock();
        let (now, durable, since) = (state.now.clone(), state.durable.clone(), state.since.clone());
        *twin.lock() = State { now, durable, told: since.len(), since, ..State::default() };
        twin.cut_power(chance);
        let mut bytes = vec![0; 2048];
        twin.open("segment-1").unwrap().read_at(&mut bytes, 0).unwrap();
        bytes
    };
    let synced = [[1; 1024], [0; 1024]].concat();
    assert_eq!(found(&|_| 0), synced);
    assert_eq!(found(&|most| most), [2; 2048]);
    let cut_short = found(&|most| if most == 3 { 1 } else { most / 2 });
    assert_eq!(cut_short, [&[2; 1024][..], &[0; 1024]].concat());
    let turn = Cell::new(0);
    let every_other = found(&|most| {
        turn.set(turn.get() + 1);
        if most == 3 { 2 } else { (turn.get() % 2).min(most) }
    });
    let kept: Vec<bool> = every_other.chunks(512).map(|sector| sector == [2; 512]).collect();
    assert!(kept == [true, false, true, false] || kept == [false, true, false, true], "{kept:?}");
}

#[test]
fn a_process_that_ends_loses_what_it_had_not_begun_and_nothing_that_it_was_told_of() {
    for chance in [&|_| 0, &|most| most] as [Chance<'_>; 2] {
        let mut bench = Bench::new();
        for step in [Step::Vote(1), Step::Settle, Step::Vote(2)] {
            bench.perform(&step).unwrap();
        }
        bench.log = None;
        bench.device.kill(chance);
        bench.again().unwrap();
        let expected = if chance(1) == 0 { 1 } else { 2 };
        assert_eq!(bench.log().load().unwrap().vote, Some(Bytes::from(vec![expected; 9])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_takes_its_time_and_may_lie_or_fail() {
    let (fate, device) = Fate::device();
    let log = open(&device).unwrap();
    fate.set(SyncFate::Durable { after: Duration::from_millis(5) });
    log.write(&[vote(1)]).unwrap();
    let cut_short = tokio::time::timeout(Duration::from_millis(1), device.settled()).await;
    assert!(cut_short.is_err(), "a sync takes its time");
    device.settled().await;
    fate.set(SyncFate::Forgotten { after: Duration::ZERO });
    log.write(&[vote(2)]).unwrap();
    device.settled().await;
    drop(log);
    device.cut_power(&|_| 0);
    fate.set(PROMPT);
    let log = open(&device).unwrap();
    assert_eq!(log.load().unwrap().vote, Some(Bytes::from(vec![1; 9])), "it lied");
    fate.set(SyncFate::Fails(io::ErrorKind::StorageFull));
    assert_eq!(log.write(&[vote(3)]).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_write_that_fails_is_half_done_and_ends_the_log() {
    let (fate, device) = Fate::device();
    let log = open(&device).unwrap();
    log.write(&[vote(1)]).unwrap();
    *lock(&fate.write) = Some(io::ErrorKind::Other);
    assert!(log.write(&[entry(1, 600)]).is_err());
    *lock(&fate.write) = None;
    assert!(log.write(&[entry(1, 600)]).is_err(), "nothing follows a failed write");
    drop(log);
    let log = open(&device).unwrap();
    assert_eq!((log.load().unwrap().vote.is_some(), log.entries(0, 9).unwrap()), (true, Vec::new()));
}

#[test]
fn without_room_there_is_no_new_segment() {
    let (_, device) = Fate::device();
    let log = open(&device).unwrap();
    device.set_free_bytes(Some(SEGMENT_BYTES - 1));
    let failed = (1..20).find_map(|index| log.write(&[entry(index, 600)]).err());
    assert_eq!(failed.expect("its spare is soon used").kind(), io::ErrorKind::StorageFull);
    device.set_free_bytes(None);
    drop(log);
    assert!(content(&open(&device).unwrap()).1.len() > 3);
}
