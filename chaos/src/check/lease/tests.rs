//! Leases that do as they must, and every way in which one can fail to.

use super::*;
use crate::history::script::{Script, delete, get, put, put_leased};
use crate::history::{Answer, Event, Fault, Op, Outcome, Step};
use crate::verdict::Verdict;

const A: &str = "/chaos/lease/1/a";
const B: &str = "/chaos/lease/1/b";

fn script() -> Script {
    let mut script = Script::begin();
    script.workload = "lease".to_owned();
    script.run(1, Op::Grant { id: 7, ttl_s: 5 });
    script.run(1, put_leased(A, "a", 7));
    script.run(1, put_leased(B, "b", 7));
    script
}

/// Somebody sees what the newest revision is, by now.
fn look(script: &mut Script) {
    script.run(2, get("/chaos/lease/0"));
}

fn expire(script: &mut Script) {
    script.store.end_lease(7);
    look(script);
}

fn found(script: &mut Script) -> Vec<Finding> {
    script.logs();
    let history = script.history();
    check(&Input::new(&history), Limits::default())
}

fn verdicts(script: &mut Script) -> Vec<(String, Verdict)> {
    found(script).iter().map(|finding| (finding.property.clone(), finding.verdict())).collect()
}

fn fails(script: &mut Script, property: &str, words: &str) {
    let findings = found(script);
    let finding = findings.iter().find(|finding| finding.property == property).unwrap();
    assert!(finding.violations.iter().any(|violation| violation.what.contains(words)), "{findings:#?}");
    assert!(finding.violations.iter().all(|violation| !violation.lines.is_empty()));
}

/// Nothing is wrong; nothing was revoked.
fn passes(script: &mut Script) {
    for finding in found(script).iter().filter(|finding| finding.property != "lease-header") {
        assert_eq!((&finding.violations, finding.verdict()), (&Vec::new(), Verdict::Pass), "{finding:?}");
    }
}

#[test]
fn a_lease_that_expires_in_time_passes() {
    let mut script = script();
    script.wait_ms(4_000);
    script.run(1, Op::KeepAlive { id: 7 });
    script.wait_ms(4_900);
    look(&mut script);
    script.wait_ms(200);
    expire(&mut script);
    passes(&mut script);
}

#[test]
fn a_lease_that_is_revoked_passes() {
    let mut script = script();
    script.run(1, delete(B));
    script.run(1, Op::Revoke { id: 7 });
    script.run(1, put_leased(A, "late", 7));
    let verdicts = verdicts(&mut script);
    let inconclusive = |property: &str| (property.to_owned(), Verdict::Inconclusive);
    let pass = |property: &str| (property.to_owned(), Verdict::Pass);
    assert_eq!(
        verdicts,
        [
            inconclusive("lease-kept"),
            inconclusive("lease-ended"),
            pass("lease-atomic"),
            pass("lease-header"),
            pass("lease-dead")
        ],
        "nothing expired"
    );
}

#[test]
fn a_lease_that_expires_early_fails() {
    let mut script = script();
    script.wait_ms(4_000);
    expire(&mut script);
    fails(&mut script, "lease-kept", "too early");
}

#[test]
fn a_renewal_that_was_forgotten_fails() {
    let mut script = script();
    script.wait_ms(4_000);
    script.run(1, Op::KeepAlive { id: 7 });
    script.wait_ms(2_000);
    expire(&mut script);
    fails(&mut script, "lease-kept", "too early");
}

#[test]
fn a_lease_that_is_found_gone_early_fails() {
    let mut script = script();
    script.wait_ms(1_000);
    let line = script.run(1, Op::KeepAlive { id: 7 });
    let Event::Return { outcome: Outcome::Ok { answer: Answer::KeepAlive { ttl_s }, .. } } =
        &mut script.line(line).event
    else {
        panic!("not kept alive")
    };
    *ttl_s = 0;
    fails(&mut script, "lease-kept", "found gone");
}

#[test]
fn an_end_that_a_client_may_have_caused_is_not_judged() {
    let mut script = script();
    script.call(3, Op::Revoke { id: 7 });
    script.unknown(3);
    expire(&mut script);
    let findings = found(&mut script);
    assert!(findings.iter().all(|finding| finding.violations.is_empty()), "{findings:#?}");
}

#[test]
fn a_lease_that_ends_late_fails() {
    let mut late = script();
    late.wait_ms(9_000);
    look(&mut late);
    expire(&mut late);
    fails(&mut late, "lease-ended", "after its time");
    let mut never = script();
    never.wait_ms(9_000);
    look(&mut never);
    fails(&mut never, "lease-ended", "after its time");
}

#[test]
fn while_a_fault_lasts_a_lease_may_end_late() {
    let mut script = script();
    let fault = |step| {
        Event::Fault(Fault { fault: 1, kind: "pause".to_owned(), target: vec!["n1".to_owned()], step })
    };
    script.event(0, fault(Step::Installed { evidence: "it sleeps".to_owned() }));
    script.wait_ms(9_000);
    script.event(0, fault(Step::Healed { evidence: "it answers".to_owned() }));
    look(&mut script);
    expire(&mut script);
    passes(&mut script);
}

#[test]
fn an_end_in_two_revisions_fails() {
    let mut script = script();
    script.wait_ms(5_100);
    expire(&mut script);
    let (revision, changes) = script.store.log.pop().unwrap();
    for (revision, change) in (revision..).zip(changes) {
        script.store.log.push((revision, vec![change]));
    }
    fails(&mut script, "lease-atomic", "but not /chaos/lease/1/b");
}

#[test]
fn keys_that_outlive_a_revocation_fail() {
    let mut script = script();
    script.run(1, Op::Revoke { id: 7 });
    script.store.log.pop();
    fails(&mut script, "lease-atomic", "but /chaos/lease/1/a, /chaos/lease/1/b stayed");
}

#[test]
fn a_revocation_that_is_answered_at_an_older_revision_fails() {
    let mut script = script();
    let line = script.run(1, Op::Revoke { id: 7 });
    script.outcome(line).0.revision -= 1;
    let mut seen_later = script.clone();
    fails(&mut script, "lease-header", "answered at revision 3, and took its keys away by 4");
    assert!(
        found(&mut script.clone())
            .iter()
            .all(|finding| finding.property != "lease-atomic" || finding.violations.is_empty())
    );
    let line = seen_later.run(2, get("/chaos/lease/0"));
    seen_later.outcome(line).0.revision = 3;
    fails(&mut seen_later, "lease-atomic", "stayed");
}

#[test]
fn a_delete_that_deletes_nothing_is_not_taken_for_the_one_that_does() {
    let mut script = script();
    script.run(1, delete(A));
    script.run(1, delete("/chaos/lease/none"));
    script.wait_ms(5_100);
    expire(&mut script);
    passes(&mut script);
}

#[test]
fn a_key_put_on_a_dead_lease_fails() {
    let mut script = script();
    script.wait_ms(5_100);
    expire(&mut script);
    script.run(1, put(A, "late"));
    let (_, changes) = script.store.log.last_mut().unwrap();
    let crate::history::Change::Put { kv } = &mut changes[0] else { panic!("not a put") };
    kv.lease = 7;
    fails(&mut script, "lease-dead", "was put on lease 7");
}

#[test]
fn a_lease_that_comes_back_fails() {
    let mut script = script();
    script.run(1, Op::Revoke { id: 7 });
    let line = script.run(1, Op::KeepAlive { id: 7 });
    let Event::Return { outcome: Outcome::Ok { answer: Answer::KeepAlive { ttl_s }, .. } } =
        &mut script.line(line).event
    else {
        panic!("not answered")
    };
    assert_eq!(*ttl_s, 0);
    *ttl_s = 5;
    fails(&mut script, "lease-dead", "was kept alive or given a key after it was over");
}

#[test]
fn without_a_log_nothing_is_said() {
    let history = script().history();
    let findings = check(&Input::new(&history), Limits::default());
    assert!(findings.iter().all(|finding| finding.verdict() == Verdict::Inconclusive));
}
