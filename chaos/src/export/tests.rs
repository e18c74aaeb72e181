//! One small history in every format.

use expect_test::{Expect, expect};

use super::*;
use crate::history::script::{Script, delete, equal, get, put, txn};
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
fn names_are_told_apart() {
    let names = Format::ALL.map(Format::name);
    assert_eq!(names, ["jepsen-edn", "porcupine-json"]);
}
