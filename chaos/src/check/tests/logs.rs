//! What members tell of their logs.

use super::*;
use crate::history::{Change, Kv};
use crate::verdict::Verdict;

fn kv<'s>(script: &'s mut Script, member: &str, revision: u64) -> &'s mut Kv {
    match &mut script.told(member, revision)[0] {
        Change::Put { kv } => kv,
        Change::Delete { .. } => panic!("a deletion"),
    }
}

fn bend_all(script: &mut Script, revision: u64, bend: impl Fn(&mut Kv)) {
    for member in ["n1", "n2", "n3"] {
        bend(kv(script, member, revision));
    }
}

#[test]
fn members_agree() {
    assert_eq!(judge_logs(|script| kv(script, "n2", 3).value = "x".to_owned()), ["log-agreement"]);
    assert_eq!(
        judge_logs(|script| kv(script, "n1", 2).lease = 9),
        ["log-agreement"],
        "the majority is believed"
    );
    assert_eq!(
        judge_logs(|script| {
            let change = script.told("n1", 5)[0].clone();
            script.told("n3", 6).push(change);
        }),
        ["log-agreement"]
    );
}

#[test]
fn logs_are_dense() {
    assert_eq!(judge_logs(|script| script.forget("n2", 4)), ["log-dense"]);
    assert_eq!(judge_logs(|script| script.told("n2", 4).clear()), ["log-agreement", "log-dense"]);
    assert_eq!(
        judge_logs(|script| {
            let changes = script.told("n1", 3).clone();
            let again = crate::history::Event::Revision { member: "n1".to_owned(), revision: 3, changes };
            script.event(0, again);
        }),
        ["log-dense"]
    );
}

#[test]
fn a_hole_in_every_log_is_found_and_nothing_is_guessed() {
    let mut script = good();
    script.logs();
    for member in ["n1", "n2", "n3"] {
        script.forget(member, 4);
    }
    let findings = crate::check::all(&script.history());
    let verdict =
        |property: &str| findings.iter().find(|finding| finding.property == property).unwrap().verdict();
    assert_eq!(verdict("log-dense"), Verdict::Fail);
    assert_eq!(verdict("response-exact"), Verdict::Inconclusive);
    assert_eq!(verdict("exactly-once"), Verdict::Inconclusive);
}

#[test]
fn what_changes_say_of_themselves_follows() {
    assert!(judge_logs(|script| bend_all(script, 4, |kv| kv.version = 7)).contains(&"log-exact".to_owned()));
    assert!(judge_logs(|script| bend_all(script, 4, |kv| kv.created = 4)).contains(&"log-exact".to_owned()));
    assert!(judge_logs(|script| bend_all(script, 6, |kv| kv.modified = 5)).contains(&"log-exact".to_owned()));
    let twice = judge_logs(|script| {
        for member in ["n1", "n2", "n3"] {
            *script.told(member, 6) = vec![Change::Delete { key: "b".to_owned(), modified: 6 }];
        }
    });
    assert!(twice.contains(&"log-exact".to_owned()), "what is gone cannot go again");
}

#[test]
fn a_member_may_lag_behind() {
    assert_eq!(
        judge_logs(|script| {
            script.forget("n3", 6);
            script.forget("n3", 5);
        }),
        [""; 0]
    );
}

#[test]
fn what_is_compacted_is_taken_from_a_watch_of_everything() {
    let tell = |watched: bool| {
        let mut script = Script::begin();
        let watch = watched.then(|| script.watch_with("\0", 2, |open| open.end = Some("\0".to_owned())));
        script.run(1, put("a", "1"));
        script.run(1, put("a", "2"));
        script.run(1, put("a", "3"));
        if let Some(watch) = watch {
            let events = script.events_of("a", 2..=4);
            script.watch_answer(watch, events);
        }
        script.run(1, Op::Compact { revision: 3 });
        script.run(1, get("a"));
        script.logs();
        for member in ["n1", "n2", "n3"] {
            script.forget(member, 2);
            script.forget(member, 3);
        }
        crate::check::all(&script.history())
    };
    let exact =
        |watched| tell(watched).into_iter().find(|finding| finding.property == "response-exact").unwrap();
    assert_eq!(exact(true).verdict(), Verdict::Pass);
    assert_eq!(exact(false).inconclusive.as_deref(), Some("nobody told revisions 2 to 3"));
}

#[test]
fn without_any_log_nothing_is_judged() {
    let findings = crate::check::all(&good().history());
    let judged = findings.iter().filter(|finding| finding.verdict() != Verdict::Inconclusive);
    let names: Vec<&str> = judged.map(|finding| finding.property.as_str()).collect();
    assert_eq!(names, ["header-identity", "header-term", "header-revision", "member-identity"]);
}
