//! A lane for each member: up, or what the faults made of it.

use super::faults::Window;
use super::markup::{At, Markup, Text};
use super::timeline::{Scene, panel_name};
use super::words::{duration, moment, targets};

const LANE: f64 = 20.0;
const BAR: f64 = 14.0;
/// Width of a letter of a bar's label.
const LETTER: f64 = 5.6;

/// How a member is while a fault lasts; the names are classes of the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Down,
    Paused,
    CutOff,
    PartlyCut,
    Disk,
    Clock,
    Other,
}

impl State {
    pub(super) const ALL: [Self; 7] =
        [Self::Down, Self::Paused, Self::CutOff, Self::PartlyCut, Self::Disk, Self::Clock, Self::Other];

    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Paused => "paused",
            Self::CutOff => "cut",
            Self::PartlyCut => "partly",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Other => "other",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Paused => "paused",
            Self::CutOff => "cut off",
            Self::PartlyCut => "partly cut off",
            Self::Disk => "disk trouble",
            Self::Clock => "clock trouble",
            Self::Other => "other trouble",
        }
    }

    /// Of a member under this fault; none if the fault is not about it.
    pub(super) fn of(window: &Window<'_>, member: &str, members: usize) -> Option<Self> {
        let links = window.target.iter().filter(|target| is_link_of(target, member)).count();
        let is_named = window.target.iter().any(|target| target == member);
        if links > 0 {
            let is_whole = links >= 2 * members.saturating_sub(1);
            return Some(match (Self::of_kind(window.kind), is_whole) {
                (Self::CutOff, false) => Self::PartlyCut,
                (state, _) => state,
            });
        }
        is_named.then(|| Self::of_kind(window.kind))
    }

    /// Kinds are names that grow with time; a word in them tells what they do.
    fn of_kind(kind: &str) -> Self {
        const WORDS: [(&str, State); 23] = [
            ("kill", State::Down),
            ("power", State::Down),
            ("crash", State::Down),
            ("blackout", State::Down),
            ("stop", State::Down),
            ("restart", State::Down),
            ("wipe", State::Down),
            ("pause", State::Paused),
            ("freeze", State::Paused),
            ("partition", State::CutOff),
            ("isolate", State::CutOff),
            ("bridge", State::CutOff),
            ("ring", State::CutOff),
            ("cut", State::CutOff),
            ("one-way", State::CutOff),
            ("disk", State::Disk),
            ("sync", State::Disk),
            ("corrupt", State::Disk),
            ("full", State::Disk),
            ("rot", State::Disk),
            ("eio", State::Disk),
            ("clock", State::Clock),
            ("time", State::Clock),
        ];
        WORDS.iter().find(|(word, _)| kind.contains(word)).map_or(Self::Other, |(_, state)| *state)
    }
}

/// The lower edge of what was drawn.
pub(super) fn draw(out: &mut Markup, scene: &Scene<'_>, top: f64) -> f64 {
    panel_name(out, top, "members", "");
    for (place, member) in scene.members().iter().enumerate() {
        let y = top + LANE * place as f64;
        lane(out, scene, member, y);
    }
    top + LANE * scene.members().len() as f64
}

fn lane(out: &mut Markup, scene: &Scene<'_>, member: &str, y: f64) {
    let (left, right) = (scene.axis.x(0), scene.axis.x(scene.axis.end));
    out.put(format_args!(
        "<text class=\"end\" x=\"{}\" y=\"{}\">{}</text>",
        At(left - 5.0),
        At(y + 11.0),
        Text(member)
    ));
    out.put(format_args!("<path class=\"up\" d=\"M{} {}H{}\"/>\n", At(left), At(y + BAR / 2.0), At(right)));
    for window in scene.windows.iter().filter(|window| window.is_felt()) {
        if let Some(state) = State::of(window, member, scene.members().len()) {
            bar(out, scene, window, state, y);
        }
    }
}

fn bar(out: &mut Markup, scene: &Scene<'_>, window: &Window<'_>, state: State, y: f64) {
    let (x, end) = (scene.axis.x(window.from), scene.axis.x(window.until));
    let width = (end - x).max(2.0);
    let lasted = duration(window.until - window.from);
    out.put(format_args!(
        "<g class=\"state {}\"><title>{} {} at {} for {lasted}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"2\"/>",
        state.class(),
        Text(window.kind),
        Text(&targets(window.target)),
        moment(window.from),
        At(x),
        At(y),
        At(width),
        At(BAR)
    ));
    if window.kind.chars().count() as f64 * LETTER + 4.0 <= width {
        out.put(format_args!(
            "<text x=\"{}\" y=\"{}\">{}</text>",
            At(x + 3.0),
            At(y + 10.5),
            Text(window.kind)
        ));
    }
    out.put(format_args!("</g>\n"));
}

fn is_link_of(target: &str, member: &str) -> bool {
    target.split_once('>').is_some_and(|(from, to)| from == member || to == member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::faults::Install;

    fn state(kind: &str, target: &[&str], member: &str) -> Option<State> {
        let target: Vec<String> = target.iter().map(|name| (*name).to_owned()).collect();
        let installed = Install::Seen("");
        let window = Window { fault: 1, kind, target: &target, from: 0, until: 1, installed, healed: None };
        State::of(&window, member, 3)
    }

    #[test]
    fn a_fault_is_about_its_targets() {
        assert_eq!(state("kill", &["n1"], "n1"), Some(State::Down));
        assert_eq!(state("kill", &["n1"], "n2"), None);
        assert_eq!(state("slow-sync", &["n1"], "n1"), Some(State::Disk));
        assert_eq!(state("moon-phase", &["n1"], "n1"), Some(State::Other));
    }

    #[test]
    fn whoever_lost_all_links_is_cut_off_and_the_others_partly() {
        let all = ["n1>n2", "n1>n3", "n2>n1", "n3>n1"];
        assert_eq!(state("partition", &all, "n1"), Some(State::CutOff));
        assert_eq!(state("partition", &all, "n2"), Some(State::PartlyCut));
        assert_eq!(state("partition", &["n1>n2"], "n3"), None);
        assert_eq!(state("delay", &["n1>n2"], "n1"), Some(State::Other));
    }
}
