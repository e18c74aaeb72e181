//! What a run prints last: the verdict, why, and the few numbers that one looks at.

use std::fmt::Write as _;

use super::summary::{FaultState, Summary};
use super::words::{count, counted, duration, milliseconds, shortened};
use crate::verdict::Verdict;

const REASONS_MAX: usize = 6;
const REASON_CHARS_MAX: usize = 200;

/// A few lines of plain text, the verdict first.
pub fn terminal(summary: &Summary) -> String {
    let mut out = format!("{}\n", summary.sentence);
    for reason in summary.reasons.iter().skip(1).take(REASONS_MAX) {
        line(&mut out, "also", &shortened(reason, REASON_CHARS_MAX));
    }
    if let Some(more) = summary.reasons.len().checked_sub(REASONS_MAX + 1).filter(|more| *more > 0) {
        line(&mut out, "also", &format!("and {} more", count(more as u64)));
    }
    line(&mut out, "calls", &calls(summary));
    line(&mut out, "checks", &checks(summary));
    if !summary.faults.is_empty() {
        line(&mut out, "faults", &faults(summary));
    }
    for not in &summary.not_judged {
        line(&mut out, "unknown", &format!("{}: {}", not.property, not.reason));
    }
    if summary.verdict != Verdict::Pass && !summary.run.command.is_empty() {
        line(&mut out, "again", &summary.run.command);
    }
    out
}

fn line(out: &mut String, name: &str, text: &str) {
    let _infallible = writeln!(out, "  {name:<7} {text}");
}

fn calls(summary: &Summary) -> String {
    let operations = summary.operations;
    let mut text = format!(
        "{} in {}: {} ok, {} refused, {} unknown",
        count(operations.total()),
        duration(summary.duration_ms * 1_000_000),
        count(operations.ok),
        count(operations.refused),
        count(operations.unknown)
    );
    for latency in &summary.latency {
        if matches!(latency.kind.as_str(), "put" | "txn" | "range" | "object update" | "object get") {
            let [p50, p99] = [latency.p50_us, latency.p99_us].map(|us| duration(us * 1_000));
            let _infallible = write!(text, "; {} p50 {p50} p99 {p99}", latency.kind);
        }
    }
    text
}

fn checks(summary: &Summary) -> String {
    let checked = summary.properties.iter().map(|property| property.checked).sum();
    let held = summary.properties.iter().filter(|property| property.verdict == Verdict::Pass).count();
    format!("{held} of {} properties held, {}", summary.properties.len(), counted(checked, "check"))
}

fn faults(summary: &Summary) -> String {
    let in_state = |state| summary.faults.iter().filter(|fault| fault.state == state).count() as u64;
    let mut text = format!("{} seen to happen", count(in_state(FaultState::Verified)));
    for (state, name) in [(FaultState::Skipped, "skipped"), (FaultState::Indeterminate, "nobody knows")] {
        if in_state(state) > 0 {
            let _infallible = write!(text, ", {} {name}", count(in_state(state)));
        }
    }
    let failovers = &summary.failovers;
    if failovers.count > 0 {
        let [p50, p99, max] = [failovers.p50_ms, failovers.p99_ms, failovers.max_ms].map(milliseconds);
        let _infallible = write!(
            text,
            "; {}: no write for p50 {p50}, p99 {p99}, max {max}",
            counted(failovers.count, "failover")
        );
    }
    text
}
