//! A node in a process of its own that a test kills: it writes, and says what was acknowledged.
//!
//! The process is this test binary again. Each of a few writers overwrites its own key with 1, 2, 3, …, so that the
//! newest value, its version and its revision tell whether anything acknowledged is lost.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::{SeededEntropy, SystemClock, Tasks};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

use crate::node::NoPeers;
use crate::{
    InitialMember, Node, NodeConfig, Op, Put, Span, StartError, Store, StoreError, Timings, Txn, failpoint,
};

const DIR: &str = "NAVARCH_VICTIM_DIR";
const FAILPOINT: &str = "NAVARCH_VICTIM_FAILPOINT";
const WRITES: &str = "NAVARCH_VICTIM_WRITES";
const DEFRAGMENTS: &str = "NAVARCH_VICTIM_DEFRAGMENTS";
const WRITERS: u64 = 4;
const LIFE: Duration = Duration::from_secs(240);

/// What a process says at its end, if it comes to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has written all that it was to write.
    Done,
    /// The node has ended because a task of it failed.
    Failed,
}

/// What was acknowledged so far, over all lives of one directory: the value and the revision, by writer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sure: BTreeMap<u64, (u64, i64)>,
    /// The last value of each writer that was acknowledged when nothing could be believed any more.
    unsure: BTreeMap<u64, u64>,
}

impl Ledger {
    fn acknowledge(&mut self, writer: u64, said: (u64, i64)) {
        let before = self.sure.insert(writer, said);
        assert!(before.is_none_or(|before| before < said), "writer {writer}: {before:?} then {said:?}");
    }

    /// Whoever was shown a value must find it again, as whoever had it acknowledged.
    fn find(&mut self, found: BTreeMap<u64, (u64, i64)>) {
        for (writer, known) in &self.sure {
            let found = found.get(writer).copied().unwrap_or_default();
            let last = self.unsure.get(writer).copied().unwrap_or(0).max(known.0);
            assert!(found >= *known, "writer {writer}: {known:?} was there, found {found:?}");
            assert!(found.0 != known.0 || found.1 == known.1, "writer {writer}: {known:?} is now {found:?}");
            assert!(found.0 <= last + 1, "writer {writer}: {found:?} was never written after {known:?}");
        }
        self.sure.extend(found);
        self.unsure.clear();
    }
}

/// How a process is to end, if nothing happens to it.
pub(super) struct Plan<'a> {
    /// Dies when it reaches this for the nth time.
    pub(super) failpoint: Option<(&'a str, u64)>,
    /// Ends after so many writes of each writer.
    pub(super) writes: u64,
    /// Whether it rewrites its tables while it writes.
    pub(super) defragments: bool,
}

/// The process.
pub(super) struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    end: Option<End>,
}

impl Victim {
    pub(super) fn start(dir: &Path, plan: &Plan<'_>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "node::tests::victim::the_process_that_is_killed", "--nocapture"]);
        command
            .env(DIR, dir)
            .env(WRITES, plan.writes.to_string())
            .env(DEFRAGMENTS, plan.defragments.to_string())
            .stdout(Stdio::piped())
            .stdin(Stdio::null());
        if let Some((point, nth)) = plan.failpoint {
            command.env(FAILPOINT, format!("{point}#{nth}"));
        }
        let mut child = command.spawn().expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines, end: None }
    }

    /// Checks what it found, if it came that far, and notes what it acknowledges until it has done so `acks_max` times.
    pub(super) fn follow(&mut self, ledger: &mut Ledger, acks_max: usize) {
        self.read(ledger, acks_max, Ledger::acknowledge);
    }

    /// To its end; what it acknowledges from here on may be lost.
    pub(super) fn follow_unsure(&mut self, ledger: &mut Ledger) {
        self.read(ledger, usize::MAX, |ledger, writer, (value, _)| {
            ledger.unsure.insert(writer, value);
        });
    }

    fn read(
        &mut self,
        ledger: &mut Ledger,
        acks_max: usize,
        acknowledge: impl Fn(&mut Ledger, u64, (u64, i64)),
    ) {
        let mut found = BTreeMap::new();
        let mut acks = 0;
        while acks < acks_max
            && let Some(Ok(line)) = self.lines.next()
        {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |place: usize| words[place].parse::<u64>().expect("a number");
            let said = |place: usize| (number(place), words[place + 1].parse::<i64>().expect("a number"));
            match words.as_slice() {
                ["found", _, _, _] => drop(found.insert(number(1), said(2))),
                ["started"] => ledger.find(std::mem::take(&mut found)),
                ["acknowledged", _, _, _] => {
                    acknowledge(ledger, number(1), said(2));
                    acks += 1;
                }
                ["done"] => self.end = Some(End::Done),
                ["failed"] => self.end = Some(End::Failed),
                _ => {}
            }
        }
    }

    /// What it said at its end; `None` when it was killed before.
    pub(super) fn end(mut self) -> Option<End> {
        let status = self.child.wait().expect("it has ended");
        assert_eq!(status.signal(), Some(9), "it has died of something else: {status}");
        self.end
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the only way to tell a test binary what it is")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let Some(dir) = told(DIR) else { return };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("it ends with its test");
    if let Some(armed) = told(FAILPOINT) {
        let (point, nth) = armed.split_once('#').expect("a failpoint and a number");
        failpoint::arm(point.to_owned(), nth.parse().expect("a number"));
    }
    let writes = told(WRITES).expect("it is told").parse().expect("a number");
    let defragments = told(DEFRAGMENTS).is_some_and(|told| told == "true");
    match tokio::time::timeout(LIFE, live(Path::new(&dir), writes, defragments))
        .await
        .expect("an end in time")
    {
        End::Done => println!("done"),
        End::Failed => println!("failed"),
    }
    // Not an orderly exit, which would take RocksDB's statics from under its threads.
    kill(Pid::this(), Signal::SIGKILL).expect("a process may kill itself");
}

async fn live(dir: &Path, writes: u64, defragments: bool) -> End {
    let name = "victim".to_owned();
    let member =
        InitialMember { name: name.clone(), peer_url: "https://alone".to_owned(), client_urls: Vec::new() };
    let config = NodeConfig {
        snapshot_every_entries: 40,
        timings: Timings {
            heartbeat: Duration::from_millis(20),
            election_min: Duration::from_millis(50),
            election_max: Duration::from_millis(100),
            ..Timings::default()
        },
        ..NodeConfig::founding(name, dir.to_owned(), "crash".to_owned(), vec![member])
    };
    let tasks = Tasks::new(CancellationToken::new());
    let entropy = Arc::new(SeededEntropy::new(std::process::id().into()));
    let node = Node::start(config, Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
    let store = match node {
        Ok(node) => node.store,
        // The disk may fail while a node starts, but what is on it is never wrong.
        Err(StartError::Open { source, .. }) if source.kind() != std::io::ErrorKind::InvalidData => {
            eprintln!("the node did not start: {source}");
            return End::Failed;
        }
        Err(StartError::Raft { reason }) => {
            eprintln!("the node did not start: {reason}");
            return End::Failed;
        }
        Err(error) => panic!("the node does not start: {error:?}"),
    };
    let mut ended = std::pin::pin!(tasks.clone().join(Duration::from_secs(30)));
    tokio::select! {
        biased;
        ended = &mut ended => ended.expect_err("a task has failed"),
        worked = work(&store, writes, defragments) => match worked {
            Ok(()) => return End::Done,
            // Nothing is refused, unless the node ends by itself.
            Err(_) => ended.await.expect_err("a task has failed"),
        },
    };
    End::Failed
}

async fn work(store: &Store, writes: u64, defragments: bool) -> Result<(), StoreError> {
    let found = find(store).await?;
    println!("started");
    let writers = (0..WRITERS).map(|writer| {
        let first = found.get(&writer).copied().unwrap_or(0) + 1;
        write(store, writer, first..first.saturating_add(writes))
    });
    let writers = futures::future::try_join_all(writers);
    let defragment = async {
        loop {
            store.defragment().await?;
        }
    };
    tokio::select! {
        biased;
        written = writers => written.map(drop),
        ended = defragment, if defragments => ended,
    }
}

/// Reads what is there, after a leader has proved that it is all.
async fn find(store: &Store) -> Result<BTreeMap<u64, u64>, StoreError> {
    store.read_barrier().await?;
    let mut found = BTreeMap::new();
    for kv in store.range(crate::Range::of(Span::all())).await?.kvs {
        let text = String::from_utf8(kv.value.to_vec()).expect("text");
        let (number, _) = text.split_once(' ').expect("a number");
        let number: i64 = number.parse().expect("a number");
        assert_eq!(number, kv.version, "each write made one version");
        let writer = std::str::from_utf8(&kv.key).expect("text").parse::<u64>().expect("a number");
        println!("found {writer} {number} {}", kv.mod_revision);
        found.insert(writer, number.unsigned_abs());
    }
    Ok(found)
}

async fn write(store: &Store, writer: u64, numbers: Range<u64>) -> Result<(), StoreError> {
    for number in numbers {
        let value = format!("{number} {}", "x".repeat(300));
        let put = Put::of(writer.to_string(), value);
        let answer = store.txn(Txn::of(Op::Put(put))).await?;
        println!("acknowledged {writer} {number} {}", answer.revision);
        if number % 20 == writer {
            match store.compact(answer.revision).await {
                // Another writer has compacted a later one.
                Ok(_) | Err(StoreError::Compacted { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
