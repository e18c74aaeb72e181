//! Rates by outcome, and the map of latencies, over time.
//!
//! All is counted in columns of equal time first, so that a million calls take no more room than a thousand.

use super::calls::{Call, Class};
use super::latency::{Column, HeatMap, ROWS_PER_DECADE, column_of};
use super::markup::{At, Markup};
use super::timeline::{Axis, Scene, level, panel_name};
use super::words::{count, duration};

const COLUMNS: usize = 240;
const SUCCEEDED_HEIGHT: f64 = 72.0;
const FAILED_HEIGHT: f64 = 44.0;
const HEAT_ROW: f64 = 4.0;
/// Shades of the heat map, from a single call to the most.
const SHADES: usize = 6;

/// The lower edge of what was drawn, as of the others.
pub(super) fn succeeded(out: &mut Markup, scene: &Scene<'_>, top: f64) -> f64 {
    panel_name(out, top, "ok", "calls/s");
    let per_column = counts(scene, Class::Ok);
    let bars = Bars { axis: scene.axis, floor: top + SUCCEEDED_HEIGHT, height: SUCCEEDED_HEIGHT };
    let most = per_column.iter().copied().max().unwrap_or_default();
    bars.scale(out, most);
    bars.draw(out, "ok", &per_column, &[0; COLUMNS], most);
    bars.floor
}

pub(super) fn failed(out: &mut Markup, scene: &Scene<'_>, top: f64) -> f64 {
    panel_name(out, top, "failed", "calls/s");
    let (refused, unknown) = (counts(scene, Class::Refused), counts(scene, Class::Unknown));
    let most =
        refused.iter().zip(&unknown).map(|(refused, unknown)| refused + unknown).max().unwrap_or_default();
    let bars = Bars { axis: scene.axis, floor: top + FAILED_HEIGHT, height: FAILED_HEIGHT };
    bars.scale(out, most);
    bars.draw(out, "unknown", &unknown, &[0; COLUMNS], most);
    bars.draw(out, "refused", &refused, &unknown, most);
    bars.floor
}

pub(super) fn latencies(out: &mut Markup, scene: &Scene<'_>, top: f64) -> f64 {
    panel_name(out, top, "latency", "of ok");
    let Some(map) = HeatMap::of(scene.calls, scene.axis.end, COLUMNS) else { return top + 30.0 };
    let floor = top + HEAT_ROW * map.rows as f64;
    let heat = Heat { axis: scene.axis, map: &map, floor };
    heat.decades(out);
    for shade in 1..=SHADES {
        heat.cells(out, shade);
    }
    heat.line(out, "p50", |column| column.p50_ns);
    heat.line(out, "p99", |column| column.p99_ns);
    floor
}

/// How many calls ended, by column. What never returned stands where it began.
fn counts(scene: &Scene<'_>, class: Class) -> [u64; COLUMNS] {
    let mut counts = [0; COLUMNS];
    let when = |call: &Call<'_>| call.end.unwrap_or(call.at);
    for call in scene.calls.iter().filter(|call| call.class() == class) {
        counts[column_of(when(call), scene.axis.end, COLUMNS)] += 1;
    }
    counts
}

struct Bars {
    axis: Axis,
    floor: f64,
    height: f64,
}

impl Bars {
    fn scale(&self, out: &mut Markup, most: u64) {
        level(out, self.floor, "0");
        let per_second = most as f64 * COLUMNS as f64 / (self.axis.end.max(1) as f64 / 1e9);
        if most > 0 {
            level(out, self.floor - self.height, &count(per_second.round() as u64));
        }
    }

    /// One path for all bars, each on top of what is below it.
    fn draw(
        &self,
        out: &mut Markup,
        class: &str,
        counts: &[u64; COLUMNS],
        below: &[u64; COLUMNS],
        most: u64,
    ) {
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let y = |count: u64| At(self.floor - self.height * count as f64 / most.max(1) as f64);
        out.put(format_args!("<path class=\"{class}\" d=\""));
        for (column, (count, below)) in
            counts.iter().zip(below).enumerate().filter(|(_, (count, _))| **count > 0)
        {
            let (x, end) = (At(self.axis.column(column, COLUMNS)), At(self.axis.column(column + 1, COLUMNS)));
            out.put(format_args!("M{x} {}V{}H{end}V{}z", y(*below), y(below + count), y(*below)));
        }
        out.put(format_args!("\"/>\n"));
    }
}

struct Heat<'a> {
    axis: Axis,
    map: &'a HeatMap,
    floor: f64,
}

impl Heat<'_> {
    fn y(&self, latency_ns: u64) -> f64 {
        self.floor - HEAT_ROW * self.map.height(latency_ns)
    }

    /// A line at each power of ten within the map.
    fn decades(&self, out: &mut Markup) {
        let highest = self.map.lowest + self.map.rows;
        let first = self.map.lowest.div_ceil(ROWS_PER_DECADE);
        for decade in first..=highest / ROWS_PER_DECADE {
            let exponent = u32::try_from(decade).unwrap_or(0) + 3;
            let latency_ns = 10_u64.saturating_pow(exponent);
            level(out, self.y(latency_ns), &duration(latency_ns));
        }
    }

    /// All cells of one shade; neighbours in a row are one piece.
    fn cells(&self, out: &mut Markup, shade: usize) {
        let mut path = Markup::default();
        for row in 0..self.map.rows {
            let mut column = 0;
            while column < COLUMNS {
                let run =
                    self.map.columns[column..].iter().take_while(|cell| self.shade(cell.cells[row]) == shade);
                let length = run.count();
                if length > 0 {
                    let (x, end) =
                        (self.axis.column(column, COLUMNS), self.axis.column(column + length, COLUMNS));
                    let y = self.floor - HEAT_ROW * (row + 1) as f64;
                    path.put(format_args!("M{} {}H{}v{}H{}z", At(x), At(y), At(end), At(HEAT_ROW), At(x)));
                }
                column += length.max(1);
            }
        }
        let path = path.into_string();
        if !path.is_empty() {
            out.put(format_args!("<path class=\"heat heat{shade}\" d=\"{path}\"/>\n"));
        }
    }

    /// From nothing (0) to the most, by the logarithm: rare slow calls are to be seen.
    fn shade(&self, calls: u64) -> usize {
        if calls == 0 {
            return 0;
        }
        let part = (calls as f64).ln() / (self.map.most.max(2) as f64).ln();
        1 + (part * (SHADES - 1) as f64).round() as usize
    }

    /// Broken where no call ended.
    fn line(&self, out: &mut Markup, class: &str, latency: impl Fn(&Column) -> Option<u64>) {
        out.put(format_args!("<path class=\"line {class}\" d=\""));
        let mut is_drawing = false;
        for (place, column) in self.map.columns.iter().enumerate() {
            let Some(latency_ns) = latency(column) else {
                is_drawing = false;
                continue;
            };
            let (x, end) = (At(self.axis.column(place, COLUMNS)), At(self.axis.column(place + 1, COLUMNS)));
            let (y, step) = (At(self.y(latency_ns)), if is_drawing { 'L' } else { 'M' });
            out.put(format_args!("{step}{x} {y}H{end}"));
            is_drawing = true;
        }
        out.put(format_args!("\"/>\n"));
    }
}
