//! How fast a run is judged: makes an honest history of so many operations (a million, unless told), and prints how long
//! each step takes. `cargo run --release -p chaos --bin judge_speed -- 1000000`

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use chaos::check::{self, Input};
use chaos::history::{
    Answer, Begin, Change, Compare, Event, Failure, Header, History, Invoke, Is, Kv, Line, Op, Outcome, Put,
    Range, Target, Txn, WatchAnswer, WatchEvent, WatchOpen,
};
use chaos::verdict::Verdict;
use tokio::time::Instant;

const CLIENTS: u32 = 50;
const KEYS: u64 = 100;
const MEMBERS: [&str; 3] = ["n1", "n2", "n3"];
/// Of a thousand operations, how many come to nothing that is known.
const UNKNOWN_PER_MILLE: u64 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let lines = timed("made", count, || Maker::new(count).run());
    let path = std::env::temp_dir().join(format!("judge_speed-{}.jsonl", std::process::id()));
    let written = timed("written", count, || write(&path, &lines));
    drop(lines);
    written?;
    let read = timed("read", count, || History::read(&path));
    std::fs::remove_file(&path)?;
    let history = read?;
    println!("{} lines, {} MB resident", history.lines().len(), resident_mb());
    let input = timed("seen as operations and log", count, || Input::new(&history));
    for (name, check) in check::ALL {
        let findings = timed(name, count, || check(&input));
        for finding in findings.iter().filter(|finding| finding.verdict() == Verdict::Fail) {
            println!("    {finding:?}");
        }
    }
    println!("{} MB resident", resident_mb());
    Ok(())
}

fn timed<T>(what: &str, count: u64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {seconds:.2} s, {:.0} operations/s", count as f64 / seconds);
    done
}

fn write(path: &std::path::Path, lines: &[Line]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Call,
    Happen,
    Return,
}

/// A simulation of clients that call, and are answered from one honest state.
struct Maker {
    left: u64,
    random: u64,
    lines: Vec<Line>,
    state: BTreeMap<String, Kv>,
    revision: u64,
    log: Vec<(u64, Change)>,
    doing: BTreeMap<u32, (Op, Option<Outcome>)>,
    due: BinaryHeap<Reverse<(u64, Step, u32)>>,
    next_process: u32,
    values: u64,
}

impl Maker {
    fn new(count: u64) -> Self {
        let due = (1..=CLIENTS).map(|client| Reverse((u64::from(client), Step::Call, client))).collect();
        Self {
            left: count,
            random: 42,
            lines: Vec::new(),
            state: BTreeMap::new(),
            revision: 1,
            log: Vec::new(),
            doing: BTreeMap::new(),
            due,
            next_process: CLIENTS + 1,
            values: 0,
        }
    }

    fn run(mut self) -> Vec<Line> {
        self.line(0, 0, begin());
        self.line(0, 900_000, Event::WatchOpen(watch_open()));
        while let Some(Reverse((at, step, client))) = self.due.pop() {
            match step {
                Step::Call => self.call(at, client),
                Step::Happen => self.happen(at, client),
                Step::Return => self.answer(at, client),
            }
        }
        self.end();
        self.lines
    }

    fn line(&mut self, at: u64, process: u32, event: Event) {
        self.lines.push(Line { at, process, event });
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    fn call(&mut self, at: u64, client: u32) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.values += 1;
        let key = format!("/chaos/register/{}", self.dice(KEYS));
        let put =
            Put { key: key.clone(), value: format!("value-{}", self.values), lease: 0, previous: false };
        let read = Range { key: key.clone(), ..Range::default() };
        let op = match self.dice(10) {
            0..5 => Op::Range(read),
            5..8 => Op::Put(put),
            8 => Op::Range(Range {
                key: "/chaos/register/5".to_owned(),
                end: Some("/chaos/register/6".to_owned()),
                ..read
            }),
            _ => {
                let modified = self.state.get(&key).map_or(0, |kv| kv.modified);
                let target = Target::Modified(modified - modified.min(u64::from(self.dice(4) == 0)));
                let compare = vec![Compare { key, is: Is::Equal, target }];
                Op::Txn(Txn { compare, then: vec![Op::Put(put)], otherwise: vec![Op::Range(read)] })
            }
        };
        let invoke = Invoke {
            member: MEMBERS[client as usize % 3].to_owned(),
            workload: "register".to_owned(),
            request_id: Some(format!("r-{}", self.values)),
            op: op.clone(),
        };
        self.line(at, client, Event::Invoke(invoke));
        self.doing.insert(client, (op, None));
        let later = at + 1 + self.dice(1000);
        self.due.push(Reverse((later, Step::Happen, client)));
    }

    fn happen(&mut self, at: u64, client: u32) {
        let Some((op, _)) = self.doing.get(&client) else { return };
        let op = op.clone();
        let is_unknown = self.dice(1000) < UNKNOWN_PER_MILLE;
        let is_lost = is_unknown && self.dice(2) == 0;
        let answer = (!is_lost).then(|| self.apply(&op));
        let outcome = match answer.filter(|_| !is_unknown) {
            Some(answer) => {
                let member = u64::from(client % 3) + 1;
                Outcome::Ok {
                    header: Header { cluster: 1, member, revision: self.revision, term: 1 },
                    answer,
                }
            }
            None => Outcome::Unknown(Failure {
                code: "Timeout".to_owned(),
                message: "no answer in time".to_owned(),
            }),
        };
        self.doing.insert(client, (op, Some(outcome)));
        let later = at + 1 + self.dice(1000);
        self.due.push(Reverse((later, Step::Return, client)));
    }

    fn answer(&mut self, at: u64, client: u32) {
        let Some((_, Some(outcome))) = self.doing.remove(&client) else { return };
        let is_unknown = matches!(outcome, Outcome::Unknown(_));
        self.line(at, client, Event::Return { outcome });
        let next = if is_unknown { self.next_process } else { client };
        self.next_process += u32::from(is_unknown);
        let later = at + 1 + self.dice(50);
        self.due.push(Reverse((later, Step::Call, next)));
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Put(put) => {
                self.revision += 1;
                let before = self.state.get(&put.key);
                let kv = Kv {
                    key: put.key.clone(),
                    value: put.value.clone(),
                    created: before.map_or(self.revision, |kv| kv.created),
                    modified: self.revision,
                    version: before.map_or(1, |kv| kv.version + 1),
                    lease: 0,
                };
                self.log.push((self.revision, Change::Put { kv: kv.clone() }));
                self.state.insert(put.key.clone(), kv);
                Answer::Put { previous: None }
            }
            Op::Range(range) => {
                let end = range.end.clone().unwrap_or_else(|| format!("{}\0", range.key));
                let kvs: Vec<Kv> =
                    self.state.range(range.key.clone()..end).map(|(_, kv)| kv.clone()).collect();
                Answer::Range { count: kvs.len() as u64, kvs, more: false }
            }
            Op::Txn(txn) => {
                let compare = &txn.compare[0];
                let modified = self.state.get(&compare.key).map_or(0, |kv| kv.modified);
                let succeeded = compare.target == Target::Modified(modified);
                let branch = if succeeded { &txn.then } else { &txn.otherwise };
                Answer::Txn { succeeded, answers: branch.iter().map(|op| self.apply(op)).collect() }
            }
            other => unreachable!("is not made here: {other:?}"),
        }
    }

    fn end(&mut self) {
        let at = self.lines.last().map_or(0, |line| line.at) + 1;
        let log = std::mem::take(&mut self.log);
        for some in log.chunks(16) {
            let revision = some.last().map_or(0, |(revision, _)| *revision);
            let events = some.iter().map(|(_, change)| WatchEvent { change: change.clone(), previous: None });
            let header = Header { cluster: 1, member: 1, revision, term: 1 };
            let answer = WatchAnswer {
                watch: 1,
                header,
                created: false,
                canceled: None,
                compacted: 0,
                fragment: false,
                events: events.collect(),
            };
            self.line(at, 900_000, Event::WatchAnswer(answer));
        }
        for member in MEMBERS {
            for (revision, change) in &log {
                let (revision, changes) = (*revision, vec![change.clone()]);
                self.line(at, 0, Event::Revision { member: member.to_owned(), revision, changes });
            }
        }
    }
}

fn begin() -> Event {
    Event::Begin(Begin {
        scenario: "speed".to_owned(),
        seed: 42,
        system: "sim".to_owned(),
        version: "none".to_owned(),
        members: MEMBERS.map(str::to_owned).to_vec(),
        revision: 1,
        has_request_ids: true,
        command: "judge_speed".to_owned(),
    })
}

fn watch_open() -> WatchOpen {
    WatchOpen {
        watch: 1,
        member: "n1".to_owned(),
        key: "/".to_owned(),
        end: Some("\0".to_owned()),
        start: 2,
        previous: false,
        progress: false,
        fragment: false,
        no_put: false,
        no_delete: false,
    }
}
