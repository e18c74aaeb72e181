//! Histories of runs that never were, for tests: eight clients on a register of eight keys, six faults, one lost write.

use crate::history::{
    Answer, Begin, Change, Event, Failure, Fault, Header, History, Invoke, Kv, Line, Op, Outcome, Put, Range,
    Step, WatchAnswer, WatchEvent, WatchOpen,
};
use crate::verdict::{Finding, Violation};

const SECOND: u64 = 1_000_000_000;
const END: u64 = 40 * SECOND;
const MEMBERS: [&str; 3] = ["n1", "n2", "n3"];
const CLIENTS: u32 = 8;
/// When nobody leads, and the term after it.
const OUTAGES: [(u64, u64, u64); 3] =
    [(6 * SECOND, 7_240_000_000, 3), (19 * SECOND, 19_830_000_000, 4), (34 * SECOND, 35_500_000_000, 5)];

/// A history with what its checkers found in it.
pub(super) struct Invented {
    pub(super) history: History,
    pub(super) findings: Vec<Finding>,
}

/// About so many calls in forty seconds. The broken one loses a write that was acknowledged before the power failed.
pub(super) fn invented(calls: u64, is_broken: bool) -> Invented {
    let mut run = Run { chance: 42, is_broken, ..Run::default() };
    run.emit(0, 0, Event::Begin(begin()));
    run.faults();
    run.watch_open();
    let pause = END * u64::from(CLIENTS) / calls.max(1);
    let mut free: Vec<(u64, u32)> =
        (1..=CLIENTS).map(|process| (u64::from(process) * 1_000_000, process)).collect();
    let mut next_process = CLIENTS + 1;
    while let Some(earliest) = free.iter_mut().min().filter(|(at, _)| *at < END - 2 * SECOND) {
        let (at, process) = *earliest;
        let (end, is_known) = run.call(at, process);
        earliest.0 = end.max(at + pause / 2 + run.below(pause));
        if !is_known {
            earliest.1 = next_process;
            next_process += 1;
        }
    }
    for member in MEMBERS {
        let hash = 0x5bd1_e995_0c0f_fee0 + u64::from(is_broken && member == "n3");
        run.emit(
            END,
            0,
            Event::Hash { member: member.to_owned(), revision: run.revision, compacted: 0, hash },
        );
    }
    run.finish()
}

#[derive(Default)]
struct Run {
    lines: Vec<Line>,
    chance: u64,
    is_broken: bool,
    revision: u64,
    /// Value, created, modified, version of each key.
    keys: [Option<(String, u64, u64, u64)>; 8],
    /// Of the key that will be lost: before its last acknowledged write.
    before: Option<(String, u64, u64, u64)>,
    /// Beginning of that write, and its key.
    lost: Option<(u64, usize)>,
    /// Beginning of the read that showed the loss.
    shown: Option<u64>,
}

impl Run {
    /// When it ends, and whether its outcome is known.
    fn call(&mut self, at: u64, process: u32) -> (u64, bool) {
        let member = MEMBERS[process as usize % 3];
        let key = self.below(8) as usize;
        let is_put = self.below(2) == 0;
        let mut latency = 400_000 + self.below(900_000) + self.below(30).pow(4) * 5;
        if (28 * SECOND..32 * SECOND).contains(&at) && is_put {
            latency *= 12;
        }
        let outage = OUTAGES.iter().find(|(from, until, _)| (*from..*until).contains(&at));
        let name = format!("/chaos/r{key}");
        let value = format!("p{process}-{}", at / 1_000_000);
        let op = if is_put {
            Op::Put(Put { key: name.clone(), value: value.clone(), lease: 0, previous: false })
        } else {
            Op::Range(Range { key: name.clone(), ..Range::default() })
        };
        let workload = "register".to_owned();
        self.emit(
            at,
            process,
            Event::Invoke(Invoke { member: member.to_owned(), workload, request_id: None, op }),
        );
        if let Some((_, until, _)) = outage
            && self.below(3) > 0
        {
            let code = if self.below(2) == 0 && is_put { "Timeout" } else { "Unavailable" };
            let failure = Failure { code: code.to_owned(), message: "no leader".to_owned() };
            let (end, is_known) = ((at + 500_000_000).min(*until), code == "Unavailable");
            let outcome = if is_known { Outcome::Refused(failure) } else { Outcome::Unknown(failure) };
            self.emit(end, process, Event::Return { outcome });
            return (end, is_known);
        }
        let end = outage.map_or(at, |(_, until, _)| *until) + latency;
        let answer = if is_put { self.put(at, key, name, value) } else { self.get(at, key, name) };
        let term =
            OUTAGES.iter().filter(|(_, until, _)| *until <= end).map(|(_, _, term)| *term).max().unwrap_or(2);
        let header = Header { cluster: 9, member: u64::from(process % 3), revision: self.revision, term };
        self.emit(end, process, Event::Return { outcome: Outcome::Ok { header, answer } });
        (end, true)
    }

    fn put(&mut self, at: u64, key: usize, name: String, value: String) -> Answer {
        self.revision += 1;
        let revision = self.revision;
        let old = self.keys[key].take();
        let (created, version) =
            old.as_ref().map_or((revision, 1), |(_, created, _, version)| (*created, version + 1));
        if self.is_broken && key == 3 && at < 33_900_000_000 {
            self.before = old;
            self.lost = Some((at, key));
        }
        self.keys[key] = Some((value.clone(), created, revision, version));
        if key == 0 && revision.is_multiple_of(5) {
            let kv = Kv { key: name, value, created, modified: revision, version, lease: 0 };
            let events = vec![WatchEvent { change: Change::Put { kv }, previous: None }];
            let header = Header { cluster: 9, member: 2, revision, term: 2 };
            let (created, canceled, compacted, fragment) = (false, None, 0, false);
            let answer = WatchAnswer { watch: 1, header, created, canceled, compacted, fragment, events };
            self.emit(at + 900_000, 900, Event::WatchAnswer(answer));
        }
        Answer::Put { previous: None }
    }

    fn get(&mut self, at: u64, key: usize, name: String) -> Answer {
        if at > 35_500_000_000 && self.lost.is_some_and(|(_, lost)| lost == key) && self.shown.is_none() {
            self.shown = Some(at);
            self.keys[key] = self.before.take();
        }
        let kv = self.keys[key].clone().map(|(value, created, modified, version)| Kv {
            key: name,
            value,
            created,
            modified,
            version,
            lease: 0,
        });
        let kvs: Vec<Kv> = kv.into_iter().collect();
        Answer::Range { count: kvs.len() as u64, kvs, more: false }
    }

    fn faults(&mut self) {
        let n2 = ["n2>n1", "n2>n3", "n1>n2", "n3>n2"].as_slice();
        let all: [(&str, &[&str], u64, u64, Step); 6] = [
            ("kill", &["n1"], 6_000, 9_000, installed("no such process 4711")),
            ("pause", &["n3"], 12_000, 15_000, installed("state T in /proc")),
            ("partition", n2, 19_000, 24_000, installed("4 of 4 probes unanswered")),
            (
                "clock-jump",
                &["n3"],
                26_000,
                0,
                Step::Skipped { reason: "there is no libfaketime here".to_owned() },
            ),
            ("slow-sync", &["n2"], 28_000, 32_000, installed("a sync took 118 ms")),
            ("power-loss", &["n1", "n2", "n3"], 34_000, 35_200, installed("file systems are shut down")),
        ];
        for (number, (kind, target, from_ms, until_ms, step)) in (1..).zip(all) {
            let target: Vec<String> = target.iter().map(|name| (*name).to_owned()).collect();
            let fault = |step| {
                Event::Fault(Fault { fault: number, kind: kind.to_owned(), target: target.clone(), step })
            };
            self.emit(from_ms * 1_000_000, 0, fault(step));
            if until_ms > 0 {
                self.emit(until_ms * 1_000_000, 0, fault(Step::Healed { evidence: "it answers".to_owned() }));
            }
        }
        for (at, name) in [(0, "safety"), (35_200_000_000, "healing"), (38 * SECOND, "final reads")] {
            self.emit(at, 0, Event::Phase { name: name.to_owned() });
        }
    }

    fn watch_open(&mut self) {
        let (key, end) = ("/chaos/".to_owned(), Some("/chaos0".to_owned()));
        let (previous, progress, fragment, no_put, no_delete) = (false, true, false, false, false);
        let member = "n2".to_owned();
        let open = WatchOpen {
            watch: 1,
            member,
            key,
            end,
            start: 1,
            previous,
            progress,
            fragment,
            no_put,
            no_delete,
        };
        self.emit(1_000, 900, Event::WatchOpen(open));
    }

    fn finish(mut self) -> Invented {
        self.lines.sort_by_key(|line| line.at);
        let number = |at: u64| {
            self.lines.iter().position(|line| line.at == at && matches!(line.event, Event::Invoke(_)))
        };
        let finding = |property: &str, checked| {
            let (violations, inconclusive) = (Vec::new(), None);
            Finding { property: property.to_owned(), checked, violations, inconclusive }
        };
        let mut stay = finding("acknowledged-writes-stay", self.revision);
        if let (Some((written, _)), Some(shown)) = (self.lost, self.shown) {
            let lines =
                [number(written), number(shown)].into_iter().flatten().map(|line| line as u64).collect();
            let what =
                "1 acknowledged write lost: key /chaos/r3 was put and later read as it was before".to_owned();
            stay.violations.push(Violation { what, lines });
        }
        let findings = vec![
            finding("answers-are-exact", self.lines.len() as u64 / 2),
            stay,
            finding("watch-ordered", 812),
        ];
        Invented { history: History::new(self.lines).unwrap(), findings }
    }

    fn emit(&mut self, at: u64, process: u32, event: Event) {
        self.lines.push(Line { at, process, event });
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % bound.max(1)
    }
}

fn begin() -> Begin {
    Begin {
        scenario: "power-loss".to_owned(),
        seed: 42,
        system: "navarch".to_owned(),
        version: "0.1.0".to_owned(),
        members: MEMBERS.map(str::to_owned).to_vec(),
        revision: 0,
        has_request_ids: true,
        command: "navarch chaos run power-loss --seed 42".to_owned(),
    }
}

fn installed(evidence: &str) -> Step {
    Step::Installed { evidence: evidence.to_owned() }
}
