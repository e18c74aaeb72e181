//! The HTML page: the story of a run from its verdict down to its numbers.

use super::Judged;
use super::anomaly::{self, Index};
use super::calls::{Call, calls};
use super::faults::{Window, windows};
use super::lanes::State;
use super::markup::{Markup, Text};
use super::summary::{Summary, end_of};
use super::tables::{self, Verdicted};
use super::timeline::{self, Axis, Scene};
use super::words::{count, counted, duration, milliseconds, shortened};

/// Violations that get a picture, over all properties and for each, and those that are told at all for each.
const PICTURES_MAX: usize = 24;
const PICTURES_OF_ONE_MAX: usize = 6;
const TOLD_MAX: usize = 60;

/// One file without links to anything.
pub fn page(judged: &Judged<'_>, summary: &Summary) -> String {
    let calls = calls(judged.history.lines());
    let end = end_of(judged.history);
    let windows = windows(judged.history, end);
    let mut out = Markup::default();
    out.put(format_args!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        Text(&summary.sentence),
        include_str!("page/style.css")
    ));
    out.put(format_args!("{}<main>\n", PATTERNS));
    banner(&mut out, summary);
    section(&mut out, "Properties", |out| {
        tables::properties(out, summary);
        not_judged(out, summary);
    });
    if judged.findings.iter().any(|finding| !finding.violations.is_empty()) {
        section(&mut out, "Violations", |out| violations(out, judged, &calls, &windows));
    }
    section(&mut out, "The run over time", |out| {
        let (history, findings, axis) = (judged.history, judged.findings, Axis { end });
        let scene = Scene { history, calls: &calls, windows: &windows, findings, axis };
        out.put(format_args!("{}", timeline::draw(&scene)));
        legend(out, &scene);
    });
    section(&mut out, "Faults", |out| {
        if summary.faults.is_empty() {
            out.put(format_args!("<p>None.</p>\n"));
        } else {
            failovers(out, summary);
            tables::faults(out, summary);
        }
    });
    section(&mut out, "Coverage", |out| tables::coverage(out, summary));
    section(&mut out, "Numbers", |out| {
        numbers(out, summary);
        tables::latencies(out, summary);
    });
    section(&mut out, "Final state", |out| final_state(out, summary));
    out.put(format_args!("</main>\n</body>\n</html>\n"));
    out.into_string()
}

fn not_judged(out: &mut Markup, summary: &Summary) {
    if summary.not_judged.is_empty() {
        return;
    }
    out.put(format_args!("<p>Not judged:</p>\n<ul>\n"));
    for not in &summary.not_judged {
        out.put(format_args!("<li>{}: {}</li>\n", Text(&not.property), Text(&not.reason)));
    }
    out.put(format_args!("</ul>\n"));
}

fn section(out: &mut Markup, title: &str, content: impl FnOnce(&mut Markup)) {
    out.put(format_args!("<section>\n<h2>{title}</h2>\n"));
    content(out);
    out.put(format_args!("</section>\n"));
}

fn banner(out: &mut Markup, summary: &Summary) {
    let (word, rest) = summary.sentence.split_once(": ").unwrap_or((&summary.sentence, ""));
    let class = Verdicted(summary.verdict).class();
    out.put(format_args!("<header class=\"banner {class}\"><h1><b>{}</b> {}</h1>\n", Text(word), Text(rest)));
    let run = &summary.run;
    let facts = [
        run.scenario.clone(),
        format!("seed {}", run.seed),
        format!("{} {}", run.system, run.version),
        counted(run.members.len() as u64, "member"),
        duration(summary.duration_ms * 1_000_000),
        counted(summary.operations.total(), "call"),
        format!("{} seen to happen", counted(summary.verified_faults(), "fault")),
    ];
    out.put(format_args!("<p>{}</p>\n</header>\n", Text(&facts.join(" · "))));
    out.put(format_args!("<p class=\"again\">Again: <code>{}</code></p>\n", Text(&run.command)));
    if summary.reasons.len() > 1 {
        out.put(format_args!("<ul class=\"reasons\">\n"));
        for reason in summary.reasons.iter().take(REASONS_MAX) {
            out.put(format_args!("<li>{}</li>\n", Text(&shortened(reason, REASON_CHARS_MAX))));
        }
        if let Some(more) = summary.reasons.len().checked_sub(REASONS_MAX).filter(|more| *more > 0) {
            out.put(format_args!("<li>and {} more</li>\n", count(more as u64)));
        }
        out.put(format_args!("</ul>\n"));
    }
}

const REASONS_MAX: usize = 8;
const REASON_CHARS_MAX: usize = 240;

fn violations(out: &mut Markup, judged: &Judged<'_>, calls: &[Call<'_>], windows: &[Window<'_>]) {
    let index = Index::of(judged.history.lines(), calls);
    let mut pictures_left = PICTURES_MAX;
    out.put(format_args!(
        "<p class=\"faint\">▶ marks what the violation names; the other rows are the nearest calls on the same keys. Time runs to the right, compressed; the grey bands are faults.</p>\n"
    ));
    for finding in judged.findings.iter().filter(|finding| !finding.violations.is_empty()) {
        let all = finding.violations.len();
        out.put(format_args!(
            "<h3>{} <span class=\"faint\">{}</span></h3>\n",
            Text(&finding.property),
            counted(all as u64, "violation")
        ));
        for (place, violation) in finding.violations.iter().take(TOLD_MAX).enumerate() {
            out.put(format_args!("<p class=\"what\">{}</p>\n", Text(&violation.what)));
            if place < PICTURES_OF_ONE_MAX && pictures_left > 0 {
                pictures_left -= 1;
                out.put(format_args!("{}", anomaly::draw(&index, windows, violation).unwrap_or_default()));
            }
            let lines: Vec<String> = violation.lines.iter().take(LINES_MAX).map(u64::to_string).collect();
            out.put(format_args!("<p class=\"faint\">lines of the history: {}</p>\n", lines.join(", ")));
        }
        if all > TOLD_MAX {
            out.put(format_args!("<p>and {} more</p>\n", count((all - TOLD_MAX) as u64)));
        }
    }
}

const LINES_MAX: usize = 30;

fn legend(out: &mut Markup, scene: &Scene<'_>) {
    out.put(format_args!("<p class=\"legend\">"));
    for (class, name) in
        [("ok", "ok"), ("refused", "refused: did not happen"), ("unknown", "unknown: may have happened")]
    {
        sample(out, &format!("<rect class=\"{class}\" width=\"16\" height=\"11\"/>"), name);
    }
    let members = scene.members();
    let is_seen = |state: &State| {
        let mut felt = scene.windows.iter().filter(|window| window.is_felt());
        felt.any(|window| {
            members.iter().any(|member| State::of(window, member, members.len()) == Some(*state))
        })
    };
    for state in State::ALL.iter().filter(|state| is_seen(state)) {
        let rect =
            format!("<g class=\"state {}\"><rect width=\"16\" height=\"11\" rx=\"2\"/></g>", state.class());
        sample(out, &rect, state.name());
    }
    sample(out, "<path class=\"line p50\" d=\"M0 6h16\"/>", "p50");
    sample(out, "<path class=\"line p99\" d=\"M0 6h16\"/>", "p99");
    sample(out, "<rect class=\"band\" width=\"16\" height=\"11\"/>", "a fault lasts");
    out.put(format_args!("</p>\n"));
}

fn sample(out: &mut Markup, picture: &str, name: &str) {
    out.put(format_args!(
        "<span><svg width=\"16\" height=\"11\" viewBox=\"0 0 16 11\" aria-hidden=\"true\">{picture}</svg> {}</span>\n",
        Text(name)
    ));
}

fn failovers(out: &mut Markup, summary: &Summary) {
    let failovers = &summary.failovers;
    if failovers.count == 0 {
        out.put(format_args!("<p>No fault changed the leader.</p>\n"));
        return;
    }
    let [p50, p99, max] = [failovers.p50_ms, failovers.p99_ms, failovers.max_ms].map(milliseconds);
    out.put(format_args!(
        "<p>{} changed the leader: without an acknowledged write for <b>{p50}</b> (p50), <b>{p99}</b> (p99), <b>{max}</b> at most.</p>\n",
        counted(failovers.count, "fault")
    ));
}

fn numbers(out: &mut Markup, summary: &Summary) {
    let operations = summary.operations;
    let per_second = operations.total() * 1_000 / summary.duration_ms.max(1);
    out.put(format_args!(
        "<p>{} in {} ({} a second): {} ok, {} refused, {} unknown.</p>\n",
        counted(operations.total(), "call"),
        duration(summary.duration_ms * 1_000_000),
        count(per_second),
        count(operations.ok),
        count(operations.refused),
        count(operations.unknown)
    ));
}

fn final_state(out: &mut Markup, summary: &Summary) {
    let Some(first) = summary.hashes.first() else {
        out.put(format_args!("<p>No member told its hash.</p>\n"));
        return;
    };
    let at_one =
        |hash: &&super::FinalHash| (hash.revision, hash.compacted) == (first.revision, first.compacted);
    let are_comparable = summary.hashes.iter().all(|hash| at_one(&hash));
    let is_equal = summary.hashes.iter().all(|hash| hash.hash == first.hash);
    let sentence = match (are_comparable, is_equal) {
        (false, _) => "The members told their hashes at different revisions.",
        (true, true) => "All members hold the same.",
        (true, false) => "The members hold different things at the same revision.",
    };
    out.put(format_args!("<p>{sentence}</p>\n"));
    tables::hashes(out, summary);
}

/// Hatches that tell states apart without colours; pictures refer to them by name.
const PATTERNS: &str = r#"<svg width="0" height="0" class="patterns" aria-hidden="true"><defs>
<pattern id="slant" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="tile" width="5" height="5"/><rect class="stripe" width="2" height="5"/></pattern>
<pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse"><rect class="tile" width="5" height="5"/><circle class="stripe" cx="2.5" cy="2.5" r="1.2"/></pattern>
</defs></svg>
"#;
