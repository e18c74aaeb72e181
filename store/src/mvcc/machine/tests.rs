//! Scripts against the state machine, and a model that remembers every revision.

use std::collections::BTreeMap;
use std::fmt::Write;

use expect_test::{Expect, expect};

use super::*;
use crate::disk::memory::MemoryTables;
use crate::disk::{StateDisk, codec, read};
use crate::mvcc::auth::change::AuthChange;
use crate::mvcc::catch_up::{Budget, Wanted};
use crate::mvcc::request::{Compare, Delete, EventKind, Op, OpResult, Put, Range};
use crate::mvcc::span::Span;
use crate::mvcc::tables::Changes;
use crate::mvcc::{catch_up, compaction, keyspace};

/// A state machine on rows in memory, fed by hand.
pub(super) struct Bench {
    pub(super) tables: MemoryTables,
    pub(super) machine: Machine,
    /// The leader's wall time.
    pub(super) time_ms: i64,
    index: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        let tables = MemoryTables::default();
        let machine = load(&tables);
        Self { tables, machine, time_ms: 0, index: 0 }
    }

    pub(super) fn apply(&mut self, action: Action) -> Applied {
        self.index += 1;
        let request = RequestId::of_node(1, self.index);
        self.apply_entry(Command { request, by: By::Process, fence: None, action })
    }

    pub(super) fn apply_next(&mut self, command: Command) -> Applied {
        self.index += 1;
        self.apply_entry(command)
    }

    /// Several commands that share an entry.
    pub(super) fn apply_together(&mut self, actions: Vec<Action>) -> Vec<Applied> {
        self.index += 1;
        let command = |(place, action)| {
            let request = RequestId::of_node(2 + place as u64, self.index);
            Command { request, by: By::Process, fence: None, action }
        };
        let commands = actions.into_iter().enumerate().map(command).collect();
        self.apply_all(commands)
    }

    fn apply_entry(&mut self, command: Command) -> Applied {
        self.apply_all(vec![command]).remove(0)
    }

    fn apply_all(&mut self, commands: Vec<Command>) -> Vec<Applied> {
        let entry = Stamped { index: self.index, time_ms: self.time_ms, witness: None, commands };
        let (applied, changes) = read(&self.tables, |view| {
            let mut rows = Overlay::new(view);
            let applied = self.machine.apply(&mut rows, &entry).expect("sound rows");
            (applied.done, rows.into_changes())
        });
        self.tables.write(&changes).expect("memory takes it");
        applied
    }

    fn txn(&mut self, txn: Txn) -> Result<TxnResult, StoreError> {
        match self.apply(Action::Txn(txn)).outcome? {
            Reply::Txn(result) => Ok(result),
            other => panic!("a transaction answered {other:?}"),
        }
    }

    fn list(&self, at: Option<i64>) -> Result<BTreeMap<String, String>, StoreError> {
        let at = self.machine.horizon().resolve(at.map(Revision::new))?;
        let found = read(&self.tables, |view| keyspace::range(view, &Range::of(Span::all()), at));
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(found.expect("sound rows").kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect())
    }

    pub(super) fn clean(&self) {
        self.clean_steps(usize::MAX);
    }

    /// As far as so many steps go, from the start.
    pub(super) fn clean_steps(&self, steps_max: usize) {
        let compacted = self.machine.horizon().compacted;
        let mut from = Revision::new(0);
        let mut steps = 0;
        while from < compacted && steps < steps_max {
            steps += 1;
            let step =
                read(&self.tables, |view| compaction::step(view, from, compacted, 2)).expect("sound rows");
            self.tables.write(&step.changes).expect("memory takes it");
            from = step.clean_below;
        }
    }

    fn history(&self, from: i64) -> Vec<String> {
        let newest = self.machine.horizon().newest;
        let mut next = Revision::new(from);
        let mut lines = Vec::new();
        while next <= newest {
            let wanted = Wanted { key: &|_| true, prev: true, from: next, to: newest };
            let budget = Budget { rows: 1, bytes: usize::MAX };
            let past = read(&self.tables, |view| catch_up::read(view, &wanted, budget)).expect("sound rows");
            for (revision, events) in &past.revisions {
                let events: Vec<String> = events.iter().map(|event| show(event)).collect();
                lines.push(format!("{revision}: {}", events.join(", ")));
            }
            next = past.next;
        }
        lines
    }
}

pub(super) fn load(tables: &MemoryTables) -> Machine {
    let codec =
        OutcomeCodec { encode: |outcome| codec::encode(outcome), decode: |bytes| codec::decode(bytes).ok() };
    read(tables, |view| Machine::load(view, codec)).expect("sound rows")
}

fn show(event: &Event) -> String {
    let key = String::from_utf8_lossy(&event.kv.key);
    let prev = event.prev.as_ref().map(|prev| format!(" was {}", String::from_utf8_lossy(&prev.value)));
    let prev = prev.unwrap_or_default();
    match event.kind {
        EventKind::Put => format!("{key}={}{prev}", String::from_utf8_lossy(&event.kv.value)),
        EventKind::Delete => format!("-{key}{prev}"),
    }
}

fn span(text: &str) -> Span {
    match text.split_once("..") {
        None => Span::key(text.to_owned()),
        Some(("", "")) => Span::all(),
        Some((start, end)) => Span::range(start.to_owned(), end.to_owned()),
    }
}

fn op(words: &[&str]) -> Op {
    match words {
        ["put", key, value] => Op::Put(Put::of((*key).to_owned(), (*value).to_owned())),
        ["put", key, value, lease] => {
            let lease = LeaseId::new(lease.parse().expect("a lease id"));
            Op::Put(Put { lease, ..Put::of((*key).to_owned(), (*value).to_owned()) })
        }
        ["del", keys] => Op::Delete(Delete::of(span(keys))),
        ["get", keys] => Op::Range(Range::of(span(keys))),
        other => panic!("no such operation: {other:?}"),
    }
}

pub(super) fn ops(text: &str) -> Vec<Op> {
    text.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| op(&text.split(' ').collect::<Vec<_>>()))
        .collect()
}

/// One line of a script: what it answers.
pub(super) fn run(bench: &mut Bench, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |text: &str| text.parse::<i64>().expect("a number");
    match words[..] {
        ["if", key, "at", revision, ..] => {
            let (_, branches) = line.split_once(" then ").expect("then");
            let (then, otherwise) = branches.split_once(" else ").unwrap_or((branches, ""));
            let compare = Compare::mod_revision(key.to_owned(), Revision::new(number(revision)));
            let txn = Txn { compares: vec![compare], success: ops(then), failure: ops(otherwise) };
            show_result(bench.txn(txn))
        }
        ["compact", at] => show_outcome(bench.apply(Action::Compact(Revision::new(number(at)))).outcome),
        ["grant", id, ttl] => {
            let lease = Lease { id: LeaseId::new(number(id)), ttl_seconds: number(ttl) };
            show_outcome(bench.apply(Action::LeaseGrant(lease)).outcome)
        }
        ["revoke", id] => show_outcome(bench.apply(Action::LeaseRevoke(LeaseId::new(number(id)))).outcome),
        ["clean"] => {
            bench.clean();
            let rows: usize = read(&bench.tables, |view| {
                let mut cursor = view.cursor(Table::Ver, &[], None).expect("sound rows");
                let mut rows = 0;
                while cursor.key().is_some() {
                    rows += 1;
                    cursor.advance().expect("sound rows");
                }
                rows
            });
            format!("{rows} versions left")
        }
        ["history", from] => bench.history(number(from)).join("; "),
        ["list", at] => match bench.list(Some(number(at))) {
            Ok(all) => format!("{all:?}"),
            Err(error) => error.to_string(),
        },
        _ => show_result(bench.txn(Txn { success: ops(line), ..Txn::default() })),
    }
}

fn show_outcome(outcome: Outcome) -> String {
    match outcome {
        Ok(Reply::Txn(result)) => show_result(Ok(result)),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

fn show_result(result: Result<TxnResult, StoreError>) -> String {
    let result = match result {
        Ok(result) => result,
        Err(error) => return error.to_string(),
    };
    let mut text = format!("rev {}{}", result.revision, if result.succeeded { "" } else { " else" });
    for response in &result.responses {
        let _ = match response {
            OpResult::Put { .. } => write!(text, " put"),
            OpResult::Delete { deleted, .. } => write!(text, " deleted {deleted}"),
            OpResult::Txn(_) => write!(text, " txn"),
            OpResult::Range(found) => {
                let show = |kv: &crate::mvcc::request::KeyValue| {
                    let key = String::from_utf8_lossy(&kv.key);
                    let value = String::from_utf8_lossy(&kv.value);
                    format!("{key}={value}(c{} m{} v{})", kv.create_revision, kv.mod_revision, kv.version)
                };
                write!(text, " [{}]", found.kvs.iter().map(show).collect::<Vec<_>>().join(" "))
            }
        };
    }
    text
}

fn check(script: &str, expected: Expect) {
    let mut bench = Bench::new();
    let mut out = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let answer = run(&mut bench, line);
        writeln!(out, "{line} -> {answer}").expect("a string takes it");
    }
    expected.assert_eq(&out);
    // Whatever happened, a restart finds the same.
    let again = load(&bench.tables);
    assert_eq!(again.head, bench.machine.head);
}

#[test]
fn revisions_and_versions_count_as_in_etcd() {
    check(
        "get a
         put a 1
         put a 2, put b 1
         get ..
         del a
         del nothing
         put a 3
         get ..
         del ..
         list 3",
        expect![[r#"
            get a -> rev 1 []
            put a 1 -> rev 2 put
            put a 2, put b 1 -> rev 3 put put
            get .. -> rev 3 [a=2(c2 m3 v2) b=1(c3 m3 v1)]
            del a -> rev 4 deleted 1
            del nothing -> rev 4 deleted 0
            put a 3 -> rev 5 put
            get .. -> rev 5 [a=3(c5 m5 v1) b=1(c3 m3 v1)]
            del .. -> rev 6 deleted 2
            list 3 -> {"a": "2", "b": "1"}
        "#]],
    );
}

#[test]
fn compares_choose_the_branch_and_later_operations_see_earlier_ones() {
    check(
        "if a at 0 then put a 1 else get a
         if a at 0 then put a 2 else get a
         if a at 2 then get a, put a 2, get a
         if a at 2 then put a 9
         put b 1, del b
         del a, get ..
         history 4",
        expect![[r#"
            if a at 0 then put a 1 else get a -> rev 2 put
            if a at 0 then put a 2 else get a -> rev 2 else [a=1(c2 m2 v1)]
            if a at 2 then get a, put a 2, get a -> rev 3 [a=1(c2 m2 v1)] put [a=2(c2 m3 v2)]
            if a at 2 then put a 9 -> rev 3 else
            put b 1, del b -> rev 4 put deleted 1
            del a, get .. -> rev 5 deleted 1 []
            history 4 -> 4: b=1, -b was 1; 5: -a was 2
        "#]],
    );
}

#[test]
fn a_revoked_lease_takes_its_keys_in_one_revision() {
    check(
        "put a 1 7
         grant 7 10
         grant 7 10
         put a 1 7, put b 1 7, put c 1 7
         put b 2
         revoke 7
         get ..
         revoke 7
         history 2",
        expect![[r#"
            put a 1 7 -> the lease does not exist
            grant 7 10 -> Lease(Lease { id: LeaseId(7), ttl_seconds: 10 })
            grant 7 10 -> the lease exists already
            put a 1 7, put b 1 7, put c 1 7 -> rev 2 put put put
            put b 2 -> rev 3 put
            revoke 7 -> Revoked(Revision(4))
            get .. -> rev 4 [b=2(c2 m3 v2)]
            revoke 7 -> the lease does not exist
            history 2 -> 2: a=1, b=1, c=1; 3: b=2 was 1; 4: -a was 1, -c was 1
        "#]],
    );
}

#[test]
fn compaction_forgets_what_no_read_can_see() {
    check(
        "put a 1
         put a 2
         put b 1
         del b
         put a 3
         compact 9
         compact 5
         compact 5
         list 4
         list 5
         clean
         list 5
         history 5
         compact 6
         clean
         history 6",
        expect![[r#"
            put a 1 -> rev 2 put
            put a 2 -> rev 3 put
            put b 1 -> rev 4 put
            del b -> rev 5 deleted 1
            put a 3 -> rev 6 put
            compact 9 -> revision 9 is in the future; the newest is 6
            compact 5 -> Compacted
            compact 5 -> revision 5 has been compacted; the oldest readable revision is 5
            list 4 -> revision 4 has been compacted; the oldest readable revision is 5
            list 5 -> {"a": "2"}
            clean -> 3 versions left
            list 5 -> {"a": "2"}
            history 5 -> 5: -b; 6: a=3 was 2
            compact 6 -> Compacted
            clean -> 1 versions left
            history 6 -> 6: a=3
        "#]],
    );
}

#[test]
fn a_write_that_is_proposed_twice_is_applied_once() {
    let mut bench = Bench::new();
    let request = RequestId::of_node(9, 1);
    let command = Command {
        request,
        by: By::Process,
        fence: None,
        action: Action::Txn(Txn { success: ops("put a 1, get a"), ..Txn::default() }),
    };
    let first = bench.apply_entry(command.clone());
    bench.index += 1;
    let second = bench.apply_entry(command);
    assert_eq!(first.outcome, second.outcome);
    assert!(first.events.is_some() && second.events.is_none());
    assert_eq!(bench.machine.horizon().newest, Revision::new(2));
}

#[test]
fn what_is_asked_again_after_auth_was_turned_on_or_off_is_not_done_again() {
    let mut bench = Bench::new();
    let put = || Action::Txn(Txn::of(op(&["put", "a", "1"])));
    let ask = |bench: &mut Bench, name: &str, by: By| {
        let request = RequestId::of_client(name.as_bytes(), b"put");
        bench.apply_next(Command { request, by, fence: None, action: put() })
    };
    let user = |name: &str| By::User { name: name.to_owned(), revision: 1 };
    // While auth is off nobody says who he is.
    let named = ask(&mut bench, "one", user("alice"));
    let nameless = ask(&mut bench, "one", By::Anonymous);
    assert_eq!(named.outcome, nameless.outcome);
    assert!(named.events.is_some() && nameless.events.is_none());
    let nameless = ask(&mut bench, "two", By::Anonymous);
    let named = ask(&mut bench, "two", user("alice"));
    assert_eq!(named.outcome, nameless.outcome);
    assert!(named.events.is_none());
    assert_eq!(bench.machine.horizon().newest, Revision::new(3));
    let other = ask(&mut bench, "one", user("bob"));
    assert!(matches!(other.outcome, Err(StoreError::Auth(_))) && other.events.is_none(), "not his");
}

#[test]
fn a_client_that_asks_again_gets_the_same_answer_even_a_refusal() {
    let mut bench = Bench::new();
    let request = RequestId::of_client(b"name", b"put");
    let guarded =
        Txn { compares: vec![Compare::absent("a")], success: ops("put a 1"), failure: ops("get a") };
    bench.txn(Txn::of(op(&["put", "a", "0"]))).expect("a put");
    bench.index += 1;
    let command = Command { request, by: By::Process, fence: None, action: Action::Txn(guarded) };
    let first = bench.apply_entry(command.clone());
    bench.txn(Txn::of(op(&["del", "a"]))).expect("a deletion");
    bench.index += 1;
    // What it compares holds now; the answer was given before.
    let second = bench.apply_entry(command);
    assert_eq!(first.outcome, second.outcome);
    assert_eq!(bench.list(None), Ok(BTreeMap::new()));
}

#[test]
fn a_fence_lets_only_the_present_holder_write() {
    let mut bench = Bench::new();
    let write = |bench: &mut Bench, epoch: i64| {
        bench.index += 1;
        let fence = Some(Fence { key: "leader".into(), epoch: Revision::new(epoch) });
        let action = Action::Txn(Txn::of(op(&["put", "x", "1"])));
        let request = RequestId::of_node(2, bench.index);
        show_outcome(bench.apply_entry(Command { request, by: By::Process, fence, action }).outcome)
    };
    expect![[r#"lease key "leader" is held by nobody, not by the sender (epoch 2)"#]]
        .assert_eq(&write(&mut bench, 2));
    assert_eq!(run(&mut bench, "put leader one"), "rev 2 put");
    assert_eq!(write(&mut bench, 2), "rev 3 put");
    // Renewing the key keeps the epoch.
    assert_eq!(run(&mut bench, "put leader one"), "rev 4 put");
    assert_eq!(write(&mut bench, 2), "rev 5 put");
    run(&mut bench, "del leader");
    run(&mut bench, "put leader two");
    expect![[r#"lease key "leader" is held by "two" (epoch 7), not by the sender (epoch 2)"#]]
        .assert_eq(&write(&mut bench, 2));
    assert_eq!(write(&mut bench, 7), "rev 8 put");
}

#[test]
fn a_replica_that_differs_from_the_leader_says_so() {
    let mut bench = Bench::new();
    bench.txn(Txn::of(op(&["put", "a", "1"]))).expect("a put");
    let command = Command {
        request: RequestId::default(),
        by: By::Process,
        fence: None,
        action: Action::Txn(Txn::default()),
    };
    let witness = |hash| Stamped {
        index: 2,
        time_ms: 0,
        witness: Some((Revision::new(2), hash)),
        commands: vec![command.clone()],
    };
    let hash = bench.machine.hash();
    read(&bench.tables, |view| {
        let mut rows = Overlay::new(view);
        let mut difference =
            |hash| bench.machine.apply(&mut rows, &witness(hash)).expect("sound rows").difference;
        assert_eq!(difference(hash), None);
        let other = difference(hash ^ 1).expect("another hash");
        assert_eq!((other.revision, other.ours), (Revision::new(2), hash));
    });
}

/// What makes no revision is in the hash of the next one: leases and users.
#[test]
fn replicas_that_differ_in_leases_or_users_have_other_hashes_after_the_next_write() {
    let role = |name: &str| Action::Auth(AuthChange::RoleAdd { name: name.to_owned() });
    let grant = |ttl_seconds| Action::LeaseGrant(Lease { id: LeaseId::new(7), ttl_seconds });
    let after = |quiet: &[Action], restarts: bool| {
        let mut bench = Bench::new();
        run(&mut bench, "put a 1");
        let before = bench.machine.hash();
        for action in quiet {
            assert!(bench.apply(action.clone()).outcome.is_ok());
            if restarts {
                bench.machine = load(&bench.tables);
            }
        }
        assert_eq!(bench.machine.hash(), before, "it is still the same revision");
        run(&mut bench, "put a 2");
        bench.machine.hash()
    };
    let histories = [
        vec![],
        vec![grant(60)],
        vec![grant(61)],
        vec![grant(60), Action::LeaseRevoke(LeaseId::new(7))],
        vec![role("one")],
        vec![role("other")],
        vec![role("one"), grant(60)],
    ];
    let mut hashes = Vec::new();
    for quiet in &histories {
        assert_eq!(after(quiet, false), after(quiet, true), "a restart forgets nothing: {quiet:?}");
        hashes.push(after(quiet, false));
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), histories.len(), "each history has a hash of its own");
    // A user that one replica lost behind everybody's back is noticed with the next change of the users.
    let mut bench = [Bench::new(), Bench::new()];
    for bench in &mut bench {
        assert!(bench.apply(role("one")).outcome.is_ok());
        run(bench, "put a 1");
    }
    assert_eq!(bench[0].machine.hash(), bench[1].machine.hash());
    let mut lost = Changes::default();
    lost.delete(Table::Meta, Bytes::from_static(b"auth/role/one"));
    bench[1].tables.write(&lost).expect("memory takes it");
    for bench in &mut bench {
        assert!(bench.apply(role("other")).outcome.is_ok());
        run(bench, "put a 2");
    }
    assert_ne!(bench[0].machine.hash(), bench[1].machine.hash());
}
