//! The log beside its twin in memory, and the log after damage of every kind.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryLog;
use crate::mutations::damaged;

/// Small, so that few writes fill several.
const SMALL: u64 = 2048;

fn entry(index: u64, size: usize) -> LogWrite {
    LogWrite::Entry { index, entry: Bytes::from(vec![index.to_le_bytes()[0]; size]) }
}

fn vote(term: u8) -> LogWrite {
    LogWrite::Vote(Bytes::from(vec![term; 9]))
}

/// All that a log says.
fn content(log: &dyn LogDisk) -> (LogHead, Vec<(u64, Bytes)>) {
    (log.load().expect("a head"), log.entries(0, u64::MAX).expect("entries"))
}

fn open(dir: &Path) -> Result<SegmentedLog, LogOpenError> {
    SegmentedLog::open_with(dir, SMALL)
}

fn names(dir: &Path, prefix: &str) -> Vec<u64> {
    crate::disk::files::numbered(dir, prefix).expect("names")
}

/// A step of a writer that keeps openraft's rules: entries follow each other.
#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, size: usize },
    Truncate { back: u64 },
    Purge { keep: u64 },
    PurgeBeyond { by: u64 },
    Vote(u8),
    Committed,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..5_u64, 0..600_usize).prop_map(|(count, size)| Step::Append { count, size }),
        2 => (0..4_u64).prop_map(|back| Step::Truncate { back }),
        2 => (0..6_u64).prop_map(|keep| Step::Purge { keep }),
        1 => (1..9_u64).prop_map(|by| Step::PurgeBeyond { by }),
        2 => any::<u8>().prop_map(Step::Vote),
        2 => Just(Step::Committed),
        2 => Just(Step::Reopen),
    ]
}

/// Turns steps into writes. `next` is the index of the next entry, `purged` the highest that is gone.
fn writes(step: &Step, next: &mut u64, purged: &mut u64) -> Vec<LogWrite> {
    let mut purge = |to: u64| {
        *purged = to.max(*purged);
        vec![LogWrite::PurgeTo { index: *purged, id: Bytes::from(purged.to_le_bytes().to_vec()) }]
    };
    match step {
        Step::Append { count, size } => {
            let from = *next;
            *next += count;
            (from..*next).map(|index| entry(index, *size)).collect()
        }
        Step::Truncate { back } => {
            *next = next.saturating_sub(*back).max(*purged + 1);
            vec![LogWrite::TruncateFrom(*next)]
        }
        Step::Purge { keep } => purge(next.saturating_sub(1 + keep)),
        Step::PurgeBeyond { by } => {
            *next += by;
            purge(*next - 1)
        }
        Step::Vote(term) => vec![vote(*term)],
        Step::Committed => {
            vec![LogWrite::Committed((!(*next).is_multiple_of(3)).then(|| Bytes::from(vec![1])))]
        }
        Step::Reopen => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_says_what_its_twin_in_memory_says(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().expect("a directory");
        let twin = MemoryLog::default();
        let mut log = open(dir.path()).expect("a log");
        let (mut next, mut purged) = (1, 0);
        for step in &steps {
            let writes = writes(step, &mut next, &mut purged);
            log.write(&writes).expect("a write");
            twin.write(&writes).expect("a write");
            if matches!(step, Step::Reopen) {
                drop(log);
                log = open(dir.path()).expect("the same log");
            }
            prop_assert_eq!(content(&log), content(&twin));
        }
        drop(log);
        prop_assert_eq!(content(&open(dir.path()).expect("the same log")), content(&twin));
    }

    /// Every write here is durable. What is damaged at the very end looks like a torn end, any other damage is refused.
    #[test]
    fn damage_is_refused_or_cuts_what_was_damaged_at_the_end(
        sizes in proptest::collection::vec(0..900_usize, 2..12),
        place in any::<prop::sample::Index>(),
        damage in proptest::collection::vec(any::<u8>(), 1..64),
        shorten in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(dir.path()).expect("a log");
        let mut states = vec![content(&log)];
        // The segment of each write, and where it begins (with the segment's head, if it is the first) and ends.
        let mut places = Vec::new();
        for (index, size) in (1..).zip(&sizes) {
            let (segment, start) = end_of(&log);
            log.write(&[vote(3), entry(index, *size)]).expect("a write");
            let (now, end) = end_of(&log);
            places.push((now, if now == segment { start } else { 0 }, end));
            states.push(content(&log));
        }
        places[0].1 = 0;
        drop(log);
        let segments = names(dir.path(), SEGMENT);
        let offset = place.index(segments.len() * SMALL as usize) as u64;
        let (segment, offset) = (segments[(offset / SMALL) as usize], offset % SMALL);
        let path = dir.path().join(format!("{SEGMENT}-{segment}"));
        let file = OpenOptions::new().write(true).open(&path).expect("a segment");
        if shorten {
            file.set_len(offset).expect("it is cut");
        } else {
            file.write_all_at(&damage, offset).expect("it is damaged");
        }
        let after = offset + damage.len() as u64;
        let touched = |(at, start, end): &&(u64, u64, u64)| *at == segment && *start < after && offset < *end;
        let cut_max = places.iter().rev().take_while(touched).count();
        match open(dir.path()) {
            Ok(_) if shorten => prop_assert!(false, "a short segment was taken"),
            Ok(log) => {
                let found = content(&log);
                prop_assert!(states[states.len() - 1 - cut_max..].contains(&found), "{cut_max} {found:?}");
                // What is written next is there the next time, and nothing that was cut.
                let next = found.1.last().map_or(1, |(last, _)| last + 1);
                log.write(&[entry(next, 5)]).expect("a write");
                let expected = content(&log);
                drop(log);
                prop_assert_eq!(content(&open(dir.path()).expect("a log")), expected);
            }
            Err(LogOpenError::Corrupt { .. }) => {}
            Err(LogOpenError::Io(error)) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn damaged_records_are_records_or_an_error(body in damaged(vec![body()])) {
        let mut records = frame::Records::of(&body);
        while let Ok(Some((_, field))) = records.next() {
            prop_assert!(field <= body.len());
        }
    }

    #[test]
    fn a_damaged_segment_is_a_log_or_an_error(mut bytes in damaged(vec![segment()])) {
        bytes.resize(bytes.len().max(SMALL as usize), 0);
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("segment-1"), &bytes).expect("a file");
        if let Ok(log) = open(dir.path()) {
            let (head, entries) = content(&log);
            prop_assert!(entries.len() <= 5 && head.vote.is_none_or(|vote| vote[..] == [1; 9]));
        }
    }
}

fn body() -> Vec<u8> {
    let mut frame = Frame::default();
    frame.clear();
    let committed = LogWrite::Committed(Some(Bytes::from_static(b"id")));
    let purge = LogWrite::PurgeTo { index: 2, id: Bytes::from_static(b"id") };
    for write in [vote(1), entry(1, 30), entry(2, 0), committed, LogWrite::TruncateFrom(2), purge] {
        frame.push((&write).into()).expect("it fits");
    }
    let sealed = frame.seal(&frame::Position { segment: 1, number: 0, durable: 0 }).expect("it fits");
    sealed[frame::HEADER_BYTES..].to_vec()
}

/// The bytes of a segment, without the zeros behind the last frame.
fn segment() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path()).expect("a log");
    log.write(&[vote(1)]).expect("a write");
    for index in 1..=5 {
        log.write(&[entry(index, 20)]).expect("a write");
    }
    let end = usize::try_from(end_of(&log).1).expect("it fits");
    let mut bytes = fs::read(dir.path().join("segment-1")).expect("a segment");
    bytes.truncate(end);
    bytes
}

fn end_of(log: &SegmentedLog) -> (u64, u64) {
    let writer = log.writer.lock().expect("a writer");
    (writer.segment, writer.end)
}

/// Writes two frames, of which the second was never synced, and damages the first.
#[test]
fn a_broken_frame_before_a_whole_one_is_torn_only_if_it_was_never_durable() {
    for durable in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(dir.path()).expect("a log");
        log.write(&[vote(1)]).expect("a write");
        let (_, at) = end_of(&log);
        log.write(&[LogWrite::Committed(Some(Bytes::from_static(b"committed")))]).expect("a write");
        if durable {
            log.writer.lock().expect("a writer").sync().expect("a sync");
        }
        log.write(&[LogWrite::Committed(None)]).expect("a write");
        drop(log);
        let path = dir.path().join("segment-1");
        let file = OpenOptions::new().write(true).open(&path).expect("a segment");
        file.write_all_at(b"damage", at + 44).expect("it is damaged");
        match open(dir.path()) {
            Ok(log) => {
                assert!(!durable);
                assert_eq!(log.load().expect("a head").vote, Some(Bytes::from(vec![1; 9])));
                let rest = fs::read(&path).expect("a segment");
                let at = usize::try_from(at).expect("it fits");
                assert!(rest[at..].iter().all(|byte| *byte == 0), "what was torn is gone");
            }
            Err(LogOpenError::Corrupt { path: file, offset, .. }) => {
                assert!(durable);
                assert_eq!((file, offset), (path, at));
            }
            Err(LogOpenError::Io(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn a_lost_segment_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path()).expect("a log");
    for index in 1..20 {
        log.write(&[entry(index, 500)]).expect("a write");
    }
    drop(log);
    let segments = names(dir.path(), SEGMENT);
    for lost in [segments[0], segments[1]] {
        let path = dir.path().join(format!("{SEGMENT}-{lost}"));
        let kept = fs::read(&path).expect("a segment");
        fs::remove_file(&path).expect("it is lost");
        let error = open(dir.path()).map(drop).expect_err("a segment is lost");
        assert!(matches!(error, LogOpenError::Corrupt { .. }), "{error}");
        fs::write(&path, kept).expect("it is back");
    }
    assert_eq!(content(&open(dir.path()).expect("a log")).1.len(), 19);
}

#[test]
fn purged_segments_are_used_again_and_what_they_held_never_shows() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a log");
    log.write(&[vote(7)]).expect("a write");
    for index in 1..200 {
        log.write(&[entry(index, 500)]).expect("a write");
        if index > 3 {
            let id = Bytes::from_static(b"id");
            log.write(&[LogWrite::PurgeTo { index: index - 3, id }]).expect("a write");
        }
        if index % 7 == 0 {
            drop(log);
            log = open(dir.path()).expect("the same log");
        }
        let found: Vec<u64> = content(&log).1.iter().map(|(index, _)| *index).collect();
        assert_eq!(found, (index.saturating_sub(2).max(1)..=index).collect::<Vec<_>>());
        assert_eq!(log.load().expect("a head").vote, Some(Bytes::from(vec![7; 9])));
    }
    assert!(names(dir.path(), SEGMENT).len() <= 3, "{:?}", names(dir.path(), SEGMENT));
    assert!(names(dir.path(), "spare").len() <= 2);
}

#[test]
fn a_segment_that_is_read_is_not_used_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path()).expect("a log");
    for index in 1..20 {
        log.write(&[entry(index, 500)]).expect("a write");
    }
    let reader = log.files().segments.front().cloned().expect("a segment");
    log.write(&[LogWrite::PurgeTo { index: 19, id: Bytes::new() }]).expect("a write");
    assert!(reader.path.exists());
    drop(reader);
    log.write(&[LogWrite::PurgeTo { index: 19, id: Bytes::new() }]).expect("a write");
    assert_eq!(names(dir.path(), SEGMENT).len(), 1);
}

#[test]
fn an_entry_that_has_changed_is_an_error_and_a_gap_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path()).expect("a log");
    log.write(&[entry(1, 100), entry(2, 100)]).expect("a write");
    let (_, place) = log.files().index.range(2, 3).next().expect("a place");
    let file = OpenOptions::new().write(true).open(dir.path().join("segment-1")).expect("a segment");
    file.write_all_at(b"x", place.offset + 50).expect("it is damaged");
    assert_eq!(log.entries(1, 2).expect("it is whole").len(), 1);
    assert_eq!(log.entries(1, 3).expect_err("it is damaged").kind(), io::ErrorKind::InvalidData);
    assert_eq!(log.write(&[entry(9, 1)]).expect_err("a gap").kind(), io::ErrorKind::InvalidInput);
    assert!(log.write(&[entry(3, 1)]).is_err(), "nothing follows a failed write");
}

#[test]
fn one_process_has_the_log_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let _log = open(dir.path()).expect("a log");
    match open(dir.path()) {
        Err(LogOpenError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ResourceBusy),
        other => panic!("{:?}", other.map(drop)),
    }
}

/// A file system of its own that is soon full.
#[test]
fn a_full_disk_ends_the_log_and_loses_nothing_that_was_durable() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let dir = tempfile::tempdir().expect("a directory");
    let options = Some("size=64k");
    if let Err(error) = mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), options) {
        return println!("skipped: cannot mount here: {error}");
    }
    let log = open(dir.path()).expect("a log");
    let mut durable = 0;
    let error = loop {
        match log.write(&[entry(durable + 1, 500)]) {
            Ok(()) => durable += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(durable > 20, "{durable}");
    assert!(log.write(&[vote(1)]).is_err(), "nothing follows a failed write");
    drop(log);
    let found = open(dir.path()).map(|log| content(&log).1.len() as u64);
    umount2(dir.path(), MntFlags::MNT_DETACH).expect("it was mounted");
    assert_eq!(found.expect("a full disk can be read"), durable);
}
