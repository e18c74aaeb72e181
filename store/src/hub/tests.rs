//! Many watches of one reader, beside the history that they are to tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Entropy, ManualClock, Revision, SeededEntropy, Tasks, Timestamp};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{DISK_READERS_MAX, Found, News, Reader};
use crate::mvcc::request::{Delete, Op, Put, Txn, Watch};
use crate::mvcc::span::Span;
use crate::node::NoPeers;
use crate::{Node, NodeConfig, Store, WatchError};

const KEYS: [&str; 7] = ["a", "ab", "abc", "b", "b1", "c", "d"];
const TIME_MAX: Duration = Duration::from_secs(60);

async fn start(watch_ring_bytes: usize, tasks: &Tasks) -> Store {
    let config = NodeConfig { watch_ring_bytes, ..NodeConfig::in_memory() };
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let entropy = Arc::new(SeededEntropy::new(1));
    Node::start(config, Arc::new(NoPeers), clock, entropy, tasks).await.expect("a node").store
}

/// A change: its revision, its key, and what the key held before.
type Line = (Revision, Bytes, Option<Bytes>);

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.u64() % bound as u64).expect("small")
    }

    fn span(&self) -> Span {
        let key = KEYS[self.below(KEYS.len())];
        match self.below(5) {
            0 => Span::all(),
            1 => Span::key(key),
            2 => Span::prefix(key),
            3 => Span::range(key, "b2"),
            _ => Span { start: key.into(), end: crate::End::Unbounded },
        }
    }
}

/// Writes at random, and returns what it wrote.
async fn write(store: &Store, dice: &Dice) -> Vec<Line> {
    let mut held: BTreeMap<&str, Bytes> = BTreeMap::new();
    let mut history = Vec::new();
    for number in 0..200 {
        let first = dice.below(KEYS.len());
        let count = 1 + dice.below(3);
        let keys: Vec<&'static str> = (0..count).map(|step| KEYS[(first + step) % KEYS.len()]).collect();
        let value = Bytes::from(format!("{number}"));
        let op = |key: &&'static str| match dice.below(4) {
            0 => Op::Delete(Delete::of(Span::key(*key))),
            _ => Op::Put(Put::of(*key, value.clone())),
        };
        let success: Vec<Op> = keys.iter().map(op).collect();
        let done = store.txn(Txn { success: success.clone(), ..Txn::default() }).await.expect("a write");
        for (key, op) in keys.into_iter().zip(success) {
            let before = match op {
                Op::Put(_) => held.insert(key, value.clone()),
                _ => match held.remove(key) {
                    Some(before) => Some(before),
                    None => continue,
                },
            };
            history.push((done.revision, key.into(), before));
        }
    }
    history
}

struct Heard {
    span: Span,
    first: Revision,
    lines: Vec<Line>,
}

fn hear(heard: &mut BTreeMap<u64, Heard>, found: Vec<Found>) {
    for Found { watch, pieces } in found {
        let heard = heard.get_mut(&watch).expect("nothing is told of a watch that has gone");
        for piece in pieces {
            for event in piece.events() {
                let before = event.prev.as_ref().map(|prev| prev.value.clone());
                heard.lines.push((piece.revision(), event.kv.key.clone(), before));
            }
        }
    }
}

/// Adds and removes watches, and reads, until told to stop.
async fn listen(
    store: &Store,
    reader: &mut Reader,
    dice: &Dice,
    stop: &CancellationToken,
) -> BTreeMap<u64, Heard> {
    let mut heard = BTreeMap::new();
    for watch in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let now = store.revision().get();
        let span = dice.span();
        let start = match dice.below(4) {
            0 => None,
            1 => Some(Revision::new(now + 1 + i64::try_from(dice.below(20)).expect("small"))),
            _ => Some(Revision::new(
                2 + i64::try_from(dice.below(usize::try_from(now).expect("positive"))).expect("small"),
            )),
        };
        let first = reader.add(watch, span.clone(), start, true);
        assert!(start.is_none_or(|start| start == first));
        heard.insert(watch, Heard { span, first, lines: Vec::new() });
        if dice.below(3) == 0 {
            let gone = dice.below(usize::try_from(watch + 1).expect("small")) as u64;
            reader.remove(gone);
            heard.remove(&gone);
        }
        for _ in 0..dice.below(4) {
            tokio::select! {
                biased;
                news = reader.next() => match news.expect("the store runs") {
                    News::Found(found) => hear(&mut heard, found),
                    other => panic!("{other:?}"),
                },
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    }
    heard
}

/// Every watch hears of exactly its keys from its start on, each change once and in order: whenever it was added,
/// however far back the ring reaches, whoever else it caught up with. (etcd #17247, #17529 and #20221 were breaches.)
#[tokio::test(flavor = "multi_thread")]
async fn each_watch_hears_exactly_of_its_keys_from_its_start_on() {
    for seed in 0..12 {
        let tasks = Tasks::new(CancellationToken::new());
        let store = start(if seed % 2 == 0 { 3_000 } else { 1 << 20 }, &tasks).await;
        let (writing, listening) = (Dice(SeededEntropy::new(seed)), Dice(SeededEntropy::new(100 + seed)));
        let written = CancellationToken::new();
        let mut reader = Reader::new(store.replica().clone());
        let writes = async {
            let history = write(&store, &writing).await;
            written.cancel();
            history
        };
        let (history, mut heard) = tokio::join!(writes, listen(&store, &mut reader, &listening, &written));
        let newest = store.revision();
        reader.ask(newest);
        loop {
            match tokio::time::timeout(TIME_MAX, reader.next()).await.expect("it catches up").expect("news") {
                News::Found(found) => hear(&mut heard, found),
                News::Reached(reached) => break assert_eq!(reached, newest),
                News::Compacted { .. } => panic!("nothing was compacted"),
            }
        }
        assert_eq!(reader.reached(), newest);
        for (watch, Heard { span, first, lines }) in heard {
            let expected = history.iter().filter(|(at, key, _)| *at >= first && span.contains(key));
            assert_eq!(
                lines,
                expected.cloned().collect::<Vec<_>>(),
                "seed {seed} watch {watch} {span:?} from {first}"
            );
        }
        drop((reader, store));
        tasks.stop().cancel();
        tasks.join(Duration::from_secs(30)).await.expect("no task failed");
    }
}

#[tokio::test]
async fn nobody_is_woken_by_keys_that_nobody_watches() {
    let tasks = Tasks::new(CancellationToken::new());
    let store = start(1 << 20, &tasks).await;
    let mut readers = Vec::new();
    for number in 0..1000 {
        let mut reader = Reader::new(store.replica().clone());
        reader.add(0, Span::key(format!("idle-{number}")), None, false);
        // Parks.
        assert!(futures::poll!(std::pin::pin!(reader.next())).is_pending());
        readers.push(reader);
    }
    let mut end = store.watch(Watch::of(Span::key("end"))).expect("a watch");
    for key in ["idle", "idle-5", "idle-50000", "end"] {
        store.txn(Txn::of(Op::Put(Put::of(key, "v")))).await.expect("a write");
    }
    end.next().await.expect("an event");
    let woken = readers.iter().enumerate().filter(|(_, reader)| !reader.is_parked());
    assert_eq!(woken.map(|(number, _)| number).collect::<Vec<_>>(), [5]);
    // The others are up to date all the same.
    let newest = store.revision();
    let wait = async {
        while readers[7].reached() < newest {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIME_MAX, wait).await.expect("the distributor has looked at everything");
}

#[tokio::test]
async fn a_state_that_falls_back_ends_the_watches_that_saw_more() {
    let tasks = Tasks::new(CancellationToken::new());
    let store = start(1 << 20, &tasks).await;
    store.txn(Txn::of(Op::Put(Put::of("k", "v")))).await.expect("a write");
    let mut old = store.watch(Watch::of(Span::all())).expect("a watch");
    store.replica().hub.restart(Revision::new(1));
    let ended = tokio::time::timeout(TIME_MAX, old.next()).await.expect("an answer");
    assert_eq!(ended, Err(WatchError::Stopping));
    let again = store.watch(Watch::of(Span::all())).expect("a watch");
    assert_eq!(again.position(), Revision::new(1));
}

async fn put(store: &Store, key: &'static str) -> Revision {
    store.txn(Txn::of(Op::Put(Put::of(key, "v")))).await.expect("a write").revision
}

async fn next(reader: &mut Reader) -> News {
    tokio::time::timeout(TIME_MAX, reader.next()).await.expect("in time").expect("news")
}

#[tokio::test]
async fn progress_is_never_behind_what_was_told_before_it() {
    let tasks = Tasks::new(CancellationToken::new());
    let store = start(1 << 20, &tasks).await;
    let mut reader = Reader::new(store.replica().clone());
    reader.add(1, Span::all(), None, false);
    reader.ask(put(&store, "a").await);
    let newest = put(&store, "b").await;
    assert!(matches!(next(&mut reader).await, News::Found(found) if found[0].pieces.len() == 2));
    assert!(matches!(next(&mut reader).await, News::Reached(reached) if reached == newest));
}

/// A member that lags may be asked for what it will have; it jumps there when a snapshot is installed.
#[tokio::test]
async fn who_jumps_ahead_ends_only_watches_that_have_missed_something() {
    let tasks = Tasks::new(CancellationToken::new());
    let store = start(1 << 20, &tasks).await;
    let mut reader = Reader::new(store.replica().clone());
    reader.add(1, Span::all(), None, false);
    reader.add(2, Span::all(), Some(Revision::new(9)), false);
    for _ in 0..6 {
        put(&store, "a").await;
    }
    store.compact(Revision::new(5)).await.expect("a compaction");
    store.replica().hub.restart(store.revision());
    assert!(matches!(next(&mut reader).await, News::Compacted { watches, .. } if watches == [1]));
    while put(&store, "a").await < Revision::new(9) {}
    let News::Found(found) = next(&mut reader).await else { panic!("no events") };
    let heard: Vec<_> = found.iter().map(|found| (found.watch, found.pieces[0].revision())).collect();
    assert_eq!(heard, [(2, Revision::new(9))]);
}

#[tokio::test]
async fn a_watch_that_is_added_while_the_disk_is_read_misses_nothing() {
    let tasks = Tasks::new(CancellationToken::new());
    let store = start(1 << 20, &tasks).await;
    for key in ["a", "b"] {
        put(&store, key).await;
    }
    store.replica().hub.restart(store.revision());
    let mut reader = Reader::new(store.replica().clone());
    let all = u32::try_from(DISK_READERS_MAX).expect("few");
    let busy = store.replica().hub.disk_readers.acquire_many(all).await.expect("readers");
    reader.add(1, Span::key("a"), Some(Revision::new(2)), false);
    assert!(futures::poll!(std::pin::pin!(reader.next())).is_pending(), "it waits for its turn");
    reader.add(2, Span::key("b"), Some(Revision::new(2)), false);
    drop(busy);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let News::Found(found) = next(&mut reader).await else { panic!("no events") };
        heard.extend(found.iter().map(|found| found.watch));
    }
    assert_eq!(heard, [1, 2]);
}
