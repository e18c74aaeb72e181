//! One operation replayed on a state: what it must answer, and what it changes.

use std::collections::BTreeMap;

use super::{Model, key_of, spans};
use crate::history::{Answer, Change, Compare, Delete, Is, Kv, Op, Put, Range, Target, Txn};

/// The state after a revision, and what one operation has done on top of it.
pub struct View<'m, 'a> {
    model: &'m Model<'a>,
    before: u64,
    /// By key, what it is now; none where it is deleted.
    written: BTreeMap<&'m str, Option<Kv>>,
}

/// What an answer should have been, in words.
type Wrong = String;

impl<'m, 'a> View<'m, 'a> {
    pub fn after(model: &'m Model<'a>, revision: u64) -> Self {
        Self { model, before: revision, written: BTreeMap::new() }
    }

    /// Runs a range, put, deletion or transaction, and holds `given` against it, if something was answered.
    ///
    /// # Errors
    /// How the answer differs; or why the operation could not have run at all.
    pub fn run(&mut self, op: &'m Op, given: Option<&Answer>) -> Result<(), Wrong> {
        match op {
            Op::Txn(txn) => {
                // All compares look at the state before, those of inner transactions too.
                let path = self.decide(txn);
                self.txn(txn, &path, given)
            }
            other => self.step(other, given),
        }
    }

    /// Whether these are all its changes, and no others.
    pub fn did(&self, changes: &[&Change]) -> bool {
        changes.len() == self.written.len()
            && changes.iter().all(|change| match (change, self.written.get(key_of(change))) {
                (Change::Put { kv }, Some(Some(written))) => kv == written,
                (Change::Delete { modified, .. }, Some(None)) => *modified == self.before + 1,
                _ => false,
            })
    }

    /// What it wrote, in a few words.
    pub fn describe(&self) -> String {
        let one = |(key, kv): (&&str, &Option<Kv>)| match kv {
            Some(kv) => format!("{key} = {:?} (version {})", kv.value, kv.version),
            None => format!("{key} deleted"),
        };
        self.written.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn get(&self, key: &str) -> Option<&Kv> {
        match self.written.get(key) {
            Some(written) => written.as_ref(),
            None => self.model.get(key, self.before),
        }
    }

    fn step(&mut self, op: &'m Op, given: Option<&Answer>) -> Result<(), Wrong> {
        match op {
            Op::Range(range) => self.range(range, given),
            Op::Put(put) => self.put(put, given),
            Op::Delete(delete) => self.delete(delete, given),
            Op::Txn(_)
            | Op::Compact { .. }
            | Op::Grant { .. }
            | Op::Revoke { .. }
            | Op::KeepAlive { .. }
            | Op::TimeToLive { .. }
            | Op::Lock { .. }
            | Op::Unlock { .. }
            | Op::Status => Err("is nothing that a state answers".to_owned()),
        }
    }

    fn range(&self, range: &Range, given: Option<&Answer>) -> Result<(), Wrong> {
        let newest = self.before + u64::from(!self.written.is_empty());
        if range.revision > newest {
            return Err(format!("reads revision {} when {newest} is the newest", range.revision));
        }
        let Some(given) = given else { return Ok(()) };
        let Answer::Range { kvs, count, more } = given else { return Err(mismatch("range", given)) };
        let past = range.revision != 0 && range.revision <= self.before;
        let found: Vec<&Kv> = if past || self.written.is_empty() {
            let at = if past { range.revision } else { self.before };
            self.model.range(&range.key, range.end.as_deref(), at).collect()
        } else {
            self.found(&range.key, range.end.as_deref())
        };
        let limit = if range.limit == 0 { u64::MAX } else { range.limit };
        let total = found.len() as u64;
        let shown = if range.count_only { 0 } else { total.min(limit) };
        let expected = &found[..usize::try_from(shown).unwrap_or(usize::MAX)];
        if !kvs.iter().eq(expected.iter().copied()) {
            return Err(differing(kvs, expected));
        }
        same("count", *count, total)?;
        same("more", *more, !range.count_only && total > limit)
    }

    fn put(&mut self, put: &'m Put, given: Option<&Answer>) -> Result<(), Wrong> {
        let revision = self.before + 1;
        let before = self.get(&put.key);
        if let Some(given) = given {
            let Answer::Put { previous } = given else { return Err(mismatch("put", given)) };
            same("previous", previous.as_ref(), before.filter(|_| put.previous))?;
        }
        let (created, version) = before.map_or((revision, 1), |kv| (kv.created, kv.version + 1));
        let (key, value) = (put.key.clone(), put.value.clone());
        let kv = Kv { key, value, created, modified: revision, version, lease: put.lease };
        self.written.insert(&put.key, Some(kv));
        Ok(())
    }

    fn delete(&mut self, delete: &'m Delete, given: Option<&Answer>) -> Result<(), Wrong> {
        let found = self.found(&delete.key, delete.end.as_deref());
        if let Some(given) = given {
            let Answer::Delete { deleted, previous } = given else { return Err(mismatch("delete", given)) };
            same("deleted", *deleted, found.len() as u64)?;
            let expected = if delete.previous { found.as_slice() } else { &[] };
            if !previous.iter().eq(expected.iter().copied()) {
                return Err(differing(previous, expected));
            }
        }
        let (from, end) = (delete.key.as_str(), delete.end.as_deref());
        let stored: Vec<&'m str> =
            self.model.range(from, end, self.before).map(|kv| kv.key.as_str()).collect();
        let written: Vec<&'m str> = self
            .written
            .iter()
            .filter(|(key, kv)| kv.is_some() && spans(from, end, key))
            .map(|(key, _)| *key)
            .collect();
        self.written.extend(stored.into_iter().chain(written).map(|key| (key, None)));
        Ok(())
    }

    /// What a span holds now, own writes included, by key.
    fn found(&self, from: &str, end: Option<&str>) -> Vec<&Kv> {
        let stored = self.model.range(from, end, self.before);
        let mut found: Vec<&Kv> = stored.filter(|kv| !self.written.contains_key(kv.key.as_str())).collect();
        if !self.written.is_empty() {
            let own = self.written.iter().filter(|(key, _)| spans(from, end, key));
            found.extend(own.filter_map(|(_, kv)| kv.as_ref()));
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        }
        found
    }

    fn decide(&self, txn: &Txn) -> Path {
        let succeeded = txn.compare.iter().all(|compare| holds(self.get(&compare.key), compare));
        let inner = branch(txn, succeeded).iter().filter_map(|op| match op {
            Op::Txn(inner) => Some(self.decide(inner)),
            _ => None,
        });
        Path { succeeded, inner: inner.collect() }
    }

    fn txn(&mut self, txn: &'m Txn, path: &Path, given: Option<&Answer>) -> Result<(), Wrong> {
        let ops = branch(txn, path.succeeded);
        let answers = match given {
            None => None,
            Some(Answer::Txn { succeeded, answers }) => {
                same("succeeded", *succeeded, path.succeeded)?;
                same("the number of answers", answers.len(), ops.len())?;
                Some(answers)
            }
            Some(other) => return Err(mismatch("txn", other)),
        };
        let mut inner = path.inner.iter();
        for (place, op) in ops.iter().enumerate() {
            let given = answers.map(|answers| &answers[place]);
            match op {
                Op::Txn(nested) => {
                    if let Some(path) = inner.next() {
                        self.txn(nested, path, given)?;
                    }
                }
                other => self.step(other, given)?,
            }
        }
        Ok(())
    }
}

/// Which branches a transaction takes.
struct Path {
    succeeded: bool,
    inner: Vec<Path>,
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.then } else { &txn.otherwise }
}

/// A missing key has zeroes for numbers, and no value that could compare.
fn holds(kv: Option<&Kv>, compare: &Compare) -> bool {
    let order = match &compare.target {
        Target::Version(version) => kv.map_or(0, |kv| kv.version).cmp(version),
        Target::Created(revision) => kv.map_or(0, |kv| kv.created).cmp(revision),
        Target::Modified(revision) => kv.map_or(0, |kv| kv.modified).cmp(revision),
        Target::Lease(lease) => kv.map_or(0, |kv| kv.lease).cmp(lease),
        Target::Value(value) => match kv {
            Some(kv) => kv.value.cmp(value),
            None => return false,
        },
    };
    match compare.is {
        Is::Equal => order.is_eq(),
        Is::NotEqual => order.is_ne(),
        Is::Less => order.is_lt(),
        Is::Greater => order.is_gt(),
    }
}

/// Whether an operation may change a key at all.
pub fn is_write(op: &Op) -> bool {
    match op {
        Op::Put(_) | Op::Delete(_) | Op::Lock { .. } | Op::Unlock { .. } | Op::Revoke { .. } => true,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(is_write),
        Op::Range(_)
        | Op::Compact { .. }
        | Op::Grant { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Status => false,
    }
}

/// Whether an answer says that its revision is the operation's own.
pub fn has_written(answer: &Answer) -> bool {
    match answer {
        Answer::Put { .. } => true,
        Answer::Delete { deleted, .. } => *deleted > 0,
        Answer::Txn { answers, .. } => answers.iter().any(has_written),
        Answer::Range { .. }
        | Answer::Compact
        | Answer::Grant { .. }
        | Answer::Revoke
        | Answer::KeepAlive { .. }
        | Answer::TimeToLive { .. }
        | Answer::Lock { .. }
        | Answer::Unlock
        | Answer::Status { .. } => false,
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, given: T, expected: T) -> Result<(), Wrong> {
    if given == expected { Ok(()) } else { Err(format!("{what} is {given:?}, not {expected:?}")) }
}

fn mismatch(asked: &str, given: &Answer) -> Wrong {
    format!("a {asked} is answered by {given:?}")
}

/// The first place where two lists of pairs part.
fn differing(given: &[Kv], expected: &[&Kv]) -> Wrong {
    let place = given.iter().zip(expected).take_while(|(given, expected)| given == *expected).count();
    match (given.get(place), expected.get(place)) {
        (Some(given), Some(expected)) => format!("holds {}, not {}", brief(given), brief(expected)),
        (Some(given), None) => format!("holds {}, which was not there", brief(given)),
        (None, Some(expected)) => format!("lacks {}", brief(expected)),
        (None, None) => "differs".to_owned(),
    }
}

fn brief(kv: &Kv) -> String {
    let Kv { key, value, created, modified, version, lease } = kv;
    let lease = if *lease == 0 { String::new() } else { format!(", lease {lease}") };
    format!("{key} = {value:?} (created {created}, modified {modified}, version {version}{lease})")
}
