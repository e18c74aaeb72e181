//! How a run went as a whole: the servers did not crash, a majority went on alone, in the end all had everything, and
//! each told its log as it came.
//!
//! The runner tells in notes what only it has seen; their words are made and read here.

use super::Input;
use super::tally::Tally;
use crate::history::{Event, Outcome};
use crate::verdict::{Finding, Violation};

const CRASHED: &str = "crashed ";
const SOUND: &str = "no crash in the log of ";
const CORE: &str = "left alone: ";
const CONVERGED: &str = "every member has revision ";
const UNCONVERGED: &str = "members stayed behind: ";
const HEARD: &str = "the log was heard of ";
const LEFT_OUT: &str = "a watch left out ";

/// The phase in which a majority is left alone.
pub const LIVENESS: &str = "liveness";
/// The phase in which every member must get everything.
pub const CONVERGE: &str = "converge";

/// How long after the beginning of that phase the first election may take, in nanoseconds.
const ELECTION_MAX: u64 = 4_000_000_000;

/// What a member's log says: nothing of a crash, or the line that does.
pub fn log(member: &str, crash: Option<&str>) -> Event {
    note(match crash {
        Some(line) => format!("{CRASHED}{member}: {line}"),
        None => format!("{SOUND}{member}"),
    })
}

/// Who is left when a minority stays broken.
pub fn core(members: &[String]) -> Event {
    note(format!("{CORE}{}", members.join(" ")))
}

/// Every member has this revision.
pub fn converged(revision: u64) -> Event {
    note(format!("{CONVERGED}{revision}"))
}

/// Not every member got everything in time.
pub fn unconverged(who: &str) -> Event {
    note(format!("{UNCONVERGED}{who}"))
}

/// A member's log was kept by watches of everything, to the end of the run.
pub fn heard(member: &str) -> Event {
    note(format!("{HEARD}{member}"))
}

/// Such a watch passed over these revisions, from … to.
pub fn left_out(member: &str, from: u64, to: u64) -> Event {
    note(format!("{LEFT_OUT}{from} to {to} of {member}"))
}

const fn note(text: String) -> Event {
    Event::Note { text }
}

/// `no-crash`, `core-progress`, `converged` and `log-heard`; each only of runs that come to that.
pub fn check(input: &Input<'_>) -> Vec<Finding> {
    let phases = input.history.phases();
    let has = |name| phases.iter().any(|phase| phase.name == name);
    let mut findings = Vec::new();
    if notes(input).any(|(_, text)| text.starts_with(SOUND) || text.starts_with(CRASHED)) {
        findings.push(no_crash(input));
    }
    if has(LIVENESS) {
        findings.push(core_progress(input));
    }
    if has(CONVERGE) {
        findings.push(convergence(input));
    }
    findings.extend(Some(log_heard(input)).filter(|finding| finding.checked > 0));
    findings
}

/// Whoever watches everything, from the first revision that he does not know, is told every revision.
fn log_heard(input: &Input<'_>) -> Finding {
    let mut tally = Tally::of("log-heard");
    for (line, text) in notes(input) {
        if let Some(left_out) = text.strip_prefix(LEFT_OUT) {
            tally.test(Some((format!("a watch of everything left out {left_out}"), vec![line])));
        } else if text.starts_with(HEARD) {
            tally.test(None);
        }
    }
    tally.finish()
}

fn no_crash(input: &Input<'_>) -> Finding {
    let mut finding = finding("no-crash");
    for (line, text) in notes(input) {
        if let Some(crash) = text.strip_prefix(CRASHED) {
            finding
                .violations
                .push(Violation { what: format!("a server crashed: {crash}"), lines: vec![line] });
        }
        finding.checked += u64::from(text.starts_with(SOUND) || text.starts_with(CRASHED));
    }
    finding
}

/// Those who are left alone answer, at the latest when they have elected a leader.
fn core_progress(input: &Input<'_>) -> Finding {
    let mut finding = finding("core-progress");
    for phase in input.history.phases().iter().filter(|phase| phase.name == LIVENESS) {
        let inside = |line: &u64| (phase.from.line..=phase.until.line).contains(line);
        let Some((line, core)) = notes(input)
            .find_map(|(line, text)| Some((line, text.strip_prefix(CORE)?)).filter(|(line, _)| inside(line)))
        else {
            finding.inconclusive = Some("nobody was left alone".to_owned());
            continue;
        };
        let answered = input.operations.iter().filter(|operation| {
            matches!(operation.outcome, Outcome::Ok { .. })
                && operation.workload != "observer"
                && operation.invoked.at >= phase.from.at + ELECTION_MAX
                && operation.returned.is_some_and(|place| place.line <= phase.until.line)
                && core.split(' ').any(|member| member == operation.member)
        });
        let count = answered.count() as u64;
        finding.checked += count.max(1);
        if count == 0 {
            let what = format!("{core}, a majority, answered nothing while the others were broken");
            finding.violations.push(Violation { what, lines: vec![phase.from.line, line] });
        }
    }
    finding
}

fn convergence(input: &Input<'_>) -> Finding {
    let mut finding = finding("converged");
    for (line, text) in notes(input) {
        if let Some(who) = text.strip_prefix(UNCONVERGED) {
            finding.violations.push(Violation {
                what: format!("members stayed behind when everything was mended: {who}"),
                lines: vec![line],
            });
        }
        finding.checked += u64::from(text.starts_with(CONVERGED) || text.starts_with(UNCONVERGED));
    }
    finding
}

fn notes<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (u64, &'a str)> {
    (0..).zip(input.history.lines()).filter_map(|(number, line)| match &line.event {
        Event::Note { text } => Some((number, text.as_str())),
        _ => None,
    })
}

fn finding(property: &str) -> Finding {
    Finding { property: property.to_owned(), checked: 0, violations: Vec::new(), inconclusive: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::history::script::{Script, get};

    fn verdicts(history: &History) -> String {
        let findings = check(&Input::new(history));
        let one = |finding: &Finding| format!("{} {:?}", finding.property, finding.verdict());
        findings.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn names(members: &[&str]) -> Vec<String> {
        members.iter().map(|member| (*member).to_owned()).collect()
    }

    #[test]
    fn a_crash_in_a_log_is_a_failure() {
        let mut script = Script::begin();
        script.event(0, log("n1", None));
        assert_eq!(verdicts(&script.history()), "no-crash Pass");
        script.event(0, log("n2", Some("thread 'store' panicked at x.rs:1:2")));
        assert_eq!(verdicts(&script.history()), "no-crash Fail");
    }

    /// A majority of this name is left alone, and a call is answered so long after.
    fn left_alone(core: &[&str], call_after_ms: u64) -> String {
        let mut script = Script::begin();
        script.phase(LIVENESS);
        script.event(0, super::core(&names(core)));
        script.wait_ms(call_after_ms);
        script.run(1, get("a"));
        script.phase("heal");
        verdicts(&script.history())
    }

    #[test]
    fn a_majority_that_is_left_alone_must_answer() {
        assert_eq!(left_alone(&["n1", "n2"], 5_000), "core-progress Pass");
        assert_eq!(left_alone(&["n1", "n2"], 0), "core-progress Fail", "only before it was alone for long");
        assert_eq!(left_alone(&["n2", "n3"], 5_000), "core-progress Fail", "only another member answered");
        let mut script = Script::begin();
        script.phase(LIVENESS);
        script.phase("heal");
        assert_eq!(verdicts(&script.history()), "core-progress Inconclusive");
    }

    #[test]
    fn all_must_have_everything_in_the_end() {
        let ended = |event: Option<Event>| {
            let mut script = Script::begin();
            script.phase(CONVERGE);
            event.map(|event| script.event(0, event));
            verdicts(&script.history())
        };
        assert_eq!(ended(Some(converged(7))), "converged Pass");
        assert_eq!(ended(Some(unconverged("n2 is at 5 of 7"))), "converged Fail");
        assert_eq!(ended(None), "converged Inconclusive");
    }

    #[test]
    fn a_watch_of_everything_must_not_pass_over_a_revision() {
        let mut script = Script::begin();
        assert_eq!(verdicts(&script.history()), "");
        script.event(0, heard("n1"));
        assert_eq!(verdicts(&script.history()), "log-heard Pass");
        script.event(0, left_out("n2", 5, 8));
        assert_eq!(verdicts(&script.history()), "log-heard Fail");
    }
}
