//! JUnit's XML, as CI systems read it: a run is a suite, a property is a case.

use super::markup::{Markup, Text};
use super::summary::{Property, Summary};
use crate::verdict::Verdict;

/// A violated property is a failure, an error of the harness is an error, and what was not judged is skipped. What makes
/// the run as a whole not pass stands in a case of its own.
pub fn junit(summary: &Summary) -> String {
    let suite = Text(&summary.run.scenario);
    let seconds = format!("{}.{:03}", summary.duration_ms / 1_000, summary.duration_ms % 1_000);
    let with = |verdict| summary.properties.iter().filter(|property| property.verdict == verdict).count();
    let run = Property {
        property: "run".to_owned(),
        verdict: summary.verdict,
        checked: summary.operations.total(),
        violations: summary.properties.iter().map(|property| property.violations).sum(),
        note: (summary.verdict != Verdict::Pass).then(|| summary.sentence.clone()),
    };
    let of_run = |verdict| usize::from(summary.verdict == verdict);
    let mut out = Markup::default();
    out.put(format_args!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds}\">\n",
        summary.properties.len() + 1,
        with(Verdict::Fail) + of_run(Verdict::Fail),
        of_run(Verdict::HarnessError),
        with(Verdict::Inconclusive) + of_run(Verdict::Inconclusive)
    ));
    out.put(format_args!("  <properties>\n"));
    for (name, value) in [("seed", summary.run.seed.to_string()), ("command", summary.run.command.clone())] {
        out.put(format_args!("    <property name=\"{name}\" value=\"{}\"/>\n", Text(&value)));
    }
    out.put(format_args!("  </properties>\n"));
    for property in summary.properties.iter().chain([&run]) {
        case(&mut out, suite, property);
    }
    out.put(format_args!("</testsuite>\n"));
    out.into_string()
}

fn case(out: &mut Markup, suite: Text<'_>, property: &Property) {
    let message = Text(property.note.as_deref().unwrap_or(""));
    let name = Text(&property.property);
    out.put(format_args!(
        "  <testcase classname=\"{suite}\" name=\"{name}\" assertions=\"{}\"",
        property.checked
    ));
    match property.verdict {
        Verdict::Pass => {
            out.put(format_args!("/>\n"));
            return;
        }
        Verdict::Fail => out.put(format_args!("><failure message=\"{message}\"/>")),
        Verdict::HarnessError => out.put(format_args!("><error message=\"{message}\"/>")),
        Verdict::Inconclusive => out.put(format_args!("><skipped message=\"{message}\"/>")),
    }
    out.put(format_args!("</testcase>\n"));
}
