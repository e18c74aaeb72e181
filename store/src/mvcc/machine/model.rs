//! A naive store that remembers every revision whole. The state machine must agree with it on every answer, every
//! event, every kept revision, every lease and every wall time, whatever is asked in whatever order.

use std::collections::BTreeMap;

use base::{LeaseId, Revision};
use bytes::Bytes;
use proptest::prelude::*;

use super::tests::{Bench, load};
use super::*;
use crate::disk::read;
use crate::limits::Limits;
use crate::mvcc::catch_up::{self, Budget, Wanted};
use crate::mvcc::request::{
    Compare, Delete, EventKind, KeyValue, Op, OpResult, Put, Range, RangeResult, Relation, Sort, SortTarget,
    Target,
};
use crate::mvcc::span::{End, Span};
use crate::mvcc::{history, keyspace, validate};

type State = BTreeMap<Bytes, KeyValue>;

/// Everything that ever was.
struct Model {
    states: BTreeMap<i64, State>,
    events: BTreeMap<i64, Vec<Event>>,
    times: BTreeMap<i64, i64>,
    leases: BTreeMap<i64, i64>,
    compacted: i64,
}

/// A transaction while it runs: what it has made of the newest state so far.
struct Draft<'a> {
    model: &'a Model,
    state: State,
    events: Vec<Event>,
}

impl Model {
    fn new() -> Self {
        Self {
            states: BTreeMap::from([(1, State::new())]),
            events: BTreeMap::new(),
            times: BTreeMap::new(),
            leases: BTreeMap::new(),
            compacted: -1,
        }
    }

    fn newest(&self) -> i64 {
        *self.states.keys().next_back().expect("revision 1 at least")
    }

    fn now(&self) -> &State {
        &self.states[&self.newest()]
    }

    fn draft(&self) -> Draft<'_> {
        Draft { model: self, state: self.now().clone(), events: Vec::new() }
    }

    /// Makes a revision of what a draft has changed, and returns its events.
    fn commit(&mut self, state: State, events: Vec<Event>, time_ms: i64) -> Vec<Event> {
        if !events.is_empty() {
            let revision = self.newest() + 1;
            let before = self.times.values().next_back().copied().unwrap_or(0);
            self.times.insert(revision, before.max(time_ms));
            self.states.insert(revision, state);
            self.events.insert(revision, events.clone());
        }
        events
    }

    fn readable(&self, asked: Option<Revision>) -> Result<i64, StoreError> {
        let (newest, compacted) = (Revision::new(self.newest()), Revision::new(self.compacted));
        match asked {
            None => Ok(self.newest()),
            Some(asked) if asked > newest => Err(StoreError::FutureRevision { asked, newest }),
            Some(asked) if asked < compacted => Err(StoreError::Compacted { asked, compacted }),
            Some(asked) => Ok(asked.get()),
        }
    }

    fn txn(&mut self, txn: &Txn, time_ms: i64) -> (Result<TxnResult, StoreError>, Vec<Event>) {
        let mut draft = self.draft();
        let result = draft.refusal(txn).map_or(Ok(()), Err).and_then(|()| draft.run(txn));
        let Draft { state, events, .. } = draft;
        match result {
            Ok(result) => (Ok(result), self.commit(state, events, time_ms)),
            Err(refusal) => (Err(refusal), Vec::new()),
        }
    }

    fn revoke(&mut self, id: i64, time_ms: i64) -> Result<Vec<Event>, StoreError> {
        self.leases.remove(&id).ok_or(StoreError::LeaseNotFound)?;
        let mut draft = self.draft();
        let attached: Vec<Bytes> =
            self.now().values().filter(|kv| kv.lease.get() == id).map(|kv| kv.key.clone()).collect();
        for key in attached {
            draft.delete(&Span::key(key));
        }
        let Draft { state, events, .. } = draft;
        Ok(self.commit(state, events, time_ms))
    }

    fn compact(&mut self, at: i64) -> Result<(), StoreError> {
        let (asked, compacted) = (Revision::new(at), Revision::new(self.compacted));
        if at <= self.compacted {
            return Err(StoreError::Compacted { asked, compacted });
        }
        if at > self.newest() {
            return Err(StoreError::FutureRevision { asked, newest: Revision::new(self.newest()) });
        }
        self.compacted = at;
        Ok(())
    }

    /// The newest revision at a time; `None`: forgotten.
    fn at_time(&self, time_ms: i64) -> Option<i64> {
        let kept = self.times.iter().filter(|(revision, _)| **revision >= self.compacted);
        let found = kept.filter(|(_, time)| **time <= time_ms).map(|(revision, _)| *revision).next_back();
        found.or((self.compacted <= 1).then_some(1))
    }
}

impl Draft<'_> {
    fn revision(&self) -> i64 {
        self.model.newest() + i64::from(!self.events.is_empty())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let zero = KeyValue::default();
        let mut kvs: Vec<&KeyValue> =
            self.model.now().values().filter(|kv| compare.span.contains(&kv.key)).collect();
        if kvs.is_empty() {
            if matches!(compare.target, Target::Value(_)) {
                return false;
            }
            kvs.push(&zero);
        }
        kvs.into_iter().all(|kv| {
            let order = match &compare.target {
                Target::Version(n) => kv.version.cmp(n),
                Target::Create(n) => kv.create_revision.cmp(n),
                Target::Mod(n) => kv.mod_revision.cmp(n),
                Target::Value(value) => kv.value.cmp(value),
                Target::Lease(lease) => kv.lease.cmp(lease),
            };
            match compare.relation {
                Relation::Equal => order.is_eq(),
                Relation::NotEqual => order.is_ne(),
                Relation::Greater => order.is_gt(),
                Relation::Less => order.is_lt(),
            }
        })
    }

    fn branch<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    /// The first reason to refuse, on the state before the transaction.
    fn refusal(&self, txn: &Txn) -> Option<StoreError> {
        self.branch(txn).1.iter().find_map(|op| match op {
            Op::Range(range) => self.model.readable(range.revision).err(),
            Op::Put(put) => {
                let exists = self.model.now().contains_key(&put.key);
                if (put.ignore_value || put.ignore_lease) && !exists {
                    return Some(StoreError::KeyNotFound);
                }
                let known = put.lease.is_none() || self.model.leases.contains_key(&put.lease.get());
                (!known).then_some(StoreError::LeaseNotFound)
            }
            Op::Delete(_) => None,
            Op::Txn(inner) => self.refusal(inner),
        })
    }

    fn run(&mut self, txn: &Txn) -> Result<TxnResult, StoreError> {
        let (succeeded, ops) = self.branch(txn);
        let mut responses = Vec::new();
        for op in ops {
            responses.push(match op {
                Op::Range(range) => OpResult::Range(self.range(range)?),
                Op::Put(put) => OpResult::Put { prev: self.put(put).filter(|_| put.prev_kv) },
                Op::Delete(Delete { span, prev_kv }) => {
                    let gone = self.delete(span);
                    let deleted = gone.len() as u64;
                    OpResult::Delete { deleted, prev: if *prev_kv { gone } else { Vec::new() } }
                }
                Op::Txn(inner) => OpResult::Txn(self.run(inner)?),
            });
        }
        Ok(TxnResult { succeeded, responses, revision: Revision::new(self.revision()) })
    }

    fn range(&self, range: &Range) -> Result<RangeResult, StoreError> {
        let at = self.model.readable(range.revision)?;
        let state = if range.revision.is_none() { &self.state } else { &self.model.states[&at] };
        Ok(RangeResult { revision: Revision::new(self.revision()), ..pick(state, range) })
    }

    fn put(&mut self, put: &Put) -> Option<KeyValue> {
        let revision = Revision::new(self.model.newest() + 1);
        let prev = self.state.get(&put.key).cloned();
        let old = prev.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value { old.value } else { put.value.clone() },
            create_revision: if prev.is_some() { old.create_revision } else { revision },
            mod_revision: revision,
            version: old.version + 1,
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        self.state.insert(put.key.clone(), kv.clone());
        self.events.push(Event { kind: EventKind::Put, kv, prev: prev.clone() });
        prev
    }

    fn delete(&mut self, span: &Span) -> Vec<KeyValue> {
        let gone: Vec<KeyValue> = self.state.values().filter(|kv| span.contains(&kv.key)).cloned().collect();
        for prev in &gone {
            self.state.remove(&prev.key);
            let mod_revision = Revision::new(self.model.newest() + 1);
            let kv = KeyValue { key: prev.key.clone(), mod_revision, ..KeyValue::default() };
            self.events.push(Event { kind: EventKind::Delete, kv, prev: Some(prev.clone()) });
        }
        gone
    }
}

/// A range on one state, said as plainly as can be.
fn pick(state: &State, range: &Range) -> RangeResult {
    let inside: Vec<&KeyValue> = state.values().filter(|kv| range.span.contains(&kv.key)).collect();
    let mut count = inside.len() as u64;
    if range.count_only {
        return RangeResult { count, ..RangeResult::default() };
    }
    let mut kvs: Vec<KeyValue> = inside
        .into_iter()
        .filter(|kv| range.min_mod_revision.is_none_or(|min| kv.mod_revision >= min))
        .filter(|kv| range.max_mod_revision.is_none_or(|max| kv.mod_revision <= max))
        .filter(|kv| range.min_create_revision.is_none_or(|min| kv.create_revision >= min))
        .filter(|kv| range.max_create_revision.is_none_or(|max| kv.create_revision <= max))
        .cloned()
        .collect();
    if let Some(Sort { target, descending }) = range.sort {
        match target {
            SortTarget::Key => {}
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
        }
        if descending {
            kvs.reverse();
        }
    }
    let more = range.limit > 0 && kvs.len() > range.limit;
    if more {
        kvs.truncate(range.limit);
        let filters = [range.min_mod_revision, range.max_mod_revision];
        let of_creation = [range.min_create_revision, range.max_create_revision];
        let in_order = range.sort.is_none_or(|sort| sort.target == SortTarget::Key && !sort.descending);
        if range.uncounted && in_order && filters == [None; 2] && of_creation == [None; 2] {
            count = range.limit as u64 + 1;
        }
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResult { kvs, more, count, ..RangeResult::default() }
}

#[derive(Clone, Debug)]
enum Step {
    /// In one entry.
    Txns(Vec<Txn>),
    Read(Range),
    Grant(i64),
    Revoke(i64),
    /// So many revisions before the newest; below zero: in the future.
    Compact(i64),
    Clean,
    Restart,
}

/// Keys that touch each other in every way that an encoding can get wrong.
fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&[u8]; 8] = [b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"\0", b"\xff", b"\xff\xff"];
    (0..keys.len()).prop_map(move |at| Bytes::from_static(keys[at]))
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        4 => key().prop_map(Span::key),
        2 => (key(), key()).prop_map(|(start, end)| Span { start, end: End::Before(end) }),
        2 => key().prop_map(Span::prefix),
        1 => key().prop_map(|start| Span { start, end: End::Unbounded }),
        1 => Just(Span::all()),
    ]
}

fn revision() -> impl Strategy<Value = Revision> {
    (1..25i64).prop_map(Revision::new)
}

fn sort() -> impl Strategy<Value = Sort> {
    let targets =
        [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
    (0..targets.len(), any::<bool>())
        .prop_map(move |(at, descending)| Sort { target: targets[at], descending })
}

fn range() -> impl Strategy<Value = Range> {
    use proptest::option::weighted;
    let shape = (span(), weighted(0.3, revision()), 0..4usize, weighted(0.3, sort()));
    let flags = [0.2, 0.1, 0.2].map(proptest::bool::weighted);
    let filter = || weighted(0.1, revision());
    (shape, flags, (filter(), filter(), filter(), filter())).prop_map(|(shape, flags, filters)| Range {
        revision: shape.1,
        limit: shape.2,
        sort: shape.3,
        keys_only: flags[0],
        count_only: flags[1],
        uncounted: flags[2],
        min_mod_revision: filters.0,
        max_mod_revision: filters.1,
        min_create_revision: filters.2,
        max_create_revision: filters.3,
        ..Range::of(shape.0)
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation = prop_oneof![
        Just(Relation::Equal),
        Just(Relation::NotEqual),
        Just(Relation::Greater),
        Just(Relation::Less)
    ];
    let target = prop_oneof![
        (0..4i64).prop_map(Target::Version),
        (0..20i64).prop_map(|n| Target::Create(Revision::new(n))),
        (0..20i64).prop_map(|n| Target::Mod(Revision::new(n))),
        value().prop_map(Target::Value),
        (0..3i64).prop_map(|n| Target::Lease(LeaseId::new(n))),
    ];
    (span(), target, relation).prop_map(|(span, target, relation)| Compare { span, target, relation })
}

/// Small ones, and one that the record of the revision does not repeat.
fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => (0..5u8).prop_map(|n| Bytes::from(vec![b'v', n])),
        1 => Just(Bytes::from(vec![7; 1500])),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let flags = (any::<bool>(), proptest::bool::weighted(0.15), proptest::bool::weighted(0.15));
    (key(), value(), 0..3i64, flags).prop_map(|(key, value, lease, (prev_kv, keep_value, keep_lease))| Put {
        key,
        value: if keep_value { Bytes::new() } else { value },
        lease: if keep_lease { LeaseId::NONE } else { LeaseId::new(lease) },
        prev_kv,
        ignore_value: keep_value,
        ignore_lease: keep_lease,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => put().prop_map(Op::Put),
        2 => (span(), any::<bool>()).prop_map(|(span, prev_kv)| Op::Delete(Delete { span, prev_kv })),
        3 => range().prop_map(Op::Range),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let branch = |op: BoxedStrategy<Op>| proptest::collection::vec(op, 0..4);
    let of = move |op: BoxedStrategy<Op>| {
        (proptest::collection::vec(compare(), 0..3), branch(op.clone()), branch(op))
            .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
    };
    let inner = of(op().boxed());
    of(prop_oneof![5 => op(), 1 => inner.prop_map(Op::Txn)].boxed())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => txn().prop_map(|txn| Step::Txns(vec![txn])),
        4 => proptest::collection::vec(txn(), 2..5).prop_map(Step::Txns),
        6 => op().prop_map(|op| Step::Txns(vec![Txn::of(op)])),
        4 => range().prop_map(Step::Read),
        2 => (1..3i64).prop_map(Step::Grant),
        1 => (1..3i64).prop_map(Step::Revoke),
        1 => (-2..8i64).prop_map(Step::Compact),
        1 => Just(Step::Clean),
        1 => Just(Step::Restart),
    ]
}

/// Both, side by side.
struct Pair {
    bench: Bench,
    model: Model,
}

impl Pair {
    fn take(&mut self, step: &Step, time_ms: i64) {
        self.bench.time_ms = time_ms;
        match step {
            Step::Txns(txns) => {
                // What no state could make valid never reaches the machine.
                let valid = |txn: &&Txn| validate::check(txn, &Limits::default()).is_ok();
                let txns: Vec<Txn> = txns.iter().filter(valid).cloned().collect();
                let actions = txns.iter().cloned().map(Action::Txn).collect();
                for (txn, applied) in txns.iter().zip(self.bench.apply_together(actions)) {
                    let (result, events) = self.model.txn(txn, time_ms);
                    assert_eq!(applied.outcome, result.map(Reply::Txn));
                    self.same_events(applied.events, &events);
                }
            }
            Step::Read(range) => {
                let at = self.bench.machine.horizon().resolve(range.revision);
                assert_eq!(at.clone().map(Revision::get), self.model.readable(range.revision));
                let Ok(at) = at else { return };
                let found = read(&self.bench.tables, |view| keyspace::range(view, range, at));
                assert_eq!(found.expect("sound rows"), pick(&self.model.states[&at.get()], range));
            }
            Step::Grant(id) => {
                let lease = Lease { id: LeaseId::new(*id), ttl_seconds: 9 };
                let granted = self.bench.apply(Action::LeaseGrant(lease)).outcome;
                let new = self.model.leases.insert(*id, 9).is_none();
                assert_eq!(granted, if new { Ok(Reply::Lease(lease)) } else { Err(StoreError::LeaseExists) });
            }
            Step::Revoke(id) => {
                let applied = self.bench.apply(Action::LeaseRevoke(LeaseId::new(*id)));
                let revoked = self.model.revoke(*id, time_ms);
                let newest = Revision::new(self.model.newest());
                assert_eq!(applied.outcome, revoked.clone().map(|_| Reply::Revoked(newest)));
                self.same_events(applied.events, &revoked.unwrap_or_default());
            }
            Step::Compact(back) => {
                let at = self.model.newest() - back;
                let outcome = self.bench.apply(Action::Compact(Revision::new(at))).outcome;
                assert_eq!(outcome, self.model.compact(at).map(|()| Reply::Compacted));
            }
            Step::Clean => self.bench.clean(),
            Step::Restart => {
                let before = (self.bench.machine.horizon(), self.bench.machine.hash());
                self.bench.machine = load(&self.bench.tables);
                assert_eq!((self.bench.machine.horizon(), self.bench.machine.hash()), before);
            }
        }
    }

    fn same_events(&self, got: Option<(Revision, Vec<Arc<Event>>)>, expected: &[Event]) {
        let (revision, events) = got.map_or((None, Vec::new()), |(at, events)| (Some(at.get()), events));
        let events: Vec<Event> = events.iter().map(|event| Event::clone(event)).collect();
        assert_eq!(events, expected);
        assert_eq!(revision, (!expected.is_empty()).then(|| self.model.newest()));
    }

    /// Everything that can still be asked about the past.
    fn agree(&self) {
        let horizon = self.bench.machine.horizon();
        assert_eq!(
            (horizon.newest.get(), horizon.compacted.get()),
            (self.model.newest(), self.model.compacted)
        );
        for (revision, state) in self.model.states.range(self.model.compacted..) {
            let all = Range::of(Span::all());
            let found =
                read(&self.bench.tables, |view| keyspace::range(view, &all, Revision::new(*revision)));
            assert_eq!(found.expect("sound rows"), pick(state, &all), "at revision {revision}");
        }
        for id in self.model.leases.keys() {
            let keys = read(&self.bench.tables, |view| lease::keys(view, LeaseId::new(*id)));
            let attached = self.model.now().values().filter(|kv| kv.lease.get() == *id);
            assert_eq!(keys.expect("sound rows"), attached.map(|kv| kv.key.clone()).collect::<Vec<_>>());
        }
        for time_ms in 0..45 {
            let at = read(&self.bench.tables, |view| history::at_time(view, horizon, time_ms));
            assert_eq!(at.expect("sound rows").map(Revision::get), self.model.at_time(time_ms));
        }
        self.agree_on_events(horizon);
    }

    fn agree_on_events(&self, horizon: Horizon) {
        let from = Revision::new(self.model.compacted.max(1));
        let past = read(&self.bench.tables, |view| {
            let wanted = Wanted { key: &|_| true, prev: true, from, to: horizon.newest };
            catch_up::read(view, &wanted, Budget { rows: usize::MAX, bytes: usize::MAX })
        });
        let mut seen = BTreeMap::new();
        for (revision, events) in past.expect("sound rows").revisions {
            let events: Vec<Event> = events.iter().map(|event| Event::clone(event)).collect();
            seen.insert(revision.get(), events);
        }
        for (revision, events) in self.model.events.range(from.get()..) {
            let mut expected = events.clone();
            let mut got = seen.remove(revision).unwrap_or_default();
            if *revision <= self.model.compacted {
                // What was before is forgotten; whether it is gone yet is the cleaner's business.
                expected.iter_mut().chain(&mut got).for_each(|event| event.prev = None);
            }
            assert_eq!(got, expected, "events of revision {revision}");
        }
        assert!(seen.is_empty(), "events of no revision: {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_machine_agrees_with_the_naive_store(
        steps in proptest::collection::vec((step(), 0..40i64), 1..60)
    ) {
        let mut pair = Pair { bench: Bench::new(), model: Model::new() };
        for (at, (step, time_ms)) in steps.iter().enumerate() {
            pair.take(step, *time_ms);
            if at % 8 == 0 {
                pair.agree();
            }
        }
        pair.bench.clean();
        pair.agree();
    }
}
