//! The small picture of one violation: who asked what when, what was answered, and which faults lasted meanwhile.
//!
//! Time is compressed: what counts is the order, so a pause of a minute takes little more room than one of a
//! millisecond.

mod selection;

use self::selection::{Row, Selection};
use super::calls::Class;
use super::faults::Window;
use super::markup::{At, Markup, Text};
use super::words::{duration, moment, shortened, targets};
use crate::verdict::Violation;

pub(super) use self::selection::Index;

const WIDTH: f64 = 1000.0;
const ASKED: f64 = 78.0;
const LEFT: f64 = 386.0;
const RIGHT: f64 = 764.0;
const ANSWERED: f64 = 776.0;
const ROW: f64 = 21.0;
const BAR: f64 = 11.0;
const ASKED_CHARS_MAX: usize = 46;
const ANSWERED_CHARS_MAX: usize = 34;

/// None when no line of the violation can be shown.
pub(super) fn draw(index: &Index<'_>, windows: &[Window<'_>], violation: &Violation) -> Option<String> {
    let selection = Selection::of(index, violation)?;
    let faults = selection.faults(windows);
    let picture =
        Picture { axis: Compressed::of(&selection, &faults), top: 22.0 + 13.0 * faults.len() as f64 };
    let bottom = picture.top + ROW * selection.rows.len() as f64;
    let mut out = Markup::default();
    out.put(format_args!(
        "<svg class=\"anomaly\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
        At(WIDTH),
        At(bottom + 24.0),
        Text(&violation.what)
    ));
    picture.head(&mut out);
    for (place, window) in faults.iter().enumerate() {
        picture.fault(&mut out, window, place, bottom);
    }
    for (place, row) in selection.rows.iter().enumerate() {
        picture.row(&mut out, row, picture.top + ROW * place as f64);
    }
    picture.ticks(&mut out, &selection, bottom);
    out.put(format_args!("</svg>\n"));
    Some(out.into_string())
}

struct Picture {
    axis: Compressed,
    /// Of the first row.
    top: f64,
}

impl Picture {
    fn head(&self, out: &mut Markup) {
        for (x, title) in [(14.0, "who"), (ASKED, "asked"), (LEFT, "when"), (ANSWERED, "was answered")] {
            out.put(format_args!("<text class=\"faint\" x=\"{}\" y=\"11\">{title}</text>", At(x)));
        }
        out.put(format_args!("\n"));
    }

    fn fault(&self, out: &mut Markup, window: &Window<'_>, place: usize, bottom: f64) {
        let (x, end) = (self.axis.x(window.from), self.axis.x(window.until));
        let y = 16.0 + 13.0 * place as f64;
        let (width, label) = (At((end - x).max(2.0)), format!("{} {}", window.kind, targets(window.target)));
        out.put(format_args!(
            "<rect class=\"band\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{}\"/>",
            At(self.top - 3.0),
            At(bottom - self.top + 3.0),
            x = At(x)
        ));
        out.put(format_args!(
            "<rect class=\"fault\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"11\" rx=\"2\"/>",
            x = At(x),
            y = At(y)
        ));
        let (anchor, x) =
            if x > (LEFT + RIGHT) / 2.0 { ("end", x - 4.0) } else { ("start", x.max(LEFT) + 3.0) };
        let class = if anchor == "end" { "end small" } else { "onfault small" };
        let (x, y) = (At(x), At(y + 9.0));
        out.put(format_args!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>\n",
            Text(&shortened(&label, 40))
        ));
    }

    fn row(&self, out: &mut Markup, row: &Row, y: f64) {
        let text_y = At(y + 13.0);
        let class = if row.is_evidence { "row evidence" } else { "row" };
        out.put(format_args!(
            "<g class=\"{class}\"><title>line {}: {} {} → {}</title>",
            row.line,
            Text(&row.who),
            Text(&row.asked),
            Text(&row.answered)
        ));
        if row.is_evidence {
            out.put(format_args!("<path class=\"mark\" d=\"M2 {}l7 4l-7 4z\"/>", At(y + 5.0)));
        }
        let asked = shortened(&row.asked, ASKED_CHARS_MAX);
        let answered = shortened(&row.answered, ANSWERED_CHARS_MAX);
        for (x, text) in [(14.0, row.who.as_str()), (ASKED, asked.as_str()), (ANSWERED, answered.as_str())] {
            out.put(format_args!("<text x=\"{}\" y=\"{text_y}\">{}</text>", At(x), Text(text)));
        }
        if let Some(at) = row.at {
            self.bar(out, row, at, y + 4.0);
        }
        out.put(format_args!("</g>\n"));
    }

    /// A call is a bar, open to the right when nobody knows its end; something that was told is a diamond.
    fn bar(&self, out: &mut Markup, row: &Row, at: u64, y: f64) {
        let x = self.axis.x(at);
        let Some(class) = row.class else {
            out.put(format_args!("<path class=\"told\" d=\"M{} {}l5 5.5l-5 5.5l-5 -5.5z\"/>", At(x), At(y)));
            return;
        };
        let class = match class {
            Class::Ok => "ok",
            Class::Refused => "refused",
            Class::Unknown => "unknown",
        };
        let end = row.end.map_or(RIGHT, |end| self.axis.x(end));
        let (width, y) = (At((end - x).max(3.0)), At(y));
        out.put(format_args!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{width}\" height=\"{}\" rx=\"2\"/>",
            At(x),
            At(BAR)
        ));
        if row.end.is_none() {
            out.put(format_args!("<path class=\"open\" d=\"M{} {y}l7 5.5l-7 5.5\"/>", At(end - 8.0)));
        }
    }

    /// The first moment as it is, some later ones by their distance from it.
    fn ticks(&self, out: &mut Markup, selection: &Selection, bottom: f64) {
        let (first, last) = selection.span;
        let mut free = f64::MIN;
        for at in self.axis.times.iter().copied().filter(|at| (first..=last).contains(at)) {
            let x = self.axis.x(at);
            if x < free {
                continue;
            }
            let label = if at == first { moment(at) } else { format!("+{}", duration(at - first)) };
            out.put(format_args!("<path class=\"axis\" d=\"M{} {}v4\"/>", At(x), At(bottom)));
            out.put(format_args!(
                "<text class=\"faint small\" x=\"{}\" y=\"{}\">{label}</text>\n",
                At(x),
                At(bottom + 15.0)
            ));
            free = x + 7.0 * label.chars().count() as f64 + 8.0;
        }
    }
}

/// Moments with room between them that grows with the logarithm of the time between them.
struct Compressed {
    times: Vec<u64>,
    /// Place of each, from zero to one.
    places: Vec<f64>,
}

impl Compressed {
    fn of(selection: &Selection, faults: &[&Window<'_>]) -> Self {
        let (first, last) = selection.span;
        let rows = selection.rows.iter().flat_map(|row| [row.at, row.end]).flatten();
        let faults = faults.iter().flat_map(|window| [window.from, window.until]);
        let mut times: Vec<u64> = rows.chain(faults).filter(|at| (first..=last).contains(at)).collect();
        times.sort_unstable();
        times.dedup();
        let room = |pair: &[u64]| 1.0 + ((pair[1] - pair[0]) as f64 / 1_000.0 + 1.0).log10();
        let rooms: Vec<f64> = times.windows(2).map(room).collect();
        let whole: f64 = rooms.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut place = 0.0;
        let mut places = vec![0.0];
        for room in rooms {
            place += room / whole;
            places.push(place);
        }
        Self { times, places }
    }

    /// Of any moment; what is outside stands at the edge.
    fn x(&self, at: u64) -> f64 {
        let next = self.times.partition_point(|time| *time < at);
        let place = self.places.get(next).copied().unwrap_or(1.0);
        LEFT + (RIGHT - LEFT) * place
    }
}
