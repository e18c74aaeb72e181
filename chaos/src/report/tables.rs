//! The tables of the page.

use std::collections::BTreeMap;

use super::latency::quantile;
use super::markup::{Markup, Text};
use super::summary::{FaultReport, FaultState, Impact, Summary};
use super::words::{count, duration, milliseconds, moment, shortened, targets};
use crate::verdict::Verdict;

/// Up to so many faults are shown one by one at once; more are summed up, and shown when one asks.
const FAULTS_OPEN_MAX: usize = 12;
/// Of a violation, the table repeats no more.
const NOTE_CHARS_MAX: usize = 200;
/// What a page shows of faults at most; `result.json` has them all.
const FAULTS_MAX: usize = 1_500;

pub(super) fn properties(out: &mut Markup, summary: &Summary) {
    out.put(format_args!(
        "<table><thead><tr><th>property<th>verdict<th class=\"n\">checked<th class=\"n\">violations<th>evidence</tr></thead><tbody>\n"
    ));
    for property in &summary.properties {
        let note = shortened(property.note.as_deref().unwrap_or(""), NOTE_CHARS_MAX);
        out.put(format_args!(
            "<tr><td class=\"whole\">{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>\n",
            Text(&property.property),
            Verdicted(property.verdict),
            count(property.checked),
            count(property.violations),
            Text(&note)
        ));
    }
    out.put(format_args!("</tbody></table>\n"));
}

pub(super) fn coverage(out: &mut Markup, summary: &Summary) {
    out.put(format_args!(
        "<table><thead><tr><th>to be exercised<th>verdict<th class=\"n\">required<th class=\"n\">seen</tr></thead><tbody>\n"
    ));
    for coverage in &summary.coverage {
        let verdict = if coverage.seen < coverage.required { Verdict::Inconclusive } else { Verdict::Pass };
        out.put(format_args!(
            "<tr><td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}</tr>\n",
            Text(&coverage.what),
            Verdicted(verdict),
            count(coverage.required),
            count(coverage.seen)
        ));
    }
    out.put(format_args!("</tbody></table>\n"));
}

/// By kind when there are many, and each.
pub(super) fn faults(out: &mut Markup, summary: &Summary) {
    let are_many = summary.faults.len() > FAULTS_OPEN_MAX;
    if are_many {
        by_kind(out, &summary.faults);
        out.put(format_args!(
            "<details><summary>each of the {} faults</summary>\n",
            count(summary.faults.len() as u64)
        ));
    }
    out.put(format_args!(
        "<table><thead><tr><th class=\"n\">#<th>fault<th>target<th>when<th class=\"n\">refused<th class=\"n\">unknown<th class=\"n\">longest gap<th class=\"n\">first ok<th class=\"n\">ok after heal<th class=\"n\">leader changes<th>happened?</tr></thead><tbody>\n"
    ));
    for fault in summary.faults.iter().take(FAULTS_MAX) {
        each(out, fault);
    }
    out.put(format_args!("</tbody></table>\n"));
    if are_many {
        out.put(format_args!("</details>\n"));
    }
    out.put(format_args!(
        "<p class=\"faint\">Gaps are times without an acknowledged write; first ok is the acknowledgment of a write that was begun after the fault, or after its healing.</p>\n"
    ));
}

pub(super) fn latencies(out: &mut Markup, summary: &Summary) {
    out.put(format_args!(
        "<table><thead><tr><th>calls<th class=\"n\">ok<th class=\"n\">p50<th class=\"n\">p99<th class=\"n\">max</tr></thead><tbody>\n"
    ));
    for latency in &summary.latency {
        let [p50, p99, max] = [latency.p50_us, latency.p99_us, latency.max_us].map(|us| duration(us * 1_000));
        out.put(format_args!(
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{p50}<td class=\"n\">{p99}<td class=\"n\">{max}</tr>\n",
            Text(&latency.kind),
            count(latency.count)
        ));
    }
    out.put(format_args!("</tbody></table>\n"));
}

pub(super) fn hashes(out: &mut Markup, summary: &Summary) {
    out.put(format_args!(
        "<table><thead><tr><th>member<th class=\"n\">revision<th class=\"n\">compacted<th>hash</tr></thead><tbody>\n"
    ));
    for hash in &summary.hashes {
        out.put(format_args!(
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td><code>{}</code></tr>\n",
            Text(&hash.member),
            count(hash.revision),
            count(hash.compacted),
            Text(&hash.hash)
        ));
    }
    out.put(format_args!("</tbody></table>\n"));
}

fn each(out: &mut Markup, fault: &FaultReport) {
    let lasted = match (fault.at_healed_ms, fault.state) {
        (Some(healed), _) => format!(" for {}", milliseconds(Some(healed.saturating_sub(fault.at_ms)))),
        (None, FaultState::Skipped) => String::new(),
        (None, FaultState::Verified | FaultState::Indeterminate) => " to the end".to_owned(),
    };
    out.put(format_args!(
        "<tr><td class=\"n\">{}<td class=\"whole\">{}<td>{}<td class=\"whole\">{}{lasted}",
        fault.fault,
        Text(&fault.kind),
        Text(&targets(&fault.target)),
        moment(fault.at_ms * 1_000_000)
    ));
    match fault.impact {
        None => out.put(format_args!("<td colspan=\"6\">")),
        Some(impact) => {
            let Impact { refused, unknown, leader_changes, .. } = impact;
            let gap = milliseconds(impact.write_gap_ms);
            let (ok, healed) =
                (milliseconds(impact.first_ok_ms), milliseconds(impact.first_ok_after_heal_ms));
            let [refused, unknown, changes] = [refused, unknown, leader_changes].map(count);
            for cell in [refused, unknown, gap, ok, healed, changes] {
                out.put(format_args!("<td class=\"n\">{cell}"));
            }
        }
    }
    let state = match fault.state {
        FaultState::Verified => "<span class=\"pass\">✔ verified</span>",
        FaultState::Skipped => "<span class=\"inconclusive\">○ skipped</span>",
        FaultState::Indeterminate => "<span class=\"inconclusive\">? unknown</span>",
    };
    out.put(format_args!("<td>{state} <span class=\"faint\">{}</span></tr>\n", Text(&fault.evidence)));
}

fn by_kind(out: &mut Markup, faults: &[FaultReport]) {
    let mut kinds: BTreeMap<&str, Vec<&FaultReport>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(&fault.kind).or_default().push(fault);
    }
    out.put(format_args!(
        "<table><thead><tr><th>fault<th class=\"n\">verified<th class=\"n\">skipped<th class=\"n\">unsure<th class=\"n\">refused<th class=\"n\">unknown<th class=\"n\">gap p50<th class=\"n\">gap p99<th class=\"n\">longest gap<th class=\"n\">leader changes</tr></thead><tbody>\n"
    ));
    for (kind, faults) in kinds {
        let in_state = |state| count(faults.iter().filter(|fault| fault.state == state).count() as u64);
        let impacts = || faults.iter().filter_map(|fault| fault.impact);
        let mut gaps: Vec<u64> = impacts().filter_map(|impact| impact.write_gap_ms).collect();
        gaps.sort_unstable();
        let gap = |percent| milliseconds(quantile(&gaps, percent));
        let sum = |number: fn(&Impact) -> u64| count(impacts().map(|impact| number(&impact)).sum());
        out.put(format_args!("<tr><td>{}", Text(kind)));
        let cells = [
            in_state(FaultState::Verified),
            in_state(FaultState::Skipped),
            in_state(FaultState::Indeterminate),
            sum(|impact| impact.refused),
            sum(|impact| impact.unknown),
            gap(50),
            gap(99),
            gap(100),
            sum(|impact| impact.leader_changes),
        ];
        for cell in cells {
            out.put(format_args!("<td class=\"n\">{cell}"));
        }
        out.put(format_args!("</tr>\n"));
    }
    out.put(format_args!("</tbody></table>\n"));
}

/// A verdict with its sign, so that nobody needs to tell colours apart.
pub(super) struct Verdicted(pub(super) Verdict);

impl Verdicted {
    pub(super) const fn class(&self) -> &'static str {
        match self.0 {
            Verdict::Pass => "pass",
            Verdict::Inconclusive => "inconclusive",
            Verdict::HarnessError => "harness",
            Verdict::Fail => "fail",
        }
    }

    const fn sign(&self) -> &'static str {
        match self.0 {
            Verdict::Pass => "✔ PASS",
            Verdict::Inconclusive => "? INCONCLUSIVE",
            Verdict::HarnessError => "! HARNESS-ERROR",
            Verdict::Fail => "✘ FAIL",
        }
    }
}

impl std::fmt::Display for Verdicted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "<span class=\"verdict {}\">{}</span>", self.class(), self.sign())
    }
}
