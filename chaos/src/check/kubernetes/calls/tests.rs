//! Calls of an honest API server, bent.

use serde_json::json;

use super::*;
use crate::check::Input;
use crate::history::script::{Script, begin};
use crate::history::{Event, Failure, Fence, History, Line, MARK, Reply, Request};
use crate::verdict::Verdict;

const KEY: &str = "/registry/configmaps/default/a";
const LEASE: &str = "/registry/leases/default/l";

/// A run in the making: calls and their answers, and the log that tells what they did.
#[derive(Clone)]
struct Run {
    lines: Vec<Line>,
    log: super::super::script::Log,
    next_process: u32,
}

fn config(mark: &str, data: Value) -> Value {
    json!({"metadata": {"annotations": {MARK: mark}}, "data": data})
}

fn request(verb: Verb, key: &str, body: Value, expected: u64) -> Request {
    let (member, workload) = ("n1".to_owned(), "objects".to_owned());
    Request { member, workload, verb, key: key.to_owned(), body, expected, fence: None }
}

fn served(object: &Value, at: u64) -> Reply {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = at.to_string().into();
    Reply::Ok { object }
}

fn failed(code: &str) -> Failure {
    Failure { code: code.to_owned(), message: String::new() }
}

impl Run {
    fn new() -> Self {
        let lines = vec![Line { at: 0, process: 0, event: begin() }];
        Self { lines, log: super::super::script::Log::default(), next_process: 1 }
    }

    fn event(&mut self, process: u32, event: Event) {
        self.lines.push(Line { at: self.lines.len() as u64, process, event });
    }

    fn call(&mut self, request: Request, reply: Reply) {
        let process = self.next_process;
        self.next_process += 1;
        self.event(process, Event::Request(request));
        self.event(process, Event::Reply { reply });
    }

    /// A write that happens, and is answered.
    fn write(&mut self, verb: Verb, mark: &str, data: Value, expected: u64) -> u64 {
        let object = config(mark, data);
        let at = self.log.next_revision();
        self.log.put(KEY, &object);
        self.call(request(verb, KEY, object.clone(), expected), served(&object, at));
        at
    }

    /// A write that does not.
    fn refused(&mut self, mark: &str, expected: u64) {
        let asked = request(Verb::Update, KEY, config(mark, json!({})), expected);
        self.call(asked, Reply::Refused(failed("Conflict")));
    }

    fn get(&mut self, reply: Reply) {
        self.call(request(Verb::Get, KEY, Value::Null, 0), reply);
    }

    fn history(&self) -> History {
        History::new(self.lines.clone()).unwrap()
    }

    fn broken(&self) -> Vec<String> {
        let history = self.history();
        let findings = findings(&Input::new(&history), &self.log.entries());
        let failed = findings.iter().filter(|finding| finding.verdict() == Verdict::Fail);
        failed.map(|finding| finding.property.clone()).collect()
    }
}

/// Created at 2, updated at 3, patched at 4, read, lost against, deleted at 5, missed.
fn honest() -> Run {
    let mut run = Run::new();
    run.write(Verb::Create, "m1", json!({"a": "1"}), 0);
    run.write(Verb::Update, "m2", json!({"a": "2"}), 2);
    run.refused("m3", 2);
    let patch = config("m4", json!({"b": "1"}));
    let patched = config("m4", json!({"a": "2", "b": "1"}));
    run.log.put(KEY, &patched);
    run.call(request(Verb::Patch, KEY, patch, 0), served(&patched, 4));
    run.get(served(&patched, 4));
    run.log.delete(KEY);
    run.call(request(Verb::Delete, KEY, Value::Null, 4), Reply::Ok { object: json!({"kind": "Status"}) });
    run.get(Reply::Refused(failed("NotFound")));
    run
}

#[test]
fn an_honest_run_passes_and_tests_everything_but_fences() {
    let history = honest().history();
    for finding in findings(&Input::new(&history), &honest().log.entries()) {
        let expected =
            if finding.property == "object-fenced" { Verdict::Inconclusive } else { Verdict::Pass };
        assert_eq!(finding.verdict(), expected, "{finding:?}");
    }
}

#[test]
fn two_winners_under_one_resource_version_are_seen_from_the_answers_and_from_the_log() {
    let mut run = honest();
    let at = run.write(Verb::Create, "m5", json!({}), 0);
    run.write(Verb::Update, "m6", json!({}), at);
    run.write(Verb::Update, "m7", json!({}), at);
    assert_eq!(run.broken(), ["object-compared"]);
    let history = run.history();
    let found = compared(&history.calls(), &Past::of(&run.log.entries(), &history.calls()));
    assert_eq!(found.violations.len(), 2, "{found:?}");
}

#[test]
fn a_creation_over_what_is_there_and_a_deletion_of_something_newer_fail() {
    let mut over = honest();
    over.write(Verb::Create, "m5", json!({}), 0);
    over.write(Verb::Create, "m6", json!({}), 0);
    assert_eq!(over.broken(), ["object-compared"]);
    let mut newer = honest();
    let at = newer.write(Verb::Create, "m5", json!({}), 0);
    newer.write(Verb::Update, "m6", json!({}), at);
    newer.log.delete(KEY);
    newer.call(request(Verb::Delete, KEY, Value::Null, at), Reply::Ok { object: Value::Null });
    assert_eq!(newer.broken(), ["object-compared"]);
}

#[test]
fn an_answered_write_that_is_not_in_the_log_is_lost() {
    let mut run = honest();
    let object = config("m5", json!({}));
    run.call(request(Verb::Create, KEY, object.clone(), 0), served(&object, 6));
    assert_eq!(run.broken(), ["object-kept", "object-once"]);
    let mut gone = honest();
    gone.call(request(Verb::Delete, KEY, Value::Null, 0), Reply::Ok { object: Value::Null });
    assert_eq!(gone.broken(), ["object-kept"]);
}

#[test]
fn a_refused_write_that_is_in_the_log_fails() {
    let mut run = honest();
    run.log.put(KEY, &config("m5", json!({})));
    run.refused("m5", 0);
    assert!(run.broken().contains(&"object-refused".to_owned()));
}

#[test]
fn a_write_that_happened_twice_fails_also_when_nobody_answered() {
    let mut run = honest();
    let asked = request(Verb::Patch, KEY, config("m5", json!({"c": "1"})), 0);
    run.log.put(KEY, &config("m5", json!({"c": "1"})));
    run.call(asked.clone(), Reply::Unknown(failed("Timeout")));
    assert_eq!(run.broken(), [""; 0]);
    run.log.put(KEY, &config("other", json!({"c": "1"})));
    run.log.put(KEY, &config("m5", json!({"c": "1"})));
    assert_eq!(run.broken(), ["object-once"]);
}

#[test]
fn a_patch_that_takes_away_what_it_does_not_name_fails() {
    let mut run = honest();
    let at = run.write(Verb::Create, "m5", json!({"a": "1"}), 0);
    assert_eq!(at, 6);
    let patch = config("m6", json!({"b": "1"}));
    run.log.put(KEY, &patch);
    run.call(request(Verb::Patch, KEY, patch.clone(), 0), served(&patch, 7));
    assert_eq!(run.broken(), ["object-patched"]);
}

#[test]
fn a_read_of_the_past_fails() {
    let mut run = honest();
    let first = config("m1", json!({"a": "1"}));
    run.get(served(&first, 2));
    assert_eq!(run.broken(), ["object-current"]);
    let mut missing = honest();
    missing.write(Verb::Create, "m5", json!({}), 0);
    missing.get(Reply::Refused(failed("NotFound")));
    assert_eq!(missing.broken(), ["object-current"]);
}

/// A lease that is a's until revision 3, and a write of a's after a revision.
fn under_fence(late: bool) -> Run {
    let mut run = Run::new();
    let lease =
        |holder: &str, epoch: i64| json!({"spec": {"holderIdentity": holder, "leaseTransitions": epoch}});
    run.log.put(LEASE, &lease("a", 0));
    if late {
        run.log.put(LEASE, &lease("b", 1));
    }
    let object = config("m1", json!({}));
    let at = run.log.next_revision();
    run.log.put(KEY, &object);
    let fence = Some(Fence { lease: LEASE.to_owned(), holder: "a".to_owned(), epoch: 0 });
    run.call(Request { fence, ..request(Verb::Create, KEY, object.clone(), 0) }, served(&object, at));
    run
}

#[test]
fn a_write_under_a_lease_that_has_changed_hands_fails() {
    assert_eq!(under_fence(false).broken(), [""; 0]);
    assert_eq!(under_fence(true).broken(), ["object-fenced"]);
}

#[test]
fn what_was_never_asked_is_not_judged() {
    let history = Script::begin().history();
    for finding in findings(&Input::new(&history), &[]) {
        assert_eq!(finding.verdict(), Verdict::Inconclusive, "{finding:?}");
    }
}
