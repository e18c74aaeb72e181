//! Hand-written bad histories, at least three for each property, and generated ones.

mod agreement;
mod generated;
mod headers;
mod logs;
mod reads;
mod watches;
mod writes;

use super::broken;
use crate::history::script::{Script, delete, equal, get, put, span, txn};
use crate::history::{Op, Target};

/// What every test begins with: revisions 2 to 6, and reads between them.
fn good() -> Script {
    let mut script = Script::begin();
    script.run(1, put("a", "a2"));
    script.run(2, put("b", "b3"));
    script.run(1, get("a"));
    script.run(2, put("a", "a4"));
    script.run(1, delete("b"));
    script.run(3, txn(vec![equal("a", Target::Modified(4))], vec![put("c", "c6"), get("a")], vec![get("c")]));
    script.run(2, Op::Range(span("a", "z")));
    script
}

/// The properties broken by a good history that goes on so. The members tell their logs at its end.
fn judge(tell: impl FnOnce(&mut Script)) -> Vec<String> {
    let mut script = good();
    tell(&mut script);
    script.logs();
    broken(&script.history())
}

/// As `judge`, with the logs bent at the end.
fn judge_logs(bend: impl FnOnce(&mut Script)) -> Vec<String> {
    let mut script = good();
    script.logs();
    bend(&mut script);
    broken(&script.history())
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(judge(|_| {}), [""; 0]);
    assert_eq!(judge_logs(|_| {}), [""; 0]);
}
