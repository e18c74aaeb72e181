//! The run in one picture: members, rates and latencies above each other on one axis of time, the faults behind them.

use super::calls::Call;
use super::faults::Window;
use super::markup::{At, Markup, Text};
use super::words::moment;
use super::{lanes, rates};
use crate::history::{Event, History};
use crate::verdict::Finding;

pub(super) const WIDTH: f64 = 1000.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 990.0;
const GAP: f64 = 18.0;

/// Everything that the picture shows.
pub(super) struct Scene<'a> {
    pub(super) history: &'a History,
    pub(super) calls: &'a [Call<'a>],
    pub(super) windows: &'a [Window<'a>],
    pub(super) findings: &'a [Finding],
    pub(super) axis: Axis,
}

/// Time, from the run's beginning to its end, across the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// In nanoseconds.
    pub(super) end: u64,
}

impl Axis {
    pub(super) fn x(self, at: u64) -> f64 {
        LEFT + (RIGHT - LEFT) * (at.min(self.end) as f64 / self.end.max(1) as f64)
    }

    /// Where one of so many columns of equal time begins.
    pub(super) fn column(self, column: usize, columns: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * column as f64 / columns as f64
    }

    /// Round moments, at most a dozen, in nanoseconds.
    fn ticks(self) -> Vec<u64> {
        const SECOND: u64 = 1_000_000_000;
        const STEPS_S: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400];
        let fits = |step: &&u64| self.end / (**step * SECOND) <= 12;
        let step = STEPS_S.iter().find(fits).map_or(self.end / 12, |step| step * SECOND).max(1);
        if self.end < SECOND {
            return vec![0, self.end];
        }
        (0..=self.end / step).map(|tick| tick * step).collect()
    }
}

/// The whole picture.
pub(super) fn draw(scene: &Scene<'_>) -> String {
    let mut panels = Markup::default();
    let top = 48.0;
    let mut bottom = lanes::draw(&mut panels, scene, top);
    bottom = rates::succeeded(&mut panels, scene, bottom + GAP);
    bottom = rates::failed(&mut panels, scene, bottom + GAP);
    bottom = rates::latencies(&mut panels, scene, bottom + GAP);
    let mut out = Markup::default();
    let height = At(bottom + 24.0);
    out.put(format_args!(
        "<svg class=\"timeline\" viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"The run over time\">\n",
        At(WIDTH)
    ));
    behind(&mut out, scene, top, bottom);
    out.put(format_args!("{}", panels.into_string()));
    in_front(&mut out, scene, top, bottom);
    out.put(format_args!("</svg>\n"));
    out.into_string()
}

/// The name of a panel, at its left.
pub(super) fn panel_name(out: &mut Markup, top: f64, name: &str, unit: &str) {
    out.put(format_args!("<text class=\"panel\" x=\"2\" y=\"{}\">{}</text>", At(top + 11.0), Text(name)));
    out.put(format_args!("<text class=\"faint\" x=\"2\" y=\"{}\">{}</text>\n", At(top + 24.0), Text(unit)));
}

/// A horizontal line with the number that it stands for.
pub(super) fn level(out: &mut Markup, y: f64, label: &str) {
    out.put(format_args!(
        "<path class=\"grid\" d=\"M{} {y}H{}\"/><text class=\"faint end\" x=\"{}\" y=\"{}\">{}</text>\n",
        At(LEFT),
        At(RIGHT),
        At(LEFT - 5.0),
        At(y + 3.5),
        Text(label),
        y = At(y)
    ));
}

impl Scene<'_> {
    pub(super) fn members(&self) -> &[String] {
        &self.history.begin().members
    }

    /// When each violation showed: the last line of it that belongs to the run.
    fn violations(&self) -> impl Iterator<Item = (u64, &str)> {
        self.findings.iter().flat_map(|finding| &finding.violations).filter_map(|violation| {
            let mut shown = violation.lines.iter().rev().filter_map(|line| {
                let line = self.history.lines().get(usize::try_from(*line).ok()?)?;
                (!matches!(line.event, Event::Revision { .. } | Event::Hash { .. } | Event::Landed(_)))
                    .then_some(line.at)
            });
            shown.next().map(|at| (at, violation.what.as_str()))
        })
    }
}

/// Where any fault was felt, the background is darker; overlapping faults make one band.
fn behind(out: &mut Markup, scene: &Scene<'_>, top: f64, bottom: f64) {
    let mut felt: Vec<(u64, u64)> = scene
        .windows
        .iter()
        .filter(|window| window.is_felt())
        .map(|window| (window.from, window.until))
        .collect();
    felt.sort_unstable();
    let mut bands: Vec<(u64, u64)> = Vec::new();
    for (from, until) in felt {
        match bands.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => bands.push((from, until)),
        }
    }
    for (from, until) in bands {
        let (x, width) = (scene.axis.x(from), (scene.axis.x(until) - scene.axis.x(from)).max(1.0));
        out.put(format_args!(
            "<rect class=\"band\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
            At(x),
            At(top),
            At(width),
            At(bottom - top)
        ));
    }
}

/// Ticks, phases and violations.
fn in_front(out: &mut Markup, scene: &Scene<'_>, top: f64, bottom: f64) {
    for tick in scene.axis.ticks() {
        let x = At(scene.axis.x(tick));
        out.put(format_args!("<path class=\"axis\" d=\"M{x} {}v4\"/>", At(bottom)));
        let label = if scene.axis.end < 1_000_000_000 { moment(tick) } else { seconds(tick) };
        out.put(format_args!(
            "<text class=\"faint middle\" x=\"{x}\" y=\"{}\">{label}</text>\n",
            At(bottom + 16.0)
        ));
    }
    let mut free = [f64::MIN; 3];
    for phase in scene.history.phases() {
        let x = scene.axis.x(phase.from.at);
        out.put(format_args!("<path class=\"phase\" d=\"M{} {}V{}\"/>", At(x), At(top - 12.0), At(bottom)));
        // Labels that would cover each other stand on several heights.
        let width = 6.0 * phase.name.chars().count() as f64;
        let is_last = x + 3.0 + width > WIDTH;
        let (place, x, left) =
            if is_last { ("end", x - 3.0, x - 3.0 - width) } else { ("start", x + 3.0, x + 3.0) };
        let height = free.iter().position(|free| *free <= left).unwrap_or(0);
        free[height] = left + width + 5.0;
        out.put(format_args!(
            "<text class=\"faint {place}\" x=\"{}\" y=\"{}\">{}</text>\n",
            At(x),
            At(top - 14.0 - 11.0 * height as f64),
            Text(phase.name)
        ));
    }
    for (at, what) in scene.violations().take(VIOLATIONS_MAX) {
        let x = At(scene.axis.x(at));
        out.put(format_args!(
            "<g class=\"broken\"><title>{}</title><path d=\"M{x} {}V{}\"/>",
            Text(what),
            At(top),
            At(bottom)
        ));
        out.put(format_args!("<path class=\"flag\" d=\"M{x} {}l-5 -9h10z\"/></g>\n", At(top)));
    }
}

/// More than these nobody could tell apart.
const VIOLATIONS_MAX: usize = 200;

fn seconds(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    if seconds >= 120 && seconds.is_multiple_of(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}
