//! What stands above answers.

use super::*;
use crate::history::Event;

#[test]
fn one_cluster_and_one_member_of_each_number() {
    let identity = ["header-identity"];
    let bent = |bend: fn(&mut crate::history::Header)| {
        judge(|script| {
            let line = script.run(1, get("a"));
            bend(script.outcome(line).0);
        })
    };
    assert_eq!(bent(|header| header.cluster = 1), identity);
    assert_eq!(bent(|header| header.member = 9), [""; 0], "a member may come back under a new number");
    let borrowed = judge(|script| {
        script.member = "n2".to_owned();
        let line = script.run(1, get("a"));
        script.outcome(line).0.member = 1;
    });
    assert_eq!(borrowed, identity);
    let watch = judge(|script| {
        let watch = script.watch("a", 0);
        let line = script.watch_created(watch);
        if let Event::WatchAnswer(answer) = &mut script.line(line).event {
            answer.header.cluster = 5;
        }
    });
    assert!(watch.contains(&identity[0].to_owned()));
}

#[test]
fn terms_do_not_fall() {
    let terms = |member: &str, concurrent: bool| {
        judge(|script| {
            if concurrent {
                script.call(2, get("a"));
            }
            let line = script.run(1, get("a"));
            script.outcome(line).0.term = 5;
            script.member = member.to_owned();
            if !concurrent {
                script.call(2, get("a"));
            }
            let line = script.answer(2);
            script.outcome(line).0.term = 4;
        })
    };
    assert_eq!(terms("n1", false), ["header-term"]);
    assert_eq!(terms("n2", false), [""; 0], "another member may be behind");
    assert_eq!(terms("n1", true), [""; 0], "answers may cross");
    let write = judge(|script| {
        let line = script.run(1, put("d", "1"));
        script.outcome(line).0.term = 3;
        script.run(1, put("d", "2"));
    });
    assert_eq!(write, ["header-term"]);
    let watch = judge(|script| {
        let watch = script.watch("zz", 0);
        let line = script.watch_created(watch);
        if let Event::WatchAnswer(answer) = &mut script.line(line).event {
            answer.header.term = 3;
        }
        script.watch_answer(watch, Vec::new());
    });
    assert!(watch.contains(&"header-term".to_owned()));
}

#[test]
fn no_body_is_newer_than_its_header() {
    let older = |op: Op, to: u64| {
        judge(|script| {
            let line = script.run(1, op);
            script.outcome(line).0.revision = to;
        })
    };
    let broken = "header-revision".to_owned();
    assert!(older(get("a"), 3).contains(&broken));
    assert!(older(Op::Range(span("a", "z")), 5).contains(&broken));
    assert!(older(txn(vec![], vec![get("a")], vec![]), 3).contains(&broken));
}
