//! An honest store for tests, one operation after the other: etcd's semantics in the plainest form, every state kept.
//!
//! It shares no code with `model`, which judges.

use std::collections::BTreeMap;

use super::{Answer, Change, Compare, Delete, Failure, Is, Kv, Op, Put, Range, Target};

#[derive(Clone)]
pub struct Serial {
    pub revision: u64,
    pub compacted: u64,
    pub log: Vec<(u64, Vec<Change>)>,
    /// The state at every revision, from the first.
    states: BTreeMap<u64, BTreeMap<String, Kv>>,
    leases: BTreeMap<i64, i64>,
}

/// A transaction under way.
struct Pending {
    revision: u64,
    state: BTreeMap<String, Kv>,
    changes: Vec<Change>,
}

impl Serial {
    pub fn empty() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            log: Vec::new(),
            states: BTreeMap::from([(1, BTreeMap::new())]),
            leases: BTreeMap::new(),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Kv> {
        self.states[&self.revision].get(key)
    }

    /// As it was after a revision.
    pub fn as_of(&self, revision: u64) -> Self {
        let mut past = self.clone();
        past.revision = revision;
        past.states.retain(|made, _| *made <= revision);
        past
    }

    /// What a lease held goes with it, in one revision.
    pub fn end_lease(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let mut pending = self.pending();
        let keys: Vec<String> =
            pending.state.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect();
        for key in keys {
            pending.delete(&Delete { key, end: None, previous: false });
        }
        self.commit(pending);
    }

    pub fn apply(&mut self, op: &Op) -> Result<Answer, Failure> {
        match op {
            Op::Range(_) | Op::Put(_) | Op::Delete(_) | Op::Txn(_) => {
                let mut pending = self.pending();
                let answer = self.step(&mut pending, op)?;
                self.commit(pending);
                Ok(answer)
            }
            Op::Compact { revision } if *revision > self.revision => Err(future()),
            Op::Compact { revision } if *revision <= self.compacted => Err(compacted()),
            Op::Compact { revision } => {
                self.compacted = *revision;
                Ok(Answer::Compact)
            }
            Op::Grant { id, ttl_s } => {
                let id = if *id == 0 { 1000 + self.leases.len() as i64 } else { *id };
                self.leases.insert(id, *ttl_s);
                Ok(Answer::Grant { id, ttl_s: *ttl_s })
            }
            Op::Revoke { id } if self.leases.contains_key(id) => {
                self.end_lease(*id);
                Ok(Answer::Revoke)
            }
            Op::Revoke { .. } => Err(no_lease()),
            Op::KeepAlive { id } => {
                Ok(Answer::KeepAlive { ttl_s: self.leases.get(id).copied().unwrap_or(0) })
            }
            Op::TimeToLive { id } => {
                let granted_s = self.leases.get(id).copied().unwrap_or(0);
                let state = self.states[&self.revision].values();
                let keys = state.filter(|kv| kv.lease == *id).map(|kv| kv.key.clone()).collect();
                Ok(Answer::TimeToLive { ttl_s: if granted_s == 0 { -1 } else { granted_s }, granted_s, keys })
            }
            Op::Status => Ok(Answer::Status { leader: 1, is_learner: false }),
            Op::Lock { .. } | Op::Unlock { .. } => panic!("tell the lines of locks by hand"),
        }
    }

    fn pending(&self) -> Pending {
        Pending {
            revision: self.revision + 1,
            state: self.states[&self.revision].clone(),
            changes: Vec::new(),
        }
    }

    fn commit(&mut self, pending: Pending) {
        if !pending.changes.is_empty() {
            self.revision = pending.revision;
            self.states.insert(self.revision, pending.state);
            self.log.push((self.revision, pending.changes));
        }
    }

    fn step(&self, pending: &mut Pending, op: &Op) -> Result<Answer, Failure> {
        match op {
            Op::Range(range) => self.range(pending, range),
            Op::Put(put) if put.lease != 0 && !self.leases.contains_key(&put.lease) => Err(no_lease()),
            Op::Put(put) => Ok(pending.put(put)),
            Op::Delete(delete) => Ok(pending.delete(delete)),
            Op::Txn(txn) => {
                // Compares look at what was before the outermost transaction, however deep they are.
                let before = &self.states[&self.revision];
                let succeeded = txn.compare.iter().all(|compare| holds(before, compare));
                let branch = if succeeded { &txn.then } else { &txn.otherwise };
                let answers = branch.iter().map(|op| self.step(pending, op)).collect::<Result<_, _>>()?;
                Ok(Answer::Txn { succeeded, answers })
            }
            other => panic!("not in a transaction: {other:?}"),
        }
    }

    fn range(&self, pending: &Pending, range: &Range) -> Result<Answer, Failure> {
        if range.revision > self.revision {
            return Err(future());
        }
        if range.revision != 0 && range.revision < self.compacted {
            return Err(compacted());
        }
        let state = if range.revision == 0 { &pending.state } else { &self.states[&range.revision] };
        let all: Vec<Kv> =
            state.values().filter(|kv| within(&kv.key, &range.key, range.end.as_deref())).cloned().collect();
        let count = all.len() as u64;
        let limit = if range.limit == 0 { usize::MAX } else { range.limit as usize };
        let more = !range.count_only && all.len() > limit;
        let kvs = if range.count_only { Vec::new() } else { all.into_iter().take(limit).collect() };
        Ok(Answer::Range { kvs, count, more })
    }
}

impl Pending {
    fn put(&mut self, put: &Put) -> Answer {
        let before = self.state.get(&put.key).cloned();
        let kv = Kv {
            key: put.key.clone(),
            value: put.value.clone(),
            created: before.as_ref().map_or(self.revision, |kv| kv.created),
            modified: self.revision,
            version: before.as_ref().map_or(1, |kv| kv.version + 1),
            lease: put.lease,
        };
        self.changes.push(Change::Put { kv: kv.clone() });
        self.state.insert(put.key.clone(), kv);
        Answer::Put { previous: before.filter(|_| put.previous) }
    }

    fn delete(&mut self, delete: &Delete) -> Answer {
        let gone: Vec<Kv> = self
            .state
            .values()
            .filter(|kv| within(&kv.key, &delete.key, delete.end.as_deref()))
            .cloned()
            .collect();
        for kv in &gone {
            self.state.remove(&kv.key);
            self.changes.push(Change::Delete { key: kv.key.clone(), modified: self.revision });
        }
        let deleted = gone.len() as u64;
        Answer::Delete { deleted, previous: if delete.previous { gone } else { Vec::new() } }
    }
}

fn holds(state: &BTreeMap<String, Kv>, compare: &Compare) -> bool {
    let kv = state.get(&compare.key);
    let order = match &compare.target {
        Target::Version(version) => kv.map_or(0, |kv| kv.version).cmp(version),
        Target::Created(created) => kv.map_or(0, |kv| kv.created).cmp(created),
        Target::Modified(modified) => kv.map_or(0, |kv| kv.modified).cmp(modified),
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

fn within(key: &str, from: &str, end: Option<&str>) -> bool {
    match end {
        None => key == from,
        Some("\0") => key >= from,
        Some(end) => key >= from && key < end,
    }
}

fn future() -> Failure {
    failure("OutOfRange", "etcdserver: mvcc: required revision is a future revision")
}

fn compacted() -> Failure {
    failure("OutOfRange", "etcdserver: mvcc: required revision has been compacted")
}

fn no_lease() -> Failure {
    failure("NotFound", "etcdserver: requested lease not found")
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.to_owned(), message: message.to_owned() }
}
