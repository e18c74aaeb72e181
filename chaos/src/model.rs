//! The store at every revision, as the members' logs tell it: what all answers are held against.
//!
//! Made from nothing but a history, and shares no code with the store. It exists only when every revision since the
//! beginning is known; a hole would make every later state a guess.

mod recover;
mod view;

use std::collections::BTreeMap;

use crate::history::{Change, Kv};

pub use recover::{Recovered, recover};
pub use view::{View, has_written, is_write};

/// Every state from the beginning to the last revision that anybody told.
pub struct Model<'a> {
    /// Of the empty store.
    begin: u64,
    /// By revision, from the first after the beginning: where its changes start, and the line that tells it.
    entries: Vec<(u32, u64)>,
    changes: Vec<&'a Change>,
    /// In order; a key's place is its number.
    keys: Vec<&'a str>,
    /// By key's number: where its states start.
    starts: Vec<u32>,
    /// By key, then by revision: the revision, and the place of the change.
    states: Vec<(u64, u32)>,
}

/// A revision, its line, and what it did, in the order of its operations.
pub(crate) type Told<'a> = (u64, u64, Vec<&'a Change>);

impl<'a> Model<'a> {
    /// `told` begins right after `begin` and leaves out nothing.
    fn new(begin: u64, told: impl Iterator<Item = Told<'a>>) -> Self {
        let (mut entries, mut changes) = (Vec::new(), Vec::new());
        for (_, line, of_revision) in told {
            entries.push((index(changes.len()), line));
            changes.extend(of_revision);
        }
        let mut model =
            Self { begin, entries, changes, keys: Vec::new(), starts: Vec::new(), states: Vec::new() };
        model.index();
        model
    }

    /// Counting sort by key: revisions of one key stay in order.
    fn index(&mut self) {
        let mut numbers: BTreeMap<&'a str, u32> =
            self.changes.iter().map(|change| (key_of(change), 0)).collect();
        for (number, place) in numbers.values_mut().enumerate() {
            *place = index(number);
        }
        self.keys = numbers.keys().copied().collect();
        let of_change: Vec<u32> = self.changes.iter().map(|change| numbers[key_of(change)]).collect();
        self.starts = vec![0; self.keys.len() + 1];
        for key in &of_change {
            self.starts[*key as usize + 1] += 1;
        }
        for key in 1..self.starts.len() {
            self.starts[key] += self.starts[key - 1];
        }
        let mut next = self.starts.clone();
        self.states = vec![(0, 0); self.changes.len()];
        for revision in self.revisions() {
            for place in self.places(revision) {
                let key = of_change[place] as usize;
                self.states[next[key] as usize] = (revision, index(place));
                next[key] += 1;
            }
        }
    }

    /// The revision of the empty store.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The newest revision that anybody told.
    pub fn last(&self) -> u64 {
        self.begin + self.entries.len() as u64
    }

    /// All that changed something.
    pub fn revisions(&self) -> std::ops::RangeInclusive<u64> {
        self.begin + 1..=self.last()
    }

    /// Whether the store has ever been at that revision.
    pub fn has(&self, revision: u64) -> bool {
        (self.begin..=self.last()).contains(&revision)
    }

    /// What a revision did, in the order of its operations; nothing, for one that does not exist.
    pub fn changes(&self, revision: u64) -> &[&'a Change] {
        &self.changes[self.places(revision)]
    }

    /// The history's line that tells a revision.
    pub fn line(&self, revision: u64) -> Option<u64> {
        self.entry(revision).map(|entry| self.entries[entry].1)
    }

    /// What a key held after a revision.
    pub fn get(&self, key: &str, revision: u64) -> Option<&'a Kv> {
        let number = self.keys.binary_search(&key).ok()?;
        self.state(number, revision)
    }

    /// What the half-open span `[key, end)` held after a revision, by key; see [`crate::history::Range`] for `end`.
    pub fn range(
        &self,
        key: &str,
        end: Option<&str>,
        revision: u64,
    ) -> impl Iterator<Item = &'a Kv> + use<'a, '_> {
        self.numbers(key, end).filter_map(move |number| self.state(number, revision))
    }

    /// What revisions `from` to `to` did to the keys of a span, in the order in which it happened.
    pub fn between(&self, key: &str, end: Option<&str>, from: u64, to: u64) -> Vec<&'a Change> {
        let mut places = Vec::new();
        for number in self.numbers(key, end) {
            let states = self.states(number);
            let first = states.partition_point(|(revision, _)| *revision < from);
            let inside = states[first..].iter().take_while(|(revision, _)| *revision <= to);
            places.extend(inside.map(|(_, place)| *place));
        }
        places.sort_unstable();
        places.into_iter().map(|place| self.changes[place as usize]).collect()
    }

    fn numbers(&self, key: &str, end: Option<&str>) -> std::ops::Range<usize> {
        let from = self.keys.partition_point(|name| *name < key);
        let to = match end {
            None => from + usize::from(self.keys.get(from).is_some_and(|name| *name == key)),
            Some("\0") => self.keys.len(),
            Some(end) => self.keys.partition_point(|name| *name < end),
        };
        from..to.max(from)
    }

    fn state(&self, number: usize, revision: u64) -> Option<&'a Kv> {
        let states = self.states(number);
        let after = states.partition_point(|(changed, _)| *changed <= revision);
        let (_, place) = states[..after].last()?;
        kv_of(self.changes[*place as usize])
    }

    fn states(&self, number: usize) -> &[(u64, u32)] {
        &self.states[self.starts[number] as usize..self.starts[number + 1] as usize]
    }

    fn entry(&self, revision: u64) -> Option<usize> {
        let entry = usize::try_from(revision.checked_sub(self.begin + 1)?).ok()?;
        (entry < self.entries.len()).then_some(entry)
    }

    fn places(&self, revision: u64) -> std::ops::Range<usize> {
        let Some(entry) = self.entry(revision) else { return 0..0 };
        let end = self.entries.get(entry + 1).map_or(self.changes.len(), |(start, _)| *start as usize);
        self.entries[entry].0 as usize..end
    }
}

/// The key that a change is about.
pub fn key_of(change: &Change) -> &str {
    match change {
        Change::Put { kv } => &kv.key,
        Change::Delete { key, .. } => key,
    }
}

/// The revision that made it.
pub fn revision_of(change: &Change) -> u64 {
    match change {
        Change::Put { kv } => kv.modified,
        Change::Delete { modified, .. } => *modified,
    }
}

/// Whether what a watch told is a change. Who watches objects, not keys, is not told how often one was written (it says
/// zero), and is told an object, not the text of one.
pub fn tells(told: &Change, change: &Change) -> bool {
    match (told, change) {
        (Change::Put { kv: told }, Change::Put { kv }) if told.version == 0 => {
            told.key == kv.key && told.modified == kv.modified && is_same_object(&told.value, &kv.value)
        }
        _ => told == change,
    }
}

fn is_same_object(one: &str, other: &str) -> bool {
    let object = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || object(one).is_some_and(|one| object(other) == Some(one))
}

/// Whether the half-open span `[from, end)` holds a key.
pub fn spans(from: &str, end: Option<&str>, key: &str) -> bool {
    match end {
        None => key == from,
        Some("\0") => key >= from,
        Some(end) => key >= from && key < end,
    }
}

fn kv_of(change: &Change) -> Option<&Kv> {
    match change {
        Change::Put { kv } => Some(kv),
        Change::Delete { .. } => None,
    }
}

/// Four billion changes do not fit into memory anyway.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_however_it_is_written_and_nothing_else_is() {
        let put = |value: &str, modified, version| {
            let (key, value) = ("/registry/a".to_owned(), value.to_owned());
            Change::Put { kv: Kv { key, value, created: version, modified, version, lease: 0 } }
        };
        let logged = put(r#"{"a":1,"b":2}"#, 7, 3);
        assert!(tells(&put(r#"{"b":2,"a":1}"#, 7, 0), &logged));
        assert!(!tells(&put(r#"{"b":2,"a":2}"#, 7, 0), &logged), "another object");
        assert!(!tells(&put(r#"{"b":2,"a":1}"#, 8, 0), &logged), "another revision");
        assert!(!tells(&put(r#"{"b":2,"a":1}"#, 7, 3), &logged), "who watches keys is told the text");
        assert!(!tells(&Change::Delete { key: "/registry/a".to_owned(), modified: 7 }, &logged));
    }
}
