//! The life of each fault, put together from its steps.

use crate::history::{FaultCourse, History, Step};

#[derive(Clone, Debug)]
pub(super) struct Window<'a> {
    pub(super) fault: u64,
    pub(super) kind: &'a str,
    pub(super) target: &'a [String],
    /// When it was first heard of, in nanoseconds since the run began.
    pub(super) from: u64,
    /// When it was healed, or else when the run ended.
    pub(super) until: u64,
    pub(super) installed: Install<'a>,
    /// The proof of its healing; none when it lasted to the end.
    pub(super) healed: Option<&'a str>,
}

/// Whether it happened, with the proof or the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Install<'a> {
    Seen(&'a str),
    Skipped(&'a str),
    Indeterminate(&'a str),
}

impl Window<'_> {
    /// Whether the cluster felt it, as far as anyone knows.
    pub(super) fn is_felt(&self) -> bool {
        match self.installed {
            Install::Seen(_) | Install::Indeterminate(_) => true,
            Install::Skipped(_) => false,
        }
    }

    pub(super) fn overlaps(&self, from: u64, until: u64) -> bool {
        self.is_felt() && self.from <= until && from <= self.until
    }
}

/// All faults in the order of their first steps. `end` is the run's.
pub(super) fn windows(history: &History, end: u64) -> Vec<Window<'_>> {
    history.faults().iter().filter_map(|course| window(course, end)).collect()
}

fn window<'a>(course: &FaultCourse<'a>, end: u64) -> Option<Window<'a>> {
    let from = course.steps.first()?.0.at;
    let mut window = Window {
        fault: course.fault.fault,
        kind: &course.fault.kind,
        target: &course.fault.target,
        from,
        until: end.max(from),
        installed: Install::Indeterminate("no step tells that it was installed"),
        healed: None,
    };
    for (place, step) in &course.steps {
        match step {
            Step::Installed { evidence } => window.installed = Install::Seen(evidence),
            Step::Skipped { reason } => {
                window.installed = Install::Skipped(reason);
                window.until = from;
            }
            // What is said after it was installed is about its healing.
            Step::Indeterminate { .. } if matches!(window.installed, Install::Seen(_)) => {}
            Step::Indeterminate { reason } => window.installed = Install::Indeterminate(reason),
            Step::Healed { evidence } => {
                window.healed = Some(evidence);
                window.until = place.at;
            }
        }
    }
    Some(window)
}
