//! Writes: kept, once, and none that was refused.

use super::*;
use crate::history::{Answer, Change, Event, Kv};

fn lease_script() -> Script {
    let mut script = good();
    script.run(1, Op::Grant { id: 7, ttl_s: 5 });
    script.run(1, crate::history::script::put_leased("l", "held", 7));
    script
}

fn ends_of(mut script: Script) -> Vec<String> {
    script.logs();
    broken(&script.history())
}

/// A revision out of nowhere.
fn append(script: &mut Script, change: impl Fn(u64) -> Change) {
    let revision = script.store.log.last().map_or(2, |(revision, _)| revision + 1);
    script.store.log.push((revision, vec![change(revision)]));
}

fn kv(key: &str, value: &str, revision: u64) -> Kv {
    let (key, value) = (key.to_owned(), value.to_owned());
    Kv { key, value, created: revision, modified: revision, version: 1, lease: 0 }
}

#[test]
fn an_answered_write_is_kept() {
    let lost_last = judge(|script| {
        script.run(1, put("d", "lost"));
        script.store.log.pop();
    });
    assert_eq!(lost_last, ["write-kept", "strict-serializability"]);
    let lost_deletion = judge(|script| {
        script.run(1, delete("a"));
        script.store.log.pop();
    });
    assert!(lost_deletion.contains(&"write-kept".to_owned()));
    let replaced = judge(|script| {
        script.run(1, put("d", "mine"));
        let last = script.store.log.last_mut().unwrap();
        last.1 = vec![Change::Put { kv: kv("d", "other", last.0) }];
    });
    assert_eq!(replaced, ["response-exact"], "another write stands where it was answered");
    let lost_transaction = judge(|script| {
        script.run(1, txn(vec![], vec![put("x", "1"), put("y", "1")], vec![]));
        script.store.log.pop();
    });
    assert!(lost_transaction.contains(&"write-kept".to_owned()));
}

#[test]
fn a_write_happens_once() {
    let twice = judge(|script| {
        script.run(1, put("d", "again"));
        append(script, |revision| {
            let mut kv = kv("d", "again", revision);
            (kv.created, kv.version) = (revision - 1, 2);
            Change::Put { kv }
        });
    });
    assert_eq!(twice, ["exactly-once"]);
    let unknown_twice = judge(|script| {
        script.call(1, put("d", "again"));
        script.apply(1);
        script.unknown(1);
        append(script, |revision| {
            let mut kv = kv("d", "again", revision);
            (kv.created, kv.version) = (revision - 1, 2);
            Change::Put { kv }
        });
    });
    assert_eq!(unknown_twice, ["exactly-once"]);
    let nobody = judge(|script| append(script, |revision| Change::Put { kv: kv("d", "ghost", revision) }));
    assert_eq!(nobody, ["exactly-once"]);
    let shared = judge(|script| {
        let first = script.run(1, put("d", "1"));
        let second = script.run(2, put("e", "1"));
        let revision = script.outcome(first).0.revision;
        script.outcome(second).0.revision = revision;
        script.store.log.pop();
    });
    assert!(shared.contains(&"exactly-once".to_owned()));
    let asked_again = judge(|script| {
        script.call_as(1, "r-1", put("d", "1"));
        script.answer(1);
        script.call_as(1, "r-1", put("d", "1"));
        let again = script.answer(1);
        assert_eq!(script.outcome(again).0.revision, 8, "the honest store knows no request ids");
    });
    assert_eq!(asked_again, ["exactly-once"]);
}

#[test]
fn asked_again_a_write_says_what_it_said() {
    let answered = |bend: fn(&mut Script, usize)| {
        judge(|script| {
            script.call_as(1, "r-1", put("d", "1"));
            let first = script.answer(1);
            let event = script.line(first).event.clone();
            script.call_as(1, "r-1", put("d", "1"));
            let again = script.event(1, event);
            bend(script, again);
        })
    };
    assert_eq!(answered(|_, _| {}), [""; 0]);
    assert!(
        answered(|script, again| script.outcome(again).0.revision -= 1).contains(&"exactly-once".to_owned())
    );
}

#[test]
fn an_unknown_write_happened_or_not() {
    for applied in [true, false] {
        let judged = judge(|script| {
            script.call(1, put("d", "perhaps"));
            if applied {
                script.apply(1);
            }
            script.unknown(1);
            script.run(2, get("d"));
        });
        assert_eq!(judged, [""; 0]);
    }
}

#[test]
fn unknown_deletions_are_told_apart_by_counting() {
    let deletions = |called: u32, happened: u32| {
        judge(|script| {
            for number in 0..called {
                script.call(10 + number, delete("a"));
            }
            for number in 0..called {
                if number < happened {
                    script.apply(10 + number);
                    script.run(1, put("a", "back"));
                }
                script.unknown(10 + number);
            }
            // One more than was called.
            if happened > called {
                script.store.apply(&delete("a")).unwrap();
            }
        })
    };
    assert_eq!(deletions(3, 2), [""; 0]);
    assert_eq!(deletions(2, 2), [""; 0]);
    assert_eq!(deletions(2, 3), ["exactly-once"]);
}

#[test]
fn a_refused_write_is_not_in_the_log() {
    let refused = |op: Op| {
        judge(|script| {
            script.call(1, op);
            script.apply(1);
            script.refused(1, "Unavailable", "no leader");
        })
    };
    assert_eq!(refused(put("d", "1")), ["refused-absent"]);
    assert_eq!(refused(delete("a")), ["refused-absent"]);
    assert_eq!(refused(txn(vec![], vec![put("d", "1")], vec![])), ["refused-absent"]);
    assert_eq!(refused(get("a")), [""; 0]);
}

#[test]
fn an_unknown_write_happens_after_its_call() {
    let before_call = |op: fn() -> Op| {
        judge(|script| {
            script.store.apply(&op()).unwrap();
            script.run(2, get("a"));
            script.call(1, op());
            script.unknown(1);
        })
    };
    assert_eq!(before_call(|| put("d", "1")), ["unknown-in-time"]);
    assert_eq!(before_call(|| delete("a")), ["unknown-in-time"]);
    assert_eq!(before_call(|| txn(vec![], vec![put("d", "1"), put("e", "1")], vec![])), ["unknown-in-time"]);
}

#[test]
fn the_end_of_a_lease_needs_nobody() {
    let mut script = lease_script();
    script.store.end_lease(7);
    assert_eq!(ends_of(script), [""; 0]);

    let mut half = lease_script();
    half.run(1, crate::history::script::put_leased("m", "held", 7));
    append(&mut half, |modified| Change::Delete { key: "l".to_owned(), modified });
    assert_eq!(ends_of(half), ["exactly-once"], "a lease takes all that it holds");

    let mut other = lease_script();
    append(&mut other, |modified| Change::Delete { key: "a".to_owned(), modified });
    assert_eq!(ends_of(other), ["exactly-once"], "what no lease holds stays");
}

#[test]
fn locks_make_their_revisions_in_steps() {
    let lock = |unlocks: bool| {
        let mut script = good();
        script.run(1, Op::Grant { id: 0x1f, ttl_s: 5 });
        script.call(4, Op::Lock { name: "l".to_owned(), lease: 0x1f });
        let mut made = kv("l/1f", "", 7);
        made.lease = 0x1f;
        script.store.log.push((7, vec![Change::Put { kv: made }]));
        let outcome = crate::history::Outcome::Ok {
            header: crate::history::Header { cluster: 77, member: 1, revision: 7, term: 1 },
            answer: Answer::Lock { key: "l/1f".to_owned() },
        };
        script.event(4, Event::Return { outcome });
        if unlocks {
            script.call(4, Op::Unlock { key: "l/1f".to_owned() });
        }
        script.store.log.push((8, vec![Change::Delete { key: "l/1f".to_owned(), modified: 8 }]));
        script.store.log.push((9, vec![Change::Put { kv: kv("l/1f", "", 9) }]));
        script.store.log.pop();
        ends_of(script)
    };
    assert_eq!(lock(true), [""; 0]);
    assert_eq!(lock(false), [""; 0], "its lease may have ended");
}
