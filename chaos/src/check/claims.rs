//! Who made each revision: every one in the log was asked for, once, and every write that was answered is in the log.
//!
//! An answered write names its revision. What is left in the log must be the end of a lease, or an operation of unknown
//! outcome that happened; which one may be ambiguous, so it is a matching: each operation explains at most one revision.

mod candidates;
mod matching;

use crate::history::{Operation, Outcome};
use crate::model::{Model, View, has_written, key_of};
use crate::verdict::Finding;

use super::floors::{Births, Floors};
use super::tally::Tally;
use candidates::{Candidates, Kind};

/// What other systems write into the same store; nobody in the history asks for it.
const FOREIGN: [&str; 1] = ["/registry/"];

/// How much is looked at to say in more words why a revision is there that nobody asked for.
const EXPLAINED_MAX: usize = 50;

/// What is judged here.
pub const PROPERTIES: [&str; 4] = ["write-kept", "exactly-once", "refused-absent", "unknown-in-time"];

/// A revision's maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The operation of that index.
    Operation(u32),
    /// Keys went with their lease.
    Lease,
    /// Another client, which the history does not know.
    Foreign,
    Nobody,
}

/// Every revision's maker.
pub struct Claims {
    first: u64,
    makers: Vec<Maker>,
    pub births: Births,
    pub findings: Vec<Finding>,
}

impl Claims {
    /// `Nobody`, for a revision that does not exist.
    pub fn maker(&self, revision: u64) -> Maker {
        let place = revision.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.makers.get(place)).copied().unwrap_or(Maker::Nobody)
    }

    /// The revision that each operation made, by the operation's index.
    pub fn made(&self) -> impl Iterator<Item = (u32, u64)> + use<'_> {
        (self.first..).zip(&self.makers).filter_map(|(revision, maker)| match maker {
            Maker::Operation(index) => Some((*index, revision)),
            Maker::Lease | Maker::Foreign | Maker::Nobody => None,
        })
    }
}

/// Finds them, and judges on the way.
pub fn claim(model: &Model<'_>, is_whole: bool, operations: &[Operation<'_>], floors: &Floors) -> Claims {
    let [kept, once, refused, in_time] = PROPERTIES.map(Tally::of);
    let mut claiming = Claiming {
        model,
        operations,
        floors,
        first: model.begin() + 1,
        makers: vec![Maker::Nobody; model.revisions().count()],
        kept,
        once,
        refused,
        in_time,
    };
    claiming.answered(is_whole);
    let invoked = claiming.resolve();
    let Claiming { first, makers, kept, once, refused, in_time, .. } = claiming;
    let births = Births::of(first, invoked.into_iter());
    Claims { first, makers, births, findings: [kept, once, refused, in_time].map(Tally::finish).to_vec() }
}

struct Claiming<'i, 'a> {
    model: &'i Model<'a>,
    operations: &'i [Operation<'i>],
    floors: &'i Floors,
    first: u64,
    makers: Vec<Maker>,
    kept: Tally,
    once: Tally,
    refused: Tally,
    in_time: Tally,
}

impl Claiming<'_, '_> {
    /// Every write that was answered claims the revision of its header.
    fn answered(&mut self, is_whole: bool) {
        for (index, operation) in (0..).zip(self.operations) {
            let Some((header, answer)) = operation.ok() else { continue };
            self.repeats(operation);
            if !has_written(answer) {
                continue;
            }
            let revision = header.revision;
            if !is_whole && revision > self.model.last() {
                self.kept.give_up("the log was only watched, and not to its end");
                continue;
            }
            let exists = self.model.has(revision) && revision > self.model.begin();
            self.kept.hold(exists, || {
                (format!("a write was answered at revision {revision}, which no log has"), operation.lines())
            });
            if exists {
                self.take(index, revision);
            }
        }
    }

    fn take(&mut self, index: u32, revision: u64) {
        let place = (revision - self.first) as usize;
        let before = self.makers[place];
        self.once.hold(before == Maker::Nobody, || {
            let mut lines = self.operations[index as usize].lines();
            if let Maker::Operation(other) = before {
                lines.extend(self.operations[other as usize].lines());
            }
            (format!("two writes were answered at revision {revision}"), lines)
        });
        self.makers[place] = Maker::Operation(index);
    }

    /// Asked again under its request id, a write says what it said.
    fn repeats(&mut self, operation: &Operation<'_>) {
        let Some((header, answer)) = operation.ok() else { return };
        for (place, outcome) in &operation.repeats {
            let Outcome::Ok { header: again_header, answer: again } = outcome else { continue };
            if !has_written(answer) && !has_written(again) {
                continue;
            }
            self.once.hold(again == answer && again_header.revision == header.revision, || {
                let id = operation.request_id.unwrap_or_default();
                let what = format!(
                    "request {id} was answered at revision {}, and when asked again at {}",
                    header.revision, again_header.revision
                );
                (what, [operation.lines(), vec![place.line]].concat())
            });
        }
    }

    /// Explains what nobody was answered for. Returns each revision's earliest possible call.
    fn resolve(&mut self) -> Vec<Option<u64>> {
        let mut invoked: Vec<Option<u64>> = self.makers.iter().map(|maker| self.invoked(*maker)).collect();
        let unknown = Candidates::of(self.operations, |operation| match operation.outcome {
            Outcome::Unknown(_) => true,
            Outcome::Ok { .. } | Outcome::Refused(_) => false,
        });
        let mut open: Vec<(u64, Vec<u32>)> = Vec::new();
        for revision in self.model.revisions() {
            let place = (revision - self.first) as usize;
            if self.makers[place] != Maker::Nobody {
                continue;
            }
            if let Some(maker) = self.by_itself(revision) {
                self.makers[place] = maker;
                continue;
            }
            let fits = unknown.fitting(self.model, revision);
            let early: Vec<u32> =
                fits.iter().copied().filter(|token| self.is_early(&unknown, *token, revision)).collect();
            let lines = early.iter().map(|token| self.operations[unknown.operation(*token)].invoked.line);
            invoked[place] = lines.min();
            if early.is_empty() && !fits.is_empty() {
                self.too_late(&unknown, fits[0], revision);
            } else {
                open.push((revision, early));
            }
        }
        self.matched(&unknown, &open);
        invoked
    }

    fn matched(&mut self, unknown: &Candidates, open: &[(u64, Vec<u32>)]) {
        let edges: Vec<&[u32]> = open.iter().map(|(_, tokens)| tokens.as_slice()).collect();
        let mut explained = 0;
        for ((revision, _), token) in open.iter().zip(matching::greatest(&edges, unknown.len())) {
            match token {
                Some(token) => {
                    let index = unknown.operation(token);
                    self.makers[(revision - self.first) as usize] = Maker::Operation(index as u32);
                    self.once.hold(true, || unreachable!("it holds"));
                    self.in_time.hold(true, || unreachable!("it holds"));
                }
                None => {
                    explained += 1;
                    self.unasked(*revision, explained <= EXPLAINED_MAX);
                }
            }
        }
        let refusals = self.operations.iter().filter(|operation| is_refused_write(operation));
        for _ in refusals {
            self.refused.hold(true, || unreachable!("it holds"));
        }
    }

    fn invoked(&self, maker: Maker) -> Option<u64> {
        match maker {
            Maker::Operation(index) => Some(self.operations[index as usize].invoked.line),
            Maker::Lease | Maker::Foreign | Maker::Nobody => None,
        }
    }

    /// Whether the revision could still come when the operation was called.
    fn is_early(&self, unknown: &Candidates, token: u32, revision: u64) -> bool {
        self.floors.before(self.operations[unknown.operation(token)].invoked.line) < revision
    }

    fn too_late(&mut self, unknown: &Candidates, token: u32, revision: u64) {
        let operation = &self.operations[unknown.operation(token)];
        let told = self.floors.step_before(operation.invoked.line);
        self.in_time.hold(false, || {
            let what = format!(
                "revision {revision} was made by a write that was called only after revision {} had been told",
                told.map_or(0, |(_, floor)| floor)
            );
            (what, operation.lines().into_iter().chain(told.map(|(line, _)| line)).collect())
        });
    }

    /// The end of a lease deletes all that it holds, and nothing else; other clients have places of their own.
    fn by_itself(&self, revision: u64) -> Option<Maker> {
        let changes = self.model.changes(revision);
        if changes.iter().all(|change| FOREIGN.iter().any(|prefix| key_of(change).starts_with(prefix))) {
            return Some(Maker::Foreign);
        }
        let leases = changes.iter().map(|change| match change {
            crate::history::Change::Delete { key, .. } => {
                self.model.get(key, revision - 1).map_or(0, |kv| kv.lease)
            }
            crate::history::Change::Put { .. } => 0,
        });
        let mut leases: Vec<i64> = leases.collect();
        leases.dedup();
        let [lease] = leases[..] else { return None };
        let held = || self.model.range("", Some("\0"), revision - 1).filter(|kv| kv.lease == lease).count();
        (lease != 0 && held() == changes.len()).then_some(Maker::Lease)
    }

    /// Nobody's revision. What it looks like decides which property is broken.
    fn unasked(&mut self, revision: u64, in_detail: bool) {
        let line = self.model.line(revision);
        let told = |more: Vec<u64>| more.into_iter().chain(line).collect::<Vec<u64>>();
        let looks_like = |kind: fn(&Operation<'_>) -> bool| {
            let candidates = Candidates::of(self.operations, kind);
            let token = in_detail.then(|| candidates.fitting(self.model, revision).first().copied())??;
            Some(&self.operations[candidates.operation(token)])
        };
        if let Some(refused) = looks_like(is_refused_write) {
            let what = format!("revision {revision} was made by a write that was refused");
            return self.refused.violate(|| (what, told(refused.lines())));
        }
        let twin = looks_like(|operation| !is_refused_write(operation));
        self.once.hold(false, || match twin {
            Some(twin) => {
                let what = format!("revision {revision} is a write that has been applied before");
                (what, told(twin.lines()))
            }
            None => {
                let keys: Vec<&str> =
                    self.model.changes(revision).iter().map(|change| key_of(change)).collect();
                (
                    format!("nobody asked for revision {revision}, which changed {}", keys.join(", ")),
                    told(Vec::new()),
                )
            }
        });
    }
}

fn is_refused_write(operation: &Operation<'_>) -> bool {
    matches!(operation.outcome, Outcome::Refused(_)) && crate::model::is_write(operation.op)
}

/// Whether a token of that kind makes exactly a revision's changes.
fn makes(model: &Model<'_>, operation: &Operation<'_>, kind: Kind, revision: u64) -> bool {
    let changes = model.changes(revision);
    match kind {
        Kind::Whole => {
            let mut view = View::after(model, revision - 1);
            view.run(operation.op, None).is_ok() && view.did(changes)
        }
        Kind::Lock | Kind::Unlock => candidates::is_lock_change(operation.op, kind, changes),
    }
}
