//! One small history in every format.

use expect_test::{Expect, expect};

use super::*;
use crate::history::script::{Script, delete, equal, get, put, txn};
#[cfg(feature = "elle")]
use crate::history::{Answer, Outcome};
use crate::history::{Event, Fault, Step, Target};

fn check(history: &History, format: Format, expected: &Expect) {
    let mut out = Vec::new();
    write(history, format, &mut out).unwrap();
    expected.assert_eq(&String::from_utf8(out).unwrap());
}

fn fault(step: Step) -> Event {
    Event::Fault(Fault { fault: 1, kind: "kill".to_owned(), target: vec!["n1".to_owned()], step })
}

/// Registers under a fault: one write is asked twice, one compare-and-set fails, one read never returns.
fn registers() -> History {
    let mut script = Script::begin();
    script.run(1, put("r", "a"));
    script.event(0, fault(Step::Installed { evidence: "it is \"gone\"".to_owned() }));
    script.call_as(2, "r-1", put("r", "b"));
    script.unknown(2);
    script.call_as(3, "r-1", put("r", "b"));
    script.ok(3);
    script.event(0, fault(Step::Healed { evidence: "it answers".to_owned() }));
    script.run(1, get("r"));
    script.run(1, txn(vec![equal("r", Target::Modified(3))], vec![put("r", "c")], vec![get("r")]));
    script.run(1, txn(vec![equal("r", Target::Value("b".to_owned()))], vec![put("r", "d")], Vec::new()));
    script.run(3, delete("r"));
    script.run(3, get("r"));
    script.call(4, get("r"));
    script.history()
}

/// Two appends that exclude each other, a read, and an append of unknown outcome; the line of the read's answer.
fn lists() -> (Script, usize) {
    let mut script = Script::begin();
    script.workload = "append".to_owned();
    let read = || txn(Vec::new(), vec![get("/chaos/append/0")], Vec::new());
    let append = |modified, value| {
        let guard = equal("/chaos/append/0", Target::Modified(modified));
        txn(vec![guard], vec![put("/chaos/append/0", value)], Vec::new())
    };
    script.run(1, read());
    script.run(1, append(0, "7"));
    script.run(2, append(0, "8"));
    let answered = script.run(2, read());
    script.call(2, append(2, "7,9"));
    script.unknown(2);
    (script, answered)
}

#[test]
fn jepsen_edn() {
    check(
        &registers(),
        Format::JepsenEdn,
        &expect![[r#"
        {:index 0, :time 2000000, :process 1, :type :invoke, :f :write, :value ["r" "a"]}
        {:index 1, :time 3000000, :process 1, :type :ok, :f :write, :value ["r" "a"]}
        {:index 2, :time 4000000, :process :nemesis, :type :info, :f :kill, :value {:fault 1, :step :installed, :target ["n1"], :told "it is \"gone\""}}
        {:index 3, :time 5000000, :process 2, :type :invoke, :f :write, :value ["r" "b"]}
        {:index 4, :time 8000000, :process 2, :type :ok, :f :write, :value ["r" "b"]}
        {:index 5, :time 9000000, :process :nemesis, :type :info, :f :kill, :value {:fault 1, :step :healed, :target ["n1"], :told "it answers"}}
        {:index 6, :time 10000000, :process 1, :type :invoke, :f :read, :value ["r" nil]}
        {:index 7, :time 11000000, :process 1, :type :ok, :f :read, :value ["r" "b"]}
        {:index 8, :time 12000000, :process 1, :type :invoke, :f :cas, :value ["r" ["b" "c"]]}
        {:index 9, :time 13000000, :process 1, :type :ok, :f :cas, :value ["r" ["b" "c"]]}
        {:index 10, :time 14000000, :process 1, :type :invoke, :f :cas, :value ["r" ["b" "d"]]}
        {:index 11, :time 15000000, :process 1, :type :fail, :f :cas, :value ["r" ["b" "d"]]}
        {:index 12, :time 16000000, :process 3, :type :invoke, :f :delete, :value {:key "r"}}
        {:index 13, :time 17000000, :process 3, :type :ok, :f :delete, :value {:outcome "ok", :header {:cluster 77, :member 1, :revision 5, :term 1}, :answer {:answer "delete", :deleted 1, :previous []}}}
        {:index 14, :time 18000000, :process 3, :type :invoke, :f :read, :value ["r" nil]}
        {:index 15, :time 19000000, :process 3, :type :ok, :f :read, :value ["r" nil]}
        {:index 16, :time 20000000, :process 4, :type :invoke, :f :read, :value ["r" nil]}
    "#]],
    );
}

#[test]
fn porcupine_json() {
    check(
        &registers(),
        Format::PorcupineJson,
        &expect![[r#"
        {"ClientId":1,"Input":{"f":"write","key":"r","value":"a"},"Call":2000000,"Output":{},"Return":3000000}
        {"ClientId":2,"Input":{"f":"write","key":"r","value":"b"},"Call":5000000,"Output":{},"Return":8000000}
        {"ClientId":1,"Input":{"f":"read","key":"r"},"Call":10000000,"Output":{"value":"b"},"Return":11000000}
        {"ClientId":1,"Input":{"f":"cas","key":"r","from":"b","to":"c"},"Call":12000000,"Output":{"set":true},"Return":13000000}
        {"ClientId":1,"Input":{"f":"cas","key":"r","from":"b","to":"d"},"Call":14000000,"Output":{"set":false},"Return":15000000}
        {"ClientId":3,"Input":{"f":"other","op":{"op":"delete","key":"r"}},"Call":16000000,"Output":{},"Return":17000000}
        {"ClientId":3,"Input":{"f":"read","key":"r"},"Call":18000000,"Output":{"value":null},"Return":19000000}
        {"ClientId":4,"Input":{"f":"read","key":"r"},"Call":20000000,"Output":null,"Return":9223372036854775807}
    "#]],
    );
}

#[test]
fn elle_json() {
    check(
        &lists().0.history(),
        Format::ElleJson,
        &expect![[r#"
        [
        {"type":"invoke","process":1,"f":"txn","value":[["r","/chaos/append/0",null]],"index":0,"time":2000000},
        {"type":"ok","process":1,"f":"txn","value":[["r","/chaos/append/0",[]]],"index":1,"time":3000000},
        {"type":"invoke","process":1,"f":"txn","value":[["r","/chaos/append/0",null],["append","/chaos/append/0",7]],"index":2,"time":4000000},
        {"type":"ok","process":1,"f":"txn","value":[["r","/chaos/append/0",[]],["append","/chaos/append/0",7]],"index":3,"time":5000000},
        {"type":"invoke","process":2,"f":"txn","value":[["append","/chaos/append/0",8]],"index":4,"time":6000000},
        {"type":"fail","process":2,"f":"txn","value":[["append","/chaos/append/0",8]],"index":5,"time":7000000},
        {"type":"invoke","process":2,"f":"txn","value":[["r","/chaos/append/0",null]],"index":6,"time":8000000},
        {"type":"ok","process":2,"f":"txn","value":[["r","/chaos/append/0",[7]]],"index":7,"time":9000000},
        {"type":"invoke","process":2,"f":"txn","value":[["append","/chaos/append/0",9]],"index":8,"time":10000000},
        {"type":"info","process":2,"f":"txn","value":[["append","/chaos/append/0",9]],"index":9,"time":11000000}
        ]
    "#]],
    );
}

/// The crate adya reads what `elle-cli` reads, and judges it.
#[cfg(feature = "elle")]
#[test]
fn somebody_else_reads_the_lists_and_finds_the_stale_read() {
    let judge = |history: &History| {
        let mut out = Vec::new();
        write(history, Format::ElleJson, &mut out).unwrap();
        let read = adya::History::from_json(&String::from_utf8(out).unwrap()).unwrap();
        adya::check(&read, adya::Workload::ListAppend, &adya::Opts::default()).valid
    };
    let (mut script, answered) = lists();
    assert_eq!(judge(&script.history()), adya::Valid::True);
    let Event::Return { outcome: Outcome::Ok { answer: Answer::Txn { answers, .. }, .. } } =
        &mut script.line(answered).event
    else {
        panic!("it was answered")
    };
    answers[0] = Answer::Range { kvs: Vec::new(), count: 0, more: false };
    assert_eq!(judge(&script.history()), adya::Valid::False);
}

#[test]
fn names_are_told_apart() {
    let names = Format::ALL.map(Format::name);
    assert_eq!(names, ["elle-json", "jepsen-edn", "porcupine-json"]);
}
