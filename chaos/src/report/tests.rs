//! Runs that never were, told.

use std::fmt::Write as _;

use expect_test::expect;

use super::anomaly::{Index, draw};
use super::invented::{Invented, invented};
use super::*;
use crate::history::script::{Script, get, put};
use crate::history::{Event, Fault, Step};
use crate::verdict::Violation;

const CALLS: u64 = 4_000;

fn summary_of(run: &Invented) -> Summary {
    judged(run).summary()
}

fn judged(run: &Invented) -> Judged<'_> {
    Judged { history: &run.history, findings: &run.findings, coverage: &[], trouble: None }
}

/// A run of two calls under these faults, of which one property was checked.
fn small_run(faults: &[(&str, Step)]) -> Invented {
    let mut script = Script::begin();
    for (number, (kind, step)) in (1..).zip(faults) {
        let target = vec!["n1".to_owned()];
        script.event(
            0,
            Event::Fault(Fault { fault: number, kind: (*kind).to_owned(), target, step: step.clone() }),
        );
    }
    script.run(1, put("r", "a"));
    script.run(1, get("r"));
    Invented { history: script.history(), findings: vec![finding(2)] }
}

fn finding(checked: u64) -> Finding {
    Finding { property: "answers-are-exact".to_owned(), checked, violations: Vec::new(), inconclusive: None }
}

fn seen() -> Step {
    Step::Installed { evidence: "it is gone".to_owned() }
}

fn skipped() -> Step {
    Step::Skipped { reason: "needs root".to_owned() }
}

#[test]
fn a_lost_write_makes_the_headline() {
    let summary = summary_of(&invented(CALLS, true));
    let mut told = format!("{}\n{:#?}\n", summary.sentence, summary.reasons);
    for fault in &summary.faults {
        let FaultReport { kind, target, at_ms, at_healed_ms, state, impact, .. } = fault;
        writeln!(told, "{kind} {} {at_ms}..{at_healed_ms:?} {state:?} {impact:?}", target.join(" ")).unwrap();
    }
    writeln!(told, "{:?}\n{:?}", summary.failovers, summary.operations).unwrap();
    expect![[r#"
        FAIL: 1 acknowledged write lost: key /chaos/r3 was put and later read as it was before (and 1 more)
        [
            "1 acknowledged write lost: key /chaos/r3 was put and later read as it was before",
            "no clock-jump was seen to happen: there is no libfaketime here",
        ]
        kill n1 6000..Some(9000) Verified Some(Impact { refused: 9, unknown: 4, write_gap_ms: Some(1267), first_ok_ms: Some(1241), first_ok_after_heal_ms: Some(14), leader_changes: 1 })
        pause n3 12000..Some(15000) Verified Some(Impact { refused: 0, unknown: 0, write_gap_ms: Some(90), first_ok_ms: Some(12), first_ok_after_heal_ms: Some(15), leader_changes: 0 })
        partition n2>n1 n2>n3 n1>n2 n3>n2 19000..Some(24000) Verified Some(Impact { refused: 8, unknown: 1, write_gap_ms: Some(898), first_ok_ms: Some(830), first_ok_after_heal_ms: Some(13), leader_changes: 1 })
        clock-jump n3 26000..None Skipped None
        slow-sync n2 28000..Some(32000) Verified Some(Impact { refused: 0, unknown: 0, write_gap_ms: Some(160), first_ok_ms: Some(85), first_ok_after_heal_ms: Some(8), leader_changes: 0 })
        power-loss n1 n2 n3 34000..Some(35200) Verified Some(Impact { refused: 11, unknown: 3, write_gap_ms: Some(1526), first_ok_ms: Some(1500), first_ok_after_heal_ms: Some(301), leader_changes: 1 })
        Failovers { count: 3, p50_ms: Some(1267), p99_ms: Some(1526), max_ms: Some(1526) }
        Outcomes { ok: 3453, refused: 28, unknown: 8 }
    "#]].assert_eq(&told);
}

#[test]
fn what_keeps_a_run_from_passing() {
    let installed = small_run(&[("kill", seen()), ("kill", skipped())]);
    let run = judged(&installed);
    let sentence = |judged: Judged<'_>| judged.summary().sentence;
    let mut told = vec![sentence(run)];
    told.push(sentence(judged(&small_run(&[("kill", seen()), ("power-loss", skipped())]))));
    told.push(sentence(judged(&small_run(&[(
        "kill",
        Step::Indeterminate { reason: "no answer".to_owned() },
    )]))));
    told.push(sentence(Judged { findings: &[], ..run }));
    told.push(sentence(Judged { findings: &[finding(0)], ..run }));
    let writes = Coverage { what: "acknowledged writes".to_owned(), required: 2_000, seen: 1 };
    told.push(sentence(Judged { coverage: &[writes], ..run }));
    told.push(sentence(Judged { trouble: Some("a client died"), ..run }));
    let violations = vec![Violation { what: "r went back".to_owned(), lines: Vec::new() }];
    let broken = [finding(0), Finding { violations, ..finding(1) }];
    told.push(sentence(Judged { trouble: Some("a client died"), findings: &broken, ..run }));
    expect![[r#"
        PASS: 1 property held in 2 operations under 1 fault
        INCONCLUSIVE: nothing wrong was seen, but no power-loss was seen to happen: needs root
        INCONCLUSIVE: nothing wrong was seen, but no kill was seen to happen: no answer
        INCONCLUSIVE: nothing wrong was seen, but nothing was checked
        INCONCLUSIVE: nothing wrong was seen, but answers-are-exact: it was never put to the test
        INCONCLUSIVE: nothing wrong was seen, but 1 of 2,000 acknowledged writes
        HARNESS-ERROR: a client died
        FAIL: r went back (and 2 more)"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn terminal_text() {
    expect![[r#"
        FAIL: 1 acknowledged write lost: key /chaos/r3 was put and later read as it was before (and 1 more)
          also    no clock-jump was seen to happen: there is no libfaketime here
          calls   3,489 in 38 s: 3,453 ok, 28 refused, 8 unknown; put p50 1.27 ms p99 47 ms; range p50 1.22 ms p99 4.69 ms
          checks  2 of 3 properties held, 6,050 checks
          faults  5 seen to happen, 1 skipped; 3 failovers: no write for p50 1.26 s, p99 1.52 s, max 1.52 s
          again   navarch chaos run power-loss --seed 42
    "#]].assert_eq(&terminal(&summary_of(&invented(CALLS, true))));
    expect![[r#"
        PASS: 1 property held in 2 operations under 1 fault
          calls   2 in 6 ms: 2 ok, 0 refused, 0 unknown; put p50 1 ms p99 1 ms; range p50 1 ms p99 1 ms
          checks  1 of 1 properties held, 2 checks
          faults  1 seen to happen
    "#]]
    .assert_eq(&terminal(&summary_of(&small_run(&[("kill", seen())]))));
}

#[test]
fn junit_xml() {
    let mut run = invented(CALLS, true);
    run.findings.push(Finding { property: "<lease>".to_owned(), ..finding(0) });
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuite name="power-loss" tests="5" failures="2" errors="0" skipped="1" time="38.000">
          <properties>
            <property name="seed" value="42"/>
            <property name="command" value="navarch chaos run power-loss --seed 42"/>
          </properties>
          <testcase classname="power-loss" name="answers-are-exact" assertions="3520"/>
          <testcase classname="power-loss" name="acknowledged-writes-stay" assertions="1718"><failure message="1 acknowledged write lost: key /chaos/r3 was put and later read as it was before"/></testcase>
          <testcase classname="power-loss" name="watch-ordered" assertions="812"/>
          <testcase classname="power-loss" name="&lt;lease&gt;" assertions="0"><skipped message="it was never put to the test"/></testcase>
          <testcase classname="power-loss" name="run" assertions="3489"><failure message="FAIL: 1 acknowledged write lost: key /chaos/r3 was put and later read as it was before (and 2 more)"/></testcase>
        </testsuite>
    "#]].assert_eq(&junit(&summary_of(&run)));
}

#[test]
fn result_json_is_read_back() {
    let run = invented(CALLS, true);
    let folder = tempfile::tempdir().unwrap();
    let summary = write(&judged(&run), folder.path()).unwrap();
    let json = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    let small = small_run(&[("kill", seen())]);
    expect![[r#"{"schema":1,"verdict":"PASS","sentence":"PASS: 1 property held in 2 operations under 1 fault","reasons":[],"run":{"scenario":"by-hand","seed":1,"system":"navarch","version":"0","members":["n1","n2","n3"],"revision":1,"has_request_ids":true,"command":"none"},"duration_ms":6,"operations":{"ok":2,"refused":0,"unknown":0},"properties":[{"property":"answers-are-exact","verdict":"PASS","checked":2,"violations":0,"note":null}],"faults":[{"fault":1,"kind":"kill","target":["n1"],"at_ms":2,"at_healed_ms":null,"state":"verified","evidence":"it is gone","impact":{"refused":0,"unknown":0,"write_gap_ms":1,"first_ok_ms":2,"first_ok_after_heal_ms":null,"leader_changes":0}}],"failovers":{"count":0,"p50_ms":null,"p99_ms":null,"max_ms":null},"latency":[{"kind":"put","count":1,"p50_us":1000,"p99_us":1000,"max_us":1000},{"kind":"range","count":1,"p50_us":1000,"p99_us":1000,"max_us":1000}],"coverage":[],"hashes":[]}"#]].assert_eq(&serde_json::to_string(&summary_of(&small)).unwrap());
}

#[test]
fn the_page_is_one_file_of_any_run() {
    let (small, large) = (invented(CALLS, true), invented(20 * CALLS, true));
    let page_of = |run: &Invented| page(&judged(run), &summary_of(run));
    let (small, large) = (page_of(&small), page_of(&large));
    for page in [&small, &large] {
        for foreign in ["http:", "https:", "<script", "src=", "@import", "NaN", "inf"] {
            assert!(!page.contains(foreign), "the page has {foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<g ").count(), page.matches("</g>").count());
    }
    assert!(large.len() < 300_000, "{} bytes", large.len());
    assert_eq!(large.split("<path class=\"line p99\"").count(), 2 + 1, "one line, and one in the legend");
}

#[test]
fn nothing_of_a_history_breaks_out_of_the_page() {
    let mut run = small_run(&[("kill", seen())]);
    let mut lines = run.history.lines().to_vec();
    let Event::Begin(begin) = &mut lines[0].event else { panic!("it begins") };
    begin.command = "<script>alert(1)</script>".to_owned();
    run.history = History::new(lines).unwrap();
    let violations = vec![Violation { what: "<script>".to_owned(), lines: vec![2, 900] }];
    run.findings.push(Finding { property: "\"<script>".to_owned(), violations, ..finding(1) });
    let summary = summary_of(&run);
    assert!(!page(&judged(&run), &summary).contains("<script"));
    assert!(!junit(&summary).contains("<script"));
}

/// The rows of a violation's picture, as text: `!` marks the evidence.
fn rows(history: &History, lines: &[u64]) -> String {
    let calls = super::calls::calls(history.lines());
    let windows = super::faults::windows(history, super::summary::end_of(history));
    let violation = Violation { what: "wrong".to_owned(), lines: lines.to_vec() };
    let svg = draw(&Index::of(history.lines(), &calls), &windows, &violation).unwrap_or_default();
    let mut told = String::new();
    for row in svg.split("<g class=\"").skip(1) {
        let mark = if row.starts_with("row evidence") { '!' } else { ' ' };
        let (_, title) = row.split_once("<title>").unwrap();
        writeln!(told, "{mark} {}", title.split_once("</title>").unwrap().0).unwrap();
    }
    told
}

#[test]
fn a_violation_is_shown_among_its_neighbours() {
    let mut script = Script::begin();
    script.run(1, put("r", "a"));
    script.run(2, put("other", "x"));
    let written = script.call(1, put("r", "b"));
    script.unknown(1);
    let (kind, target) = ("kill".to_owned(), vec!["n1".to_owned()]);
    script.event(0, Event::Fault(Fault { fault: 1, kind, target, step: seen() }));
    let watch = script.watch("r", 2);
    let told = script.watch_answer(watch, script.events_of("r", 2..=2));
    let read = script.run(2, get("r"));
    script.call(3, get("r"));
    script.logs();
    let last = script.lines().len() - 1;
    let lines = [written, told, read, last].map(|line| line as u64);
    expect![[r#"
          line 1: p1 → n1 put r = a → rev 2
        ! line 5: p1 → n1 put r = b → unknown: Timeout
        ! line 9: watch 1 is told: put r = a → rev 2, header 3
        ! line 10: p2 → n1 get r → a (mod 2), rev 3
          line 12: p3 → n1 get r → never returned
        ! line 18: n3 has in its log: put other = x → rev 3
    "#]]
    .assert_eq(&rows(&script.history(), &lines));
    expect![[r#"
          line 3: p2 → n1 put other = x → rev 3
        ! line 18: n3 has in its log: put other = x → rev 3
    "#]]
    .assert_eq(&rows(&script.history(), &[lines[3]]));
    assert_eq!(rows(&script.history(), &[]), "");
    assert_eq!(rows(&script.history(), &[10_000]), "");
}
