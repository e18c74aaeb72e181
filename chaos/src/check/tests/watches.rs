//! What watches tell.

use super::*;
use crate::history::{Change, Event, Step, WatchAnswer, WatchEvent, WatchOpen};

/// A watch of `a`, `b` and `c` from revision 2, and three answers: 2 and 3, 4, 5 and 6. Their lines, and the watch.
fn watched(script: &mut Script, bend: impl FnOnce(&mut WatchOpen)) -> ([usize; 3], u64) {
    let watch = script.watch_with("a", 2, |open| {
        open.end = Some("z".to_owned());
        bend(open);
    });
    script.watch_created(watch);
    let previous = script.opened(watch).previous;
    let lines = [2..=3, 4..=4, 5..=6].map(|revisions| {
        let events = all(script, revisions, previous);
        script.watch_answer(watch, events)
    });
    (lines, watch)
}

pub(super) fn all(
    script: &Script,
    revisions: std::ops::RangeInclusive<u64>,
    previous: bool,
) -> Vec<WatchEvent> {
    let log = script.store.log.iter().filter(|(revision, _)| revisions.contains(revision));
    let events = log.flat_map(|(revision, changes)| changes.iter().map(move |change| (*revision, change)));
    events
        .map(|(revision, change)| {
            let before = script.store.as_of(revision - 1).get(crate::model::key_of(change)).cloned();
            WatchEvent { change: change.clone(), previous: before.filter(|_| previous) }
        })
        .collect()
}

fn answer(script: &mut Script, line: usize) -> &mut WatchAnswer {
    match &mut script.line(line).event {
        Event::WatchAnswer(answer) => answer,
        other => panic!("no answer of a watch: {other:?}"),
    }
}

fn progress(script: &mut Script, watch: u64, revision: u64) {
    let line = script.watch_answer(watch, Vec::new());
    answer(script, line).header.revision = revision;
}

/// The properties that are broken when the watch's answers are bent so.
fn bent(bend: impl FnOnce(&mut Script, [usize; 3])) -> Vec<String> {
    judge(|script| {
        let (lines, _) = watched(script, |open| open.previous = true);
        bend(script, lines);
    })
}

/// With properties of streams that nobody can miss at the same time.
fn assert_breaks(property: &str, bend: impl FnOnce(&mut Script, [usize; 3])) {
    let broken = bent(bend);
    assert!(broken.iter().any(|broken| broken == property), "{property} is not in {broken:?}");
}

fn only(property: &str, bend: impl FnOnce(&mut Script, [usize; 3])) {
    assert_eq!(bent(bend), [property]);
}

#[test]
fn an_honest_watch_is_good() {
    assert_eq!(bent(|_, _| {}), [""; 0]);
    let from_now = judge(|script| {
        let watch = script.watch("a", 0);
        script.watch_created(watch);
        script.run(1, put("a", "7"));
        let events = script.events_of("a", 7..=7);
        script.watch_answer(watch, events);
    });
    assert_eq!(from_now, [""; 0]);
    let filtered = judge(|script| {
        let ([_, _, last], _) = watched(script, |open| open.no_delete = true);
        answer(script, last).events.remove(0);
    });
    assert_eq!(filtered, [""; 0]);
}

#[test]
fn only_what_was_asked_for_is_told() {
    let filtered = |bend: fn(&mut WatchOpen)| {
        let broken = judge(|script| {
            watched(script, bend);
        });
        assert!(broken.contains(&"watch-filter".to_owned()), "{broken:?}");
    };
    filtered(|open| open.end = Some("b".to_owned()));
    filtered(|open| open.no_put = true);
    filtered(|open| open.no_delete = true);
    filtered(|open| open.key = "b".to_owned());
}

#[test]
fn events_come_in_order() {
    assert_breaks("watch-ordered", |script, [first, second, _]| {
        let (a, b) = (answer(script, first).events.clone(), answer(script, second).events.clone());
        answer(script, first).events = b;
        answer(script, second).events = a;
    });
    assert_breaks("watch-ordered", |script, [first, _, _]| answer(script, first).events.reverse());
    assert_breaks("watch-ordered", |script, [first, _, last]| {
        let again = answer(script, first).events[0].clone();
        answer(script, last).events.push(again);
    });
}

#[test]
fn changes_of_one_revision_come_in_their_order() {
    let broken = judge(|script| {
        script.run(1, txn(vec![], vec![put("x", "1"), put("w", "1")], vec![]));
        let watch = script.watch_with("w", 7, |open| open.end = Some("z".to_owned()));
        let mut events = all(script, 7..=7, false);
        events.reverse();
        script.watch_answer(watch, events);
    });
    assert_eq!(broken, ["watch-reliable"]);
}

#[test]
fn nothing_is_told_twice() {
    assert_breaks("watch-unique", |script, [first, _, _]| {
        let again = answer(script, first).events[0].clone();
        answer(script, first).events.insert(0, again);
    });
    assert_breaks("watch-unique", |script, [_, second, last]| {
        let again = answer(script, second).events[0].clone();
        answer(script, last).events.insert(0, again);
    });
    assert_breaks("watch-unique", |script, [first, _, last]| {
        let again = answer(script, first).events.clone();
        answer(script, last).events.extend(again);
    });
}

#[test]
fn revisions_are_told_whole() {
    let split = |fragment: bool, takes: bool| {
        judge(|script| {
            script.run(1, txn(vec![], vec![put("w", "1"), put("x", "1"), put("y", "1")], vec![]));
            let watch = script.watch_with("w", 7, |open| {
                open.end = Some("z".to_owned());
                open.fragment = takes;
            });
            let mut events = all(script, 7..=7, false);
            let rest = events.split_off(1);
            let line = script.watch_answer(watch, events);
            answer(script, line).fragment = fragment;
            script.watch_answer(watch, rest);
        })
    };
    assert_eq!(split(true, true), [""; 0]);
    assert_eq!(split(false, true), ["watch-atomic"]);
    assert_eq!(split(false, false), ["watch-atomic"]);
    assert_eq!(split(true, false), ["watch-atomic"], "nobody asked for fragments");
}

#[test]
fn a_stream_may_end_within_a_fragment_and_nowhere_else() {
    let cut = |fragment: bool| {
        judge(|script| {
            script.run(1, txn(vec![], vec![put("w", "1"), put("x", "1")], vec![]));
            let watch = script.watch_with("w", 7, |open| {
                open.end = Some("z".to_owned());
                open.fragment = true;
            });
            let mut events = all(script, 7..=7, false);
            events.pop();
            let line = script.watch_answer(watch, events);
            answer(script, line).fragment = fragment;
            script.watch_end(watch);
        })
    };
    assert_eq!(cut(true), [""; 0]);
    assert_eq!(cut(false), ["watch-reliable"]);
}

#[test]
fn nothing_is_left_out_or_told_wrong() {
    let reliable = "watch-reliable";
    only(reliable, |script, [_, second, _]| script.drop_line(second));
    only(reliable, |script, [_, _, last]| _ = answer(script, last).events.remove(0));
    assert_breaks(reliable, |script, [_, second, _]| match &mut answer(script, second).events[0].change {
        Change::Put { kv } => kv.value = "other".to_owned(),
        Change::Delete { .. } => panic!("a deletion"),
    });
    assert_breaks(reliable, |script, [_, second, _]| {
        let change = Change::Delete { key: "b".to_owned(), modified: 4 };
        answer(script, second).events.push(WatchEvent { change, previous: None });
    });
}

#[test]
fn a_watch_begins_where_it_was_asked_to() {
    let resumable = "watch-resumable";
    only(resumable, |script, [first, _, _]| script.drop_line(first));
    only(resumable, |script, [first, _, _]| _ = answer(script, first).events.remove(0));
    let from = |start: u64, told: std::ops::RangeInclusive<u64>| {
        judge(|script| {
            let watch = script.watch_with("a", start, |open| open.end = Some("z".to_owned()));
            script.watch_created(watch);
            let events = all(script, told, false);
            script.watch_answer(watch, events);
        })
    };
    assert_eq!(from(4, 4..=6), [""; 0]);
    assert_eq!(from(4, 3..=6), [resumable], "older than asked for");
    assert_eq!(from(4, 5..=6), [resumable]);
    assert_eq!(from(0, 6..=6), [resumable], "from now on tells nothing old");
}

#[test]
fn a_deletion_at_the_compacted_revision_is_told() {
    // etcd issue 18089: the tombstone is gone.
    let at_edge = |lost: bool| {
        judge(|script| {
            script.run(1, Op::Compact { revision: 5 });
            let watch = script.watch_with("a", 5, |open| open.end = Some("z".to_owned()));
            script.watch_created(watch);
            let events = all(script, if lost { 6..=6 } else { 5..=6 }, false);
            script.watch_answer(watch, events);
        })
    };
    assert_eq!(at_edge(false), [""; 0]);
    assert_eq!(at_edge(true), ["watch-resumable"]);
}

#[test]
fn a_watch_is_canceled_only_for_what_it_needs() {
    let canceled = |start: u64, compacts: Option<u64>, told: u64| {
        judge(|script| {
            if let Some(revision) = compacts {
                script.run(1, Op::Compact { revision });
            }
            let watch = script.watch("a", start);
            let line = script.watch_answer(watch, Vec::new());
            let answer = answer(script, line);
            (answer.canceled, answer.compacted) = (Some(String::new()), told);
        })
    };
    assert_eq!(canceled(3, Some(5), 5), [""; 0]);
    assert_eq!(canceled(5, Some(5), 5), ["watch-resumable"], "the edge can be watched");
    assert_eq!(canceled(3, None, 5), ["watch-resumable"], "nothing was compacted");
    assert_eq!(canceled(3, Some(4), 5), ["watch-resumable"], "not so far");
}

#[test]
fn progress_is_a_promise() {
    let after = |words: fn(&mut Script, u64)| {
        judge(|script| {
            let (_, watch) = watched(script, |_| {});
            words(script, watch);
        })
    };
    assert_eq!(after(|script, watch| progress(script, watch, 6)), [""; 0]);
    let bookmarkable = ["watch-bookmarkable"];
    assert_eq!(after(|script, watch| progress(script, watch, 5)), bookmarkable, "below what was told");
    let back = after(|script, watch| {
        script.run(1, put("zz", "7"));
        script.run(1, put("zz", "8"));
        progress(script, watch, 8);
        progress(script, watch, 7);
    });
    assert_eq!(back, bookmarkable);
    let late = after(|script, watch| {
        script.run(1, put("a", "7"));
        progress(script, watch, 7);
        let events = script.events_of("a", 7..=7);
        script.watch_answer(watch, events);
    });
    assert_eq!(late, ["watch-bookmarkable", "watch-progress-complete"]);
}

#[test]
fn progress_leaves_nothing_out() {
    let skips = |key: &'static str, deletes: bool, told: u64| {
        judge(|script| {
            let (_, watch) = watched(script, |_| {});
            script.run(1, if deletes { delete(key) } else { put(key, "7") });
            script.run(1, put("zz", "8"));
            progress(script, watch, told);
        })
    };
    assert_eq!(skips("zz", false, 8), [""; 0], "another key");
    assert_eq!(skips("a", false, 6), [""; 0]);
    assert_eq!(skips("a", false, 7), ["watch-progress-complete"]);
    assert_eq!(skips("a", false, 8), ["watch-progress-complete"]);
    assert_eq!(skips("a", true, 8), ["watch-progress-complete"]);
}

#[test]
fn what_was_before_comes_along() {
    let previous = "watch-previous";
    only(previous, |script, [_, second, _]| answer(script, second).events[0].previous = None);
    only(previous, |script, [_, second, _]| {
        answer(script, second).events[0].previous.as_mut().unwrap().version = 9;
    });
    only(previous, |script, [first, _, last]| {
        let other = answer(script, last).events[0].previous.clone();
        answer(script, first).events[0].previous = other;
    });
    let unasked = judge(|script| {
        let ([_, second, _], _) = watched(script, |_| {});
        let before = script.store.as_of(3).get("a").cloned();
        answer(script, second).events[0].previous = before;
    });
    assert_eq!(unasked, [previous]);
    let compacted = judge(|script| {
        script.run(1, Op::Compact { revision: 4 });
        let watch = script.watch_with("a", 4, |open| open.previous = true);
        let events = script.events_of("a", 4..=4);
        script.watch_answer(watch, events);
    });
    assert_eq!(compacted, [""; 0], "it is gone");
}

#[test]
fn nothing_is_told_before_it_is() {
    let never = "watch-never-future";
    let early = |op: Op| {
        judge(|script| {
            let watch = script.watch_with("d", 7, |open| open.end = Some("z".to_owned()));
            let mut later = script.clone();
            later.run(1, op.clone());
            let line = script.watch_answer(watch, all(&later, 7..=7, false));
            answer(script, line).header.revision = 7;
            script.run(1, op);
        })
    };
    let broken = ["strict-serializability", never];
    assert_eq!(early(put("d", "1")), broken);
    assert_eq!(early(txn(vec![], vec![put("d", "1")], vec![])), broken);
    let never_committed = judge(|script| {
        let watch = script.watch("d", 7);
        let mut later = script.clone();
        later.run(1, put("d", "1"));
        let line = script.watch_answer(watch, all(&later, 7..=7, false));
        answer(script, line).header.revision = 7;
    });
    assert_eq!(never_committed, ["watch-reliable", never]);
}

#[test]
fn members_tell_the_same() {
    let two = |bend: fn(&mut Script, usize)| {
        let mut script = good();
        watched(&mut script, |_| {});
        script.member = "n2".to_owned();
        let ([_, second, _], _) = watched(&mut script, |open| open.member = "n2".to_owned());
        bend(&mut script, second);
        let answers = script.lines.len();
        for line in second - 2..answers {
            if let Event::WatchAnswer(answer) = &mut script.line(line).event {
                answer.header.member = 2;
            }
        }
        // Also without any log.
        broken(&script.history())
    };
    assert_eq!(two(|_, _| {}), [""; 0]);
    let members = ["watch-members"];
    assert_eq!(two(|script, line| bend_kv(script, line, |kv| kv.value = "x".to_owned())), members);
    assert_eq!(two(|script, line| bend_kv(script, line, |kv| kv.version = 7)), members);
    assert_eq!(
        two(|script, line| {
            answer(script, line).events[0].change = Change::Delete { key: "a".to_owned(), modified: 4 };
        }),
        members
    );
}

fn bend_kv(script: &mut Script, line: usize, bend: fn(&mut crate::history::Kv)) {
    match &mut answer(script, line).events[0].change {
        Change::Put { kv } => bend(kv),
        Change::Delete { .. } => panic!("a deletion"),
    }
}

#[test]
fn at_its_end_a_watch_has_told_everything() {
    let ends = |told: bool, wait_ms: u64, fault: Option<bool>, closes: bool| {
        judge(|script| {
            let (_, watch) = watched(script, |_| {});
            if let Some(is_healed) = fault {
                script.fault(1, "pause", "n1", Step::Installed { evidence: String::new() });
                script.wait_ms(10_000);
                if is_healed {
                    script.fault(1, "pause", "n1", Step::Healed { evidence: String::new() });
                }
            }
            script.run(1, put("a", "7"));
            if told {
                let events = script.events_of("a", 7..=7);
                script.watch_answer(watch, events);
            }
            script.wait_ms(wait_ms);
            script.run(1, get("a"));
            if closes {
                script.watch_end(watch);
            }
        })
    };
    let complete = ["watch-complete"];
    assert_eq!(ends(true, 5_000, None, true), [""; 0]);
    assert_eq!(ends(false, 5_000, None, true), complete);
    assert_eq!(ends(false, 5_000, None, false), complete, "also when it is never closed");
    assert_eq!(ends(false, 5_000, Some(true), true), complete);
    assert_eq!(ends(false, 1_000, None, true), [""; 0], "there was no time");
    assert_eq!(ends(false, 5_000, Some(false), true), [""; 0], "something is broken");
}
