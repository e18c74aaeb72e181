//! `navarch chaos` from the outside: short runs of the scenarios against real servers, and the verdicts they must come to.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tests::cluster::navarch;

/// What a run exits with.
const PASS: i32 = 0;
const FAIL: i32 = 1;
const HARNESS_ERROR: i32 = 3;

/// Runs a scenario; the test fails with the run's own account if the verdict is another.
fn run(scenario: &str, seed: u64, seconds: u64, expected: i32) -> (TempDir, PathBuf) {
    let runs = tempfile::tempdir().expect("a folder");
    let (seed, seconds) = (seed.to_string(), seconds.to_string());
    let output = Command::new(navarch())
        .args(["chaos", "run", scenario, "--seed", &seed, "--time", &seconds, "--runs"])
        .arg(runs.path())
        .output()
        .expect("navarch runs");
    let folder = only_folder(runs.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let noted = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = folder.as_ref().map(|folder| std::fs::read_to_string(folder.join("result.json")));
    assert_eq!(
        output.status.code(),
        Some(expected),
        "chaos run {scenario} --seed {seed} --time {seconds}\n{noted}{said}{}",
        result.and_then(Result::ok).unwrap_or_default()
    );
    let folder = folder.expect("the run has a folder");
    (runs, folder)
}

fn only_folder(runs: &Path) -> Option<PathBuf> {
    std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path()).next()
}

#[test]
fn no_write_is_lost_when_servers_are_killed() {
    let (_runs, folder) = run("S-01", 1, 16, PASS);
    for file in ["history.jsonl", "schedule.json", "result.json", "report.html", "junit.xml"] {
        assert!(folder.join(file).exists(), "{file} is missing");
    }
    let judged_again =
        Command::new(navarch()).args(["chaos", "check"]).arg(&folder).output().expect("it runs");
    assert_eq!(judged_again.status.code(), Some(PASS), "{}", String::from_utf8_lossy(&judged_again.stdout));
}

#[test]
fn nothing_stale_is_read_from_who_stood_still() {
    run("S-03", 2, 16, PASS);
}

#[test]
fn a_lock_without_fencing_is_seen_to_fail() {
    run("lock-set", 3, 20, FAIL);
}

#[test]
fn plans_are_made_from_seeds_and_what_is_no_scenario_is_refused() {
    let plan = |arguments: &[&str]| {
        let output =
            Command::new(navarch()).args(["chaos", "plan"]).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let first = plan(&["S-01", "--seed", "7"]);
    assert_eq!(first.0, Some(PASS));
    assert!(first.1.contains("Kill"), "{}", first.1);
    assert_eq!(first, plan(&["S-01", "--seed", "7"]));
    assert_ne!(first, plan(&["S-01", "--seed", "8"]));
    assert_eq!(plan(&["no-such-scenario"]).0, Some(HARNESS_ERROR));
}
