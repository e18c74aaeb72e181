//! Logs for tests, told object by object.

use std::collections::BTreeMap;

use serde_json::Value;

use super::judge;
use crate::history::{Change, Kv, LogEntry, Place};
use crate::verdict::{Finding, Verdict};

/// A log in the making, from revision 2 on; a revision's line is its number.
#[derive(Clone, Default)]
pub(super) struct Log {
    revisions: Vec<Vec<Change>>,
    /// The revision that created each, and how often it was written since.
    there: BTreeMap<String, (u64, u64)>,
}

impl Log {
    pub(super) fn next_revision(&self) -> u64 {
        self.revisions.len() as u64 + 2
    }

    pub(super) fn put(&mut self, key: &str, object: &Value) {
        self.put_text(key, object.to_string());
    }

    pub(super) fn put_text(&mut self, key: &str, value: String) {
        let modified = self.next_revision();
        let (created, version) = self.there.entry(key.to_owned()).or_insert((modified, 0));
        *version += 1;
        let kv = Kv { key: key.to_owned(), value, created: *created, modified, version: *version, lease: 0 };
        self.revisions.push(vec![Change::Put { kv }]);
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.there.remove(key).expect("it was there");
        let modified = self.next_revision();
        self.revisions.push(vec![Change::Delete { key: key.to_owned(), modified }]);
    }

    pub(super) fn entries(&self) -> Vec<LogEntry<'_>> {
        let revisions = (2..).zip(&self.revisions);
        revisions
            .map(|(revision, changes)| LogEntry { revision, changes, place: Place { at: 0, line: revision } })
            .collect()
    }

    pub(super) fn finding(&self, property: &str) -> Finding {
        let found = judge(&self.entries()).into_iter().find(|finding| finding.property == property);
        found.expect("there is such a property")
    }

    #[track_caller]
    pub(super) fn passes(&self, property: &str) {
        let finding = self.finding(property);
        assert_eq!(finding.verdict(), Verdict::Pass, "{finding:?}");
    }

    #[track_caller]
    pub(super) fn fails(&self, property: &str, words: &str) {
        let finding = self.finding(property);
        assert!(finding.violations.iter().any(|one| one.what.contains(words)), "{finding:?}");
        assert!(finding.violations.iter().all(|one| !one.lines.is_empty()));
    }
}
