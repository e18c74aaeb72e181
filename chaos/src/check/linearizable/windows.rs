//! Cuts the calls on one key into windows that can be searched one by one.

use std::collections::BTreeMap;

use super::register::{Call, Register, Value, Write};

/// Calls to be explained together, by their places; those of unknown outcome that may fall into it are among them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// As far as a lone call before the cut tells.
    pub(super) start: Register,
    pub(super) calls: Vec<usize>,
}

/// Cuts after at least `calls_max` calls, where nothing is under way and it is known what the register holds; where
/// that is never so, after twice as many, wherever nothing is under way.
pub(super) fn cut(calls: &[Call], calls_max: usize) -> Vec<Window> {
    let mut known: Vec<usize> = (0..calls.len()).filter(|&call| calls[call].returned.is_some()).collect();
    known.sort_by_key(|&call| calls[call].invoked);
    let done = done_by(calls);
    let mut windows = Vec::new();
    let mut start = Register::NOTHING;
    let mut window: Vec<usize> = Vec::new();
    // The calls since nothing was under way, and when the last of them returned.
    let (mut together, mut busy_until) = (0, 0);
    for call in known {
        if together > 0 && calls[call].invoked > busy_until {
            let lone = (together == 1)
                .then(|| window.last().and_then(|&last| Register::ANY.after(&calls[last])))
                .flatten();
            let told = lone.filter(|register| register.value.is_some());
            if window.len() >= 2 * calls_max || (window.len() >= calls_max && told.is_some()) {
                windows.push(finished(start, std::mem::take(&mut window), calls, &done));
                start = told.unwrap_or(Register::ANY);
            }
            together = 0;
        }
        together += 1;
        busy_until = busy_until.max(calls[call].returned.unwrap_or(u64::MAX));
        window.push(call);
    }
    if !window.is_empty() {
        windows.push(finished(start, window, calls, &done));
    }
    windows
}

/// Adds the calls of unknown outcome that may have taken effect in the window.
fn finished(start: Register, mut window: Vec<usize>, calls: &[Call], done: &BTreeMap<usize, u64>) -> Window {
    let begin = window.first().map_or(0, |&first| calls[first].invoked);
    let end = window.iter().filter_map(|&call| calls[call].returned).max().unwrap_or(0);
    let unknown =
        (0..calls.len()).filter(|&call| calls[call].returned.is_none() && calls[call].invoked <= end);
    window.extend(unknown.filter(|call| done.get(call).is_none_or(|&by| by >= begin)));
    Window { start, calls: window }
}

/// Calls of unknown outcome that certainly took effect, and by when: nobody else put what they put, and it was seen.
fn done_by(calls: &[Call]) -> BTreeMap<usize, u64> {
    let mut writers: BTreeMap<Value, Vec<usize>> = BTreeMap::new();
    let mut seen: BTreeMap<Value, u64> = BTreeMap::new();
    for (place, call) in calls.iter().enumerate() {
        if let Some(Write::Put(value)) = call.input.write {
            writers.entry(value).or_default().push(place);
        }
        let Some(returned) = call.returned else { continue };
        for value in [call.output.before.value, call.output.after.value].into_iter().flatten() {
            let first = seen.entry(value).or_insert(returned);
            *first = returned.min(*first);
        }
    }
    let lone = writers.into_iter().filter_map(|(value, places)| match places[..] {
        [place] if calls[place].returned.is_none() => seen.get(&value).map(|&by| (place, by)),
        _ => None,
    });
    lone.collect()
}
