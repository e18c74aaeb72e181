//! Which lines explain a violation: its own, and their neighbours on the same keys.

use std::collections::BTreeMap;

use crate::history::{Change, Event, Line, Op, WatchAnswer};
use crate::report::calls::{Call, Class, Exchange};
use crate::report::describe;
use crate::report::faults::Window;
use crate::report::words::counted;
use crate::verdict::Violation;

/// Of the violation's own lines, more are not shown.
const EVIDENCE_MAX: usize = 20;
/// Neighbours are added up to so many rows.
const ROWS_WANTED: usize = 16;
/// Neighbours are not looked for farther away than this many calls.
const DISTANCE_MAX: usize = 20_000;
const FAULTS_MAX: usize = 6;

/// A history's calls, found by any of their lines.
pub(in crate::report) struct Index<'a> {
    lines: &'a [Line],
    calls: &'a [Call<'a>],
    /// Line of a return, and which call it ends; sorted.
    ends: Vec<(u64, usize)>,
}

/// What the picture shows, in the order of its rows.
pub(super) struct Selection {
    pub(super) rows: Vec<Row>,
    /// From the first row's beginning to the last end; equal if the rows have no time.
    pub(super) span: (u64, u64),
}

pub(super) struct Row {
    pub(super) line: u64,
    pub(super) who: String,
    pub(super) asked: String,
    pub(super) answered: String,
    /// None of what was told after the run.
    pub(super) at: Option<u64>,
    /// None of a moment, and of a call that never returned.
    pub(super) end: Option<u64>,
    /// Of a call.
    pub(super) class: Option<Class>,
    /// The violation names it.
    pub(super) is_evidence: bool,
}

impl<'a> Index<'a> {
    pub(in crate::report) fn of(lines: &'a [Line], calls: &'a [Call<'a>]) -> Self {
        let ends = calls.iter().enumerate().filter_map(|(place, call)| Some((call.end_line?, place)));
        let mut ends: Vec<(u64, usize)> = ends.collect();
        ends.sort_unstable();
        Self { lines, calls, ends }
    }

    fn call_at(&self, line: u64) -> Option<usize> {
        let by_end = |end: usize| self.ends.get(end).filter(|(end, _)| *end == line).map(|(_, place)| *place);
        let begun = self.calls.binary_search_by_key(&line, |call| call.line).ok();
        begun.or_else(|| by_end(self.ends.partition_point(|(end, _)| *end < line)))
    }

    /// Where to look for calls that have to do with a line that is none: at the write of a revision, and else at the
    /// last call that began before.
    fn call_about(&self, line: u64, seen: &Line) -> Option<usize> {
        if let Event::Revision { revision, .. } = &seen.event {
            let wrote = |call: &Call<'_>| {
                call.is_acknowledged_write()
                    && call.header().is_some_and(|header| header.revision == *revision)
            };
            return self.calls.iter().position(wrote);
        }
        let before = self.calls.partition_point(|call| call.line < line).saturating_sub(1);
        is_of_the_run(seen).then_some(before)
    }
}

impl Selection {
    pub(super) fn of(index: &Index<'_>, violation: &Violation) -> Option<Self> {
        let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
        let mut anchors: Vec<usize> = Vec::new();
        let mut spans: Vec<Span<'_>> = Vec::new();
        for line in violation.lines.iter().copied() {
            if rows.len() >= EVIDENCE_MAX {
                break;
            }
            if let Some(place) = index.call_at(line) {
                let call = &index.calls[place];
                rows.insert(call.line, call_row(call, true));
                anchors.push(place);
                spans_of_call(call, &mut spans);
            } else if let Some(seen) = usize::try_from(line).ok().and_then(|place| index.lines.get(place)) {
                rows.extend(told_row(line, seen).map(|row| (line, row)));
                anchors.extend(index.call_about(line, seen));
            }
        }
        if spans.is_empty() {
            spans = violation.lines.iter().flat_map(|line| told_spans(index, *line)).collect();
        }
        // The calls among the evidence are found once more.
        let wanted = (ROWS_WANTED + anchors.len()).saturating_sub(rows.len());
        for place in neighbours(index, &anchors, &spans, wanted) {
            let call = &index.calls[place];
            rows.entry(call.line).or_insert_with(|| call_row(call, false));
        }
        let rows: Vec<Row> = rows.into_values().collect();
        let first = rows.iter().filter_map(|row| row.at).min().unwrap_or_default();
        let last = rows.iter().flat_map(|row| [row.at, row.end]).flatten().max().unwrap_or_default();
        (!rows.is_empty()).then_some(Self { rows, span: (first, last) })
    }

    /// Those that were felt while it happened, the first ones.
    pub(super) fn faults<'w, 'a>(&self, windows: &'w [Window<'a>]) -> Vec<&'w Window<'a>> {
        let (first, last) = self.span;
        windows.iter().filter(|window| window.overlaps(first, last)).take(FAULTS_MAX).collect()
    }
}

/// A key, or all keys from one up to another: none is up to the last.
#[derive(Clone, Copy)]
struct Span<'a> {
    from: &'a str,
    end: Option<&'a str>,
    is_one: bool,
}

impl<'a> Span<'a> {
    fn new(from: &'a str, end: Option<&'a str>) -> Self {
        Self { from, end: end.filter(|end| *end != "\0"), is_one: end.is_none() }
    }

    fn overlaps(self, other: Self) -> bool {
        let holds = |span: Self, key: &str| {
            if span.is_one {
                span.from == key
            } else {
                span.from <= key && span.end.is_none_or(|end| key < end)
            }
        };
        holds(self, other.from) || holds(other, self.from)
    }
}

fn spans_of_call<'a>(call: &Call<'a>, spans: &mut Vec<Span<'a>>) {
    match call.exchange {
        Exchange::Store(invoke, _) => spans_of(&invoke.op, spans),
        Exchange::Api(request, _) => spans.push(Span::new(&request.key, None)),
    }
}

fn spans_of<'a>(op: &'a Op, spans: &mut Vec<Span<'a>>) {
    match op {
        Op::Range(range) => spans.push(Span::new(&range.key, range.end.as_deref())),
        Op::Put(put) => spans.push(Span::new(&put.key, None)),
        Op::Delete(delete) => spans.push(Span::new(&delete.key, delete.end.as_deref())),
        Op::Txn(txn) => {
            spans.extend(txn.compare.iter().map(|compare| Span::new(&compare.key, None)));
            for op in txn.then.iter().chain(&txn.otherwise) {
                spans_of(op, spans);
            }
        }
        Op::Lock { name, .. } => spans.push(Span::new(name, None)),
        Op::Unlock { key } => spans.push(Span::new(key, None)),
        Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::KeepAlive { .. }
        | Op::TimeToLive { .. }
        | Op::Status => {}
    }
}

/// The keys that a line tells of which is no call.
fn told_spans<'a>(index: &Index<'a>, line: u64) -> Vec<Span<'a>> {
    let key = |change: &'a Change| match change {
        Change::Put { kv } => Span::new(&kv.key, None),
        Change::Delete { key, .. } => Span::new(key, None),
    };
    match usize::try_from(line).ok().and_then(|place| index.lines.get(place)).map(|line| &line.event) {
        Some(Event::WatchAnswer(answer)) => answer.events.iter().map(|event| key(&event.change)).collect(),
        Some(Event::Revision { changes, .. }) => changes.iter().map(key).collect(),
        _ => Vec::new(),
    }
}

/// The calls on these keys that are nearest to the anchors, on both sides of each.
fn neighbours(index: &Index<'_>, anchors: &[usize], spans: &[Span<'_>], wanted: usize) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut on_keys = Vec::new();
    for distance in 0..=DISTANCE_MAX.min(index.calls.len()) {
        for place in anchors.iter().flat_map(|anchor| [anchor.checked_sub(distance), Some(anchor + distance)])
        {
            if found.len() >= wanted {
                return found;
            }
            let Some((place, call)) = place.and_then(|place| Some((place, index.calls.get(place)?))) else {
                continue;
            };
            on_keys.clear();
            spans_of_call(call, &mut on_keys);
            let is_near = on_keys.iter().any(|key| spans.iter().any(|span| span.overlaps(*key)));
            if is_near && !found.contains(&place) {
                found.push(place);
            }
        }
    }
    found
}

fn call_row(call: &Call<'_>, is_evidence: bool) -> Row {
    Row {
        line: call.line,
        who: format!("p{} → {}", call.process, call.member()),
        asked: call.asked(),
        answered: call.answered(),
        at: Some(call.at),
        end: call.end,
        class: Some(call.class()),
        is_evidence,
    }
}

fn is_of_the_run(line: &Line) -> bool {
    !matches!(line.event, Event::Revision { .. } | Event::Hash { .. } | Event::Landed(_) | Event::Begin(_))
}

/// A line that is no call's; none for what the picture shows otherwise.
fn told_row(number: u64, line: &Line) -> Option<Row> {
    let (who, asked, answered) = match &line.event {
        Event::WatchOpen(open) => {
            let from = if open.start == 0 { "now".to_owned() } else { format!("rev {}", open.start) };
            (
                format!("watch {}", open.watch),
                format!("watch {} from {from}", open.key),
                format!("by {}", open.member),
            )
        }
        Event::WatchAnswer(answer) => {
            (format!("watch {}", answer.watch), watched(answer), watch_state(answer))
        }
        Event::WatchEnd { watch, error } => {
            let why = error.as_ref().map_or("by the client's will".to_owned(), |error| error.code.clone());
            (format!("watch {watch}"), "the stream ended".to_owned(), why)
        }
        Event::Revision { member, revision, changes } => {
            let changes: Vec<String> = changes.iter().map(describe::change).collect();
            (member.clone(), format!("has in its log: {}", changes.join("; ")), format!("rev {revision}"))
        }
        Event::Hash { member, revision, hash, .. } => {
            (member.clone(), "has the hash".to_owned(), format!("{hash:016x} at rev {revision}"))
        }
        Event::Sight(sight) => ("the runner".to_owned(), format!("saw: {sight:?}"), String::new()),
        Event::Note { text } => ("note".to_owned(), text.clone(), String::new()),
        Event::Landed(landed) => (
            landed.member.clone(),
            format!("let through a write of {}", landed.fence),
            format!("rev {}", landed.revision),
        ),
        Event::Begin(_) | Event::Phase { .. } | Event::Fault(_) => return None,
        Event::Invoke(_) | Event::Return { .. } | Event::Request(_) | Event::Reply { .. } => return None,
    };
    let at = is_of_the_run(line).then_some(line.at);
    Some(Row { line: number, who, asked, answered, at, end: None, class: None, is_evidence: true })
}

fn watched(answer: &WatchAnswer) -> String {
    match answer.events.as_slice() {
        [] if answer.created => "is told that it was created".to_owned(),
        [] if answer.canceled.is_some() => "is told that it was canceled".to_owned(),
        [] => "is told of progress".to_owned(),
        [one] => format!("is told: {}", describe::change(&one.change)),
        [first, ..] => {
            let all = counted(answer.events.len() as u64, "event");
            format!("is told {all}: {}; …", describe::change(&first.change))
        }
    }
}

fn watch_state(answer: &WatchAnswer) -> String {
    let revisions = answer.events.iter().map(|event| match &event.change {
        Change::Put { kv } => kv.modified,
        Change::Delete { modified, .. } => *modified,
    });
    match (revisions.clone().min(), revisions.max()) {
        (Some(first), Some(last)) if first == last => {
            format!("rev {first}, header {}", answer.header.revision)
        }
        (Some(first), Some(last)) => format!("rev {first}…{last}, header {}", answer.header.revision),
        _ => format!("header {}", answer.header.revision),
    }
}
