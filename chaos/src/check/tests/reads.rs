//! Reads: exact at their revision, of the past, in real time, of one member alone, and refused for what is not there.

use super::*;
use crate::history::{Answer, Kv, Range, Step};

fn at(key: &str, revision: u64) -> Op {
    Op::Range(Range { key: key.to_owned(), revision, ..Range::default() })
}

fn local(key: &str) -> Op {
    Op::Range(Range { key: key.to_owned(), serializable: true, ..Range::default() })
}

fn first(answer: &mut Answer) -> &mut Kv {
    match answer {
        Answer::Range { kvs, .. } => &mut kvs[0],
        other => panic!("no range: {other:?}"),
    }
}

fn kv(key: &str, value: &str, created: u64, modified: u64, version: u64) -> Kv {
    Kv { key: key.to_owned(), value: value.to_owned(), created, modified, version, lease: 0 }
}

#[test]
fn answers_are_exact_in_every_field() {
    let bent = |op: Op, bend: fn(&mut Answer)| {
        judge(|script| {
            let line = script.run(1, op);
            bend(script.outcome(line).1);
        })
    };
    let exact = ["response-exact"];
    assert_eq!(bent(get("a"), |answer| first(answer).value = "a2".to_owned()), exact);
    assert_eq!(bent(get("a"), |answer| first(answer).created += 1), exact);
    assert_eq!(bent(get("a"), |answer| first(answer).modified -= 1), exact);
    assert_eq!(bent(get("a"), |answer| first(answer).version += 1), exact);
    assert_eq!(bent(get("a"), |answer| first(answer).lease = 1), exact);
    assert_eq!(
        bent(get("a"), |answer| *answer = Answer::Range { kvs: vec![], count: 0, more: false }),
        exact
    );
    let limited = || Op::Range(Range { limit: 1, ..span("a", "z") });
    assert_eq!(bent(limited(), |_| {}), [""; 0]);
    assert_eq!(
        bent(limited(), |answer| if let Answer::Range { more, .. } = answer {
            *more = false
        }),
        exact
    );
    assert_eq!(
        bent(limited(), |answer| if let Answer::Range { count, .. } = answer {
            *count = 1
        }),
        exact
    );
    assert_eq!(
        bent(put("a", "x"), |answer| if let Answer::Put { previous } = answer {
            *previous = Some(kv("a", "a4", 2, 4, 2))
        }),
        exact,
        "not asked for"
    );
    assert_eq!(
        bent(delete("a"), |answer| if let Answer::Delete { deleted, .. } = answer {
            *deleted = 2
        }),
        exact
    );
    let guarded = || txn(vec![equal("a", Target::Version(2))], vec![get("c")], vec![get("a")]);
    assert_eq!(bent(guarded(), |_| {}), [""; 0]);
    assert_eq!(
        bent(guarded(), |answer| if let Answer::Txn { succeeded, .. } = answer {
            *succeeded = false
        }),
        exact
    );
    assert_eq!(
        bent(guarded(), |answer| if let Answer::Txn { answers, .. } = answer {
            answers.clear()
        }),
        exact
    );
    assert_eq!(bent(get("a"), |answer| *answer = Answer::Compact), exact);
}

#[test]
fn a_guarded_write_that_saw_an_old_value_is_caught() {
    // The lost update: both read a4, both say that they replaced it.
    let lost = judge(|script| {
        let guarded =
            |value| txn(vec![equal("a", Target::Modified(4))], vec![put("a", value)], vec![get("a")]);
        script.run(1, guarded("first"));
        let line = script.run(2, guarded("second"));
        let answer = Answer::Txn { succeeded: true, answers: vec![Answer::Put { previous: None }] };
        *script.outcome(line).1 = answer;
        script.store.apply(&put("a", "second")).unwrap();
        script.outcome(line).0.revision += 1;
    });
    assert_eq!(lost, ["response-exact"]);
}

#[test]
fn the_past_does_not_change() {
    let bent = |bend: fn(&mut Script, usize)| {
        judge(|script| {
            let line = script.run(1, at("a", 3));
            bend(script, line);
        })
    };
    let past = ["historical-read"];
    assert_eq!(bent(|_, _| {}), [""; 0]);
    assert_eq!(bent(|script, line| script.kvs(line)[0].value = "a4".to_owned()), past);
    assert_eq!(bent(|script, line| script.kvs(line)[0].version = 2), past);
    assert_eq!(bent(|script, line| script.kvs(line).clear()), past);
    let future = judge(|script| {
        let line = script.run(1, at("a", 6));
        if let crate::history::Event::Invoke(invoke) = &mut script.line(line - 1).event {
            invoke.op = at("a", 9);
        }
    });
    assert_eq!(future, past, "answered of a revision that is not there");
}

#[test]
fn reads_and_writes_respect_real_time() {
    let real_time = ["strict-serializability"];
    let stale = judge(|script| {
        script.call(1, get("d"));
        script.apply(1);
        let stale = script.answer(1);
        let event = script.line(stale).event.clone();
        script.run(2, put("d", "new"));
        script.call(3, get("d"));
        script.event(3, event);
    });
    assert_eq!(stale, real_time, "a stale read");
    let stale_range = judge(|script| {
        let old = script.run(1, Op::Range(span("a", "z")));
        let event = script.line(old).event.clone();
        script.run(2, put("b", "new"));
        script.call(3, Op::Range(span("a", "z")));
        script.event(3, event);
    });
    assert_eq!(stale_range, real_time);
    let early = judge(|script| {
        let read = script.run(2, get("d"));
        script.run(1, put("d", "1"));
        let later = script.run(2, get("d"));
        let answer = script.line(later).event.clone();
        script.line(read).event = answer;
    });
    assert_eq!(early, real_time, "read before it was written");
    let beyond = judge(|script| {
        let line = script.run(1, get("zz"));
        script.outcome(line).0.revision = 99;
    });
    assert_eq!(beyond, real_time, "a revision that nobody has");
    let stale_failure = judge(|script| {
        let guarded = || txn(vec![equal("d", Target::Version(1))], vec![put("d", "x")], vec![get("d")]);
        let old = script.run(1, guarded());
        let event = script.line(old).event.clone();
        script.run(2, put("d", "new"));
        script.call(3, guarded());
        script.event(3, event);
    });
    assert_eq!(stale_failure, real_time, "a guard that failed on an old state");
}

#[test]
fn concurrent_answers_may_come_in_any_order() {
    let judged = judge(|script| {
        script.call(1, put("d", "1"));
        script.call(2, get("d"));
        script.call(3, get("d"));
        script.apply(2);
        script.apply(1);
        script.apply(3);
        script.ok(3);
        script.ok(2);
        script.ok(1);
    });
    assert_eq!(judged, [""; 0]);
}

#[test]
fn a_local_read_is_old_but_real() {
    let stale = judge(|script| {
        let old = script.run(1, local("a"));
        let event = script.line(old).event.clone();
        script.run(2, put("a", "new"));
        script.call(1, local("a"));
        script.event(1, event);
    });
    assert_eq!(stale, [""; 0], "old is allowed");
    let real = |bend: fn(&mut Script, usize)| {
        judge(|script| {
            let line = script.run(1, local("zz"));
            bend(script, line);
        })
    };
    assert_eq!(real(|script, line| script.outcome(line).0.revision = 99), ["serializable-real"]);
    let dirty = judge(|script| {
        let line = script.run(1, local("zz"));
        script.outcome(line).0.revision += 1;
        script.run(2, put("d", "later"));
    });
    assert_eq!(dirty, ["strict-serializability", "serializable-real"], "told before it was asked for");
    assert_eq!(real(|script, line| script.kvs(line).push(kv("zz", "", 5, 5, 1))), ["response-exact"]);
    let torn = judge(|script| {
        let line = script.run(1, Op::Range(Range { serializable: true, ..span("a", "z") }));
        script.outcome(line).0.revision -= 1;
    });
    assert_eq!(torn, ["response-exact", "header-revision"], "of no state that ever was");
}

#[test]
fn a_member_does_not_go_back() {
    let again = |fault: Option<(&str, &str)>, member: &str| {
        judge(|script| {
            let old = script.run(1, local("a"));
            let event = script.line(old).event.clone();
            script.run(2, put("b", "new"));
            script.run(1, local("b"));
            if let Some((kind, target)) = fault {
                script.fault(1, kind, target, Step::Installed { evidence: String::new() });
                script.fault(1, kind, target, Step::Healed { evidence: String::new() });
            }
            script.member = member.to_owned();
            script.call(1, local("a"));
            script.event(1, event);
        })
    };
    let monotonic = ["serializable-monotonic"];
    assert_eq!(again(None, "n1"), monotonic);
    assert_eq!(again(Some(("pause", "n1")), "n1"), monotonic);
    assert_eq!(again(Some(("kill", "n2")), "n1"), monotonic);
    assert_eq!(again(Some(("kill", "n1")), "n1"), [""; 0], "a new life");
    assert_eq!(again(None, "n2"), ["header-identity"], "another member may be behind");
}

#[test]
fn refusals_speak_the_truth() {
    let errors = ["revision-errors"];
    let compacted = |script: &mut Script, op: Op| {
        script.call(1, op);
        script.refused(1, "OutOfRange", "etcdserver: mvcc: required revision has been compacted");
    };
    let future = |script: &mut Script, op: Op| {
        script.call(1, op);
        script.refused(1, "OutOfRange", "etcdserver: mvcc: required revision is a future revision");
    };
    let compact = |script: &mut Script| _ = script.run(2, Op::Compact { revision: 4 });
    assert_eq!(judge(|script| compacted(script, at("a", 3))), errors, "nothing was");
    assert_eq!(
        judge(|script| {
            compact(script);
            compacted(script, at("a", 4))
        }),
        errors,
        "the edge is there"
    );
    assert_eq!(
        judge(|script| {
            compact(script);
            compacted(script, at("a", 3))
        }),
        [""; 0]
    );
    assert_eq!(
        judge(|script| {
            compact(script);
            compacted(script, get("a"))
        }),
        errors,
        "the newest never is"
    );
    assert_eq!(
        judge(|script| {
            compact(script);
            compacted(script, Op::Compact { revision: 5 })
        }),
        errors
    );
    assert_eq!(
        judge(|script| {
            compact(script);
            compacted(script, Op::Compact { revision: 4 })
        }),
        [""; 0]
    );
    assert_eq!(judge(|script| future(script, at("a", 6))), errors, "it was there before");
    assert_eq!(judge(|script| future(script, at("a", 7))), [""; 0]);
    assert_eq!(judge(|script| future(script, Op::Compact { revision: 6 })), errors);
    let still_there = judge(|script| {
        let old = script.run(1, at("a", 3));
        let event = script.line(old).event.clone();
        compact(script);
        script.call(1, at("a", 3));
        script.event(1, event);
    });
    assert_eq!(still_there, errors, "what is compacted is not read");
}
