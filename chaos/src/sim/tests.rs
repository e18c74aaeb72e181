//! Runs of whole simulations: some that must pass, two of one seed that must be equal, and one that must not pass.

use super::*;
use crate::history::{Outcome, Step};

fn short(seed: u64) -> Plan {
    let (safety, liveness) = (Duration::from_secs(3), Duration::from_secs(1));
    Plan { safety, liveness, has_control_plane: false, ..Plan::of(seed) }
}

fn calm(seed: u64) -> Plan {
    Plan { faults: Vec::new(), ..short(seed) }
}

fn judged(report: &Report) -> String {
    let wrong = report.findings.iter().filter(|finding| finding.verdict() != Verdict::Pass);
    wrong.map(|finding| format!("{finding:?}\n")).collect()
}

#[test]
fn a_calm_cluster_answers_everything() {
    let report = run(calm(1), None).unwrap();
    assert_eq!(report.verdict(), Verdict::Pass, "{}", judged(&report));
    assert!(report.counts.ok > 20, "{:?}", report.counts);
}

/// More seeds: `make sim-ci`.
#[test]
fn a_seed_is_a_run_down_to_the_last_packet_and_keeps_its_promises() {
    for seed in [11, 12] {
        let [one, other] = [(); 2].map(|()| run(short(seed), None).unwrap());
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.lines, other.lines, "seed {seed}");
        assert_eq!(one.verdict(), Verdict::Pass, "seed {seed}: {}", judged(&one));
    }
    let [one, other] = [11, 12].map(|seed| run(calm(seed), None).unwrap());
    assert_ne!(one.trace, other.trace);
}

#[test]
fn a_control_plane_brings_about_what_users_ask_for_the_same_each_time() {
    let plan = || Plan { faults: vec![Kind::Kill, Kind::Partition], has_control_plane: true, ..short(2) };
    let [one, other] = [(); 2].map(|()| run(plan(), None).unwrap());
    assert_eq!(one.verdict(), Verdict::Pass, "{}", judged(&one));
    assert_eq!(one.trace, other.trace);
    for property in ["sim-settled", "rollout-settled", "object-kept", "pod-bound-once", "fence-landed"] {
        let finding = one.findings.iter().find(|finding| finding.property == property);
        assert_eq!(finding.map(Finding::verdict), Some(Verdict::Pass), "{property}");
    }
}

fn has_note(report: &Report, words: [&str; 2]) -> bool {
    let is_note = |line: &Line| matches!(&line.event, Event::Note { text } if words.iter().all(|word| text.contains(word)));
    report.lines.iter().any(is_note)
}

#[test]
fn members_come_and_go() {
    let plan = |seed| Plan {
        faults: vec![Kind::Members],
        fault_every_max: Duration::from_millis(300),
        ..short(seed)
    };
    let reports = [1, 2, 3].map(|seed| run(plan(seed), None).unwrap());
    for report in &reports {
        assert_eq!(report.verdict(), Verdict::Pass, "seed {}: {}", report.plan.seed, judged(report));
    }
    for step in ["Add", "Promote", "Remove", "HandOver"] {
        assert!(reports.iter().any(|report| has_note(report, [step, "Ok"])), "{step}");
    }
}

#[test]
fn a_wiped_founder_comes_back() {
    let plan = Plan { faults: vec![Kind::Wipe], ..short(1) };
    let report = run(plan, None).unwrap();
    assert_eq!(report.verdict(), Verdict::Pass, "{}", judged(&report));
    let wiped = |line: &&Line| matches!(&line.event, Event::Fault(fault) if fault.kind == "wipe");
    assert!(report.lines.iter().filter(wiped).count() >= 2, "it is wiped, and started again");
}

#[test]
fn a_founder_whose_log_is_damaged_is_refused_its_place_and_comes_back_as_another() {
    let plan = Plan { faults: vec![Kind::LogRot], ..short(1) };
    let report = run(plan, None).unwrap();
    assert_eq!(report.verdict(), Verdict::Pass, "{}", judged(&report));
    let rotted = |line: &&Line| match &line.event {
        Event::Fault(fault) => {
            fault.kind == "log-rot"
                && matches!(&fault.step, Step::Installed { evidence } if !evidence.contains("; 0 bits"))
        }
        _ => false,
    };
    assert!(report.lines.iter().any(|line| rotted(&line)));
    let is_another = |line: &Line| match &line.event {
        Event::Return { outcome: Outcome::Ok { header, .. } } => header.member > report.plan.nodes,
        _ => false,
    };
    assert!(report.lines.iter().any(is_another), "nobody was given another id");
}

/// What a disk that lies has forgotten is missed.
#[test]
fn an_acknowledged_write_that_a_disk_forgot_is_found_out() {
    let plan = |seed| Plan { faults: vec![Kind::Blackout], disks_lie: true, ..short(seed) };
    let found = (1..=5).any(|seed| {
        let report = run(plan(seed), None).unwrap();
        report.verdict() == Verdict::Fail
    });
    assert!(found);
}
