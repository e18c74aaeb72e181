//! Runs of whole simulations: some that must pass, two of one seed that must be equal, and one that must not pass.

use super::*;

fn short(seed: u64) -> Plan {
    let (safety, liveness) = (Duration::from_secs(3), Duration::from_secs(1));
    Plan { safety, liveness, ..Plan::of(seed) }
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

#[test]
fn broken_clusters_keep_their_promises() {
    for seed in [1, 4] {
        let report = run(short(seed), None).unwrap();
        assert_eq!(report.verdict(), Verdict::Pass, "seed {seed}: {}", judged(&report));
    }
}

#[test]
fn a_seed_is_a_run_down_to_the_last_packet() {
    for seed in [11, 12, 14] {
        let [one, other] = [(); 2].map(|()| run(short(seed), None).unwrap());
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.lines, other.lines, "seed {seed}");
    }
    let [one, other] = [11, 12].map(|seed| run(calm(seed), None).unwrap());
    assert_ne!(one.trace, other.trace);
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
