//! `result.json`: everything that a run came to, in numbers and sentences, as other programs read it.
//!
//! `SCHEMA` grows when a field changes its meaning or goes; new fields may come at any time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Judged;
use super::availability::Availability;
use super::calls::{Call, Class, calls};
use super::faults::{Install, Window, windows};
use super::latency::{self, Latency, quantile};
use super::words::{count, counted, shortened};
use crate::history::{Begin, Event, History};
use crate::scenario::{NotJudged, not_judged};
use crate::verdict::{Finding, Verdict};

pub const SCHEMA: u32 = 1;

/// A headline repeats no more of a reason.
const HEADLINE_CHARS_MAX: usize = 180;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub schema: u32,
    pub verdict: Verdict,
    /// `FAIL: 1 acknowledged write lost: revision 8412, key /chaos/r7`.
    pub sentence: String,
    /// Everything that keeps the run from passing, worst first; empty when it passed.
    pub reasons: Vec<String>,
    pub run: Begin,
    pub duration_ms: u64,
    pub operations: Outcomes,
    pub properties: Vec<Property>,
    pub faults: Vec<FaultReport>,
    pub failovers: Failovers,
    pub latency: Vec<Latency>,
    pub coverage: Vec<Coverage>,
    /// What the run says nothing about, though its scenario does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_judged: Vec<NotJudged>,
    pub hashes: Vec<FinalHash>,
}

/// Calls by what is known of them in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    pub ok: u64,
    pub refused: u64,
    /// With those that never returned.
    pub unknown: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    pub property: String,
    pub verdict: Verdict,
    pub checked: u64,
    pub violations: u64,
    /// The first violation, or why it could not be judged.
    pub note: Option<String>,
}

/// Times are milliseconds; those that begin with `at` count from the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    pub fault: u64,
    pub kind: String,
    pub target: Vec<String>,
    pub at_ms: u64,
    /// None when it lasted until the run ended, or was never there.
    pub at_healed_ms: Option<u64>,
    pub state: FaultState,
    /// The proof that it happened, or why not.
    pub evidence: String,
    /// None of a fault that was not there.
    pub impact: Option<Impact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultState {
    Verified,
    Skipped,
    Indeterminate,
}

/// What clients felt from the fault's beginning until the first write that was begun after its end was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    pub refused: u64,
    pub unknown: u64,
    /// The longest time without an acknowledged write, of all gaps that touch the fault's window.
    pub write_gap_ms: Option<u64>,
    /// From the fault, and from its healing, until a write that began after it was acknowledged.
    pub first_ok_ms: Option<u64>,
    pub first_ok_after_heal_ms: Option<u64>,
    /// How many times an answer bore a higher term than all before.
    pub leader_changes: u64,
}

/// The write gaps of the faults during which the leader changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failovers {
    pub count: u64,
    pub p50_ms: Option<u64>,
    pub p99_ms: Option<u64>,
    pub max_ms: Option<u64>,
}

/// What the scenario promised to exercise, and how often it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// With its unit, in the plural: `acknowledged writes`, `snapshots installed`.
    pub what: String,
    pub required: u64,
    pub seen: u64,
}

/// The last hash that a member told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalHash {
    pub member: String,
    pub revision: u64,
    pub compacted: u64,
    /// In hexadecimal: JSON's numbers are too short for it.
    pub hash: String,
}

impl Summary {
    pub(super) fn of(judged: &Judged<'_>) -> Self {
        let calls = calls(judged.history.lines());
        let end = end_of(judged.history);
        let availability = Availability::of(&calls);
        let faults: Vec<FaultReport> =
            windows(judged.history, end).iter().map(|window| fault_report(window, &availability)).collect();
        let operations = outcomes(&calls);
        let (verdict, reasons) = judge(judged, &faults);
        let what_held = What { properties: judged.findings, operations, faults: &faults };
        Self {
            schema: SCHEMA,
            verdict,
            sentence: sentence(verdict, &reasons, &what_held),
            reasons,
            run: judged.history.begin().clone(),
            duration_ms: end / 1_000_000,
            operations,
            properties: judged.findings.iter().map(property).collect(),
            failovers: failovers(&faults),
            faults,
            latency: latency::by_kind(&calls),
            coverage: judged.coverage.to_vec(),
            not_judged: not_judged(judged.history.begin()),
            hashes: hashes(judged.history),
        }
    }

    /// Faults that were seen to have happened.
    pub fn verified_faults(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.state == FaultState::Verified).count() as u64
    }
}

impl Outcomes {
    pub const fn total(self) -> u64 {
        self.ok + self.refused + self.unknown
    }
}

/// When the last thing happened that is part of the run, not of the questions after it.
pub(super) fn end_of(history: &History) -> u64 {
    let is_told_later = |event: &Event| {
        matches!(event, Event::Revision { .. } | Event::Hash { .. } | Event::Landed(_) | Event::Note { .. })
    };
    let last = history.lines().iter().rfind(|line| !is_told_later(&line.event));
    last.map_or(0, |line| line.at)
}

/// The verdict, and what speaks against a pass, worst first.
fn judge(judged: &Judged<'_>, faults: &[FaultReport]) -> (Verdict, Vec<String>) {
    let mut reasons: Vec<(Verdict, String)> = Vec::new();
    for finding in judged.findings {
        reasons.extend(finding.violations.iter().map(|violation| (Verdict::Fail, violation.what.clone())));
        if finding.verdict() == Verdict::Inconclusive {
            let reason = format!("{}: {}", finding.property, why_not_judged(finding));
            reasons.push((Verdict::Inconclusive, reason));
        }
    }
    reasons.extend(judged.trouble.map(|trouble| (Verdict::HarnessError, trouble.to_owned())));
    if judged.findings.is_empty() {
        reasons.push((Verdict::Inconclusive, "nothing was checked".to_owned()));
    }
    reasons.extend(absent_kinds(faults).into_iter().map(|reason| (Verdict::Inconclusive, reason)));
    for coverage in judged.coverage.iter().filter(|coverage| coverage.seen < coverage.required) {
        let Coverage { what, required, seen } = coverage;
        let reason = format!("{} of {} {what}", count(*seen), count(*required));
        reasons.push((Verdict::Inconclusive, reason));
    }
    reasons.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let verdict = reasons.first().map_or(Verdict::Pass, |(verdict, _)| *verdict);
    (verdict, reasons.into_iter().map(|(_, reason)| reason).collect())
}

/// A kind of which not one fault was seen to happen was not exercised, whatever else was.
fn absent_kinds(faults: &[FaultReport]) -> Vec<String> {
    let mut kinds: BTreeMap<&str, Vec<&FaultReport>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(&fault.kind).or_default().push(fault);
    }
    let absent = kinds
        .into_iter()
        .filter(|(_, faults)| faults.iter().all(|fault| fault.state != FaultState::Verified));
    absent
        .filter_map(|(kind, faults)| {
            let first = faults.first()?;
            Some(format!("no {kind} was seen to happen: {}", first.evidence))
        })
        .collect()
}

/// What a run that passed can say for itself.
struct What<'a> {
    properties: &'a [Finding],
    operations: Outcomes,
    faults: &'a [FaultReport],
}

fn sentence(verdict: Verdict, reasons: &[String], what: &What<'_>) -> String {
    let more = match reasons.len() {
        0 | 1 => String::new(),
        all => format!(" (and {} more)", count(all as u64 - 1)),
    };
    let first = shortened(reasons.first().map_or("", String::as_str), HEADLINE_CHARS_MAX);
    match verdict {
        Verdict::Pass => {
            let seen = what.faults.iter().filter(|fault| fault.state == FaultState::Verified).count() as u64;
            let properties = match what.properties.len() as u64 {
                1 => "1 property".to_owned(),
                several => format!("{} properties", count(several)),
            };
            let operations = counted(what.operations.total(), "operation");
            format!("PASS: {properties} held in {operations} under {}", counted(seen, "fault"))
        }
        Verdict::Inconclusive => format!("INCONCLUSIVE: nothing wrong was seen, but {first}{more}"),
        Verdict::HarnessError => format!("HARNESS-ERROR: {first}{more}"),
        Verdict::Fail => format!("FAIL: {first}{more}"),
    }
}

fn property(finding: &Finding) -> Property {
    let note = match finding.verdict() {
        Verdict::Fail => finding.violations.first().map(|violation| violation.what.clone()),
        Verdict::Inconclusive => Some(why_not_judged(finding).to_owned()),
        Verdict::Pass | Verdict::HarnessError => None,
    };
    Property {
        property: finding.property.clone(),
        verdict: finding.verdict(),
        checked: finding.checked,
        violations: finding.violations.len() as u64,
        note,
    }
}

fn why_not_judged(finding: &Finding) -> &str {
    finding.inconclusive.as_deref().unwrap_or("it was never put to the test")
}

fn outcomes(calls: &[Call<'_>]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for call in calls {
        match call.class() {
            Class::Ok => outcomes.ok += 1,
            Class::Refused => outcomes.refused += 1,
            Class::Unknown => outcomes.unknown += 1,
        }
    }
    outcomes
}

fn fault_report(window: &Window<'_>, availability: &Availability) -> FaultReport {
    let (state, evidence) = match window.installed {
        Install::Seen(evidence) => (FaultState::Verified, evidence),
        Install::Skipped(reason) => (FaultState::Skipped, reason),
        Install::Indeterminate(reason) => (FaultState::Indeterminate, reason),
    };
    FaultReport {
        fault: window.fault,
        kind: window.kind.to_owned(),
        target: window.target.to_vec(),
        at_ms: window.from / 1_000_000,
        at_healed_ms: window.healed.map(|_| window.until / 1_000_000),
        state,
        evidence: evidence.to_owned(),
        impact: window.is_felt().then(|| impact(window, availability)),
    }
}

fn impact(window: &Window<'_>, availability: &Availability) -> Impact {
    let after_heal = availability.first_ack_of_new_write(window.until);
    let until = after_heal.unwrap_or(window.until).max(window.until);
    let (refused, unknown) = availability.failures(window.from, until);
    let first_ok = availability.first_ack_of_new_write(window.from);
    let healed = after_heal.filter(|_| window.healed.is_some());
    Impact {
        refused,
        unknown,
        write_gap_ms: availability.longest_gap(window.from, until).map(|gap| gap.ns() / 1_000_000),
        first_ok_ms: first_ok.map(|at| (at - window.from) / 1_000_000),
        first_ok_after_heal_ms: healed.map(|at| (at - window.until) / 1_000_000),
        leader_changes: availability.leader_changes(window.from, until),
    }
}

fn failovers(faults: &[FaultReport]) -> Failovers {
    let impacts = faults.iter().filter_map(|fault| fault.impact);
    let with_change = impacts.filter(|impact| impact.leader_changes > 0);
    let mut gaps: Vec<u64> = with_change.filter_map(|impact| impact.write_gap_ms).collect();
    gaps.sort_unstable();
    let [p50_ms, p99_ms, max_ms] = [50, 99, 100].map(|percent| quantile(&gaps, percent));
    Failovers { count: gaps.len() as u64, p50_ms, p99_ms, max_ms }
}

fn hashes(history: &History) -> Vec<FinalHash> {
    let told = history.hashes().into_iter().map(|told| {
        let hash = format!("{:016x}", told.hash);
        let (member, revision, compacted) = (told.member.to_owned(), told.revision, told.compacted);
        (told.member, FinalHash { member, revision, compacted, hash })
    });
    let last: BTreeMap<&str, FinalHash> = told.collect();
    last.into_values().collect()
}
