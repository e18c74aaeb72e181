//! What clients of the Kubernetes API were answered, beside the store's log.
//!
//! Every write bears a mark, and the revision in which an object first bears it is the write's. A read without a
//! resourceVersion must be of a state that is no older than what anybody had been told before it was asked.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::Input;
use crate::check::floors::Floors;
use crate::check::tally::Tally;
use crate::history::{ApiCall, Change, LogEntry, Verb, mark, version};
use crate::verdict::Finding;

/// What became of one key at a revision; without an object it was deleted.
struct Version {
    revision: u64,
    line: u64,
    object: Option<Value>,
}

/// Every key that was asked for, through the log.
struct Past<'a> {
    keys: BTreeMap<&'a str, Vec<Version>>,
    /// By mark: the key, and the revisions in which it is new there.
    marks: BTreeMap<String, Vec<(&'a str, u64)>>,
}

/// All properties of calls; those that had nothing to test say so.
pub(super) fn findings(input: &Input<'_>, log: &[LogEntry<'_>]) -> Vec<Finding> {
    let calls = input.history.calls();
    let past = Past::of(log, &calls);
    vec![
        kept(&calls, &past),
        refused(&calls, &past),
        once(&calls, &past),
        compared(&calls, &past),
        patched(&calls, &past),
        current(&calls, &past, &input.floors),
        fenced(&calls, &past),
    ]
}

impl<'a> Past<'a> {
    fn of(log: &[LogEntry<'a>], calls: &[ApiCall<'a>]) -> Self {
        let mut keys: BTreeMap<&str, Vec<Version>> = BTreeMap::new();
        for call in calls {
            keys.entry(&call.request.key).or_default();
            if let Some(fence) = &call.request.fence {
                keys.entry(&fence.lease).or_default();
            }
        }
        let mut past = Self { keys, marks: BTreeMap::new() };
        for entry in log {
            for change in entry.changes {
                let (key, object) = match change {
                    Change::Put { kv } => (&kv.key, serde_json::from_str(&kv.value).ok()),
                    Change::Delete { key, .. } => (key, None),
                };
                past.add(key, Version { revision: entry.revision, line: entry.place.line, object });
            }
        }
        past
    }

    fn add(&mut self, key: &'a str, version: Version) {
        let Some(versions) = self.keys.get_mut(key) else { return };
        let before = versions.last().and_then(|before| mark(before.object.as_ref()?));
        let now = version.object.as_ref().and_then(mark);
        if let Some(now) = now.filter(|now| Some(*now) != before) {
            self.marks.entry(now.to_owned()).or_default().push((key, version.revision));
        }
        versions.push(version);
    }

    fn versions(&self, key: &str) -> &[Version] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// The one at a revision.
    fn at(&self, key: &str, revision: u64) -> Option<&Version> {
        self.versions(key).iter().find(|version| version.revision == revision)
    }

    /// The one before a revision; none if there was none, or it was a deletion.
    fn before(&self, key: &str, revision: u64) -> Option<&Version> {
        let versions = self.versions(key);
        let at = versions.partition_point(|version| version.revision < revision);
        versions[..at].last().filter(|version| version.object.is_some())
    }

    /// Where a call's write is in the log.
    fn made_by(&self, call: &ApiCall<'_>) -> &[(&'a str, u64)] {
        let found = call.request.mark().and_then(|mark| self.marks.get(mark));
        found.map_or(&[], Vec::as_slice)
    }
}

fn writes_marked<'a, 'b>(calls: &'b [ApiCall<'a>]) -> impl Iterator<Item = &'b ApiCall<'a>> {
    calls.iter().filter(|call| call.request.writes() && call.request.mark().is_some())
}

/// What was answered is in the log at its resourceVersion, as it was answered; and every answered deletion is there.
fn kept(calls: &[ApiCall<'_>], past: &Past<'_>) -> Finding {
    let mut tally = Tally::of("object-kept");
    let mut deletions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for call in calls {
        let Some((line, answered)) = call.ok() else { continue };
        if call.request.verb == Verb::Delete {
            deletions.entry(&call.request.key).or_default().push(line);
            continue;
        }
        let at = version(answered);
        let mut plain = answered.clone();
        if let Some(metadata) = plain["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let logged = past.at(&call.request.key, at).and_then(|version| version.object.as_ref());
        tally.hold(logged == Some(&plain), || {
            let what = match logged {
                Some(_) => "has another object there",
                None => "has nothing there",
            };
            (format!("{} was answered at {at}, and the log {what}", call.request.tell()), call.lines())
        });
    }
    for (key, lines) in deletions {
        let logged = past.versions(key).iter().filter(|version| version.object.is_none()).count();
        tally.hold(lines.len() <= logged, || {
            (format!("{} deletions of {key} were answered, the log has {logged}", lines.len()), lines)
        });
    }
    tally.finish()
}

/// What was refused is not in the log.
fn refused(calls: &[ApiCall<'_>], past: &Past<'_>) -> Finding {
    let mut tally = Tally::of("object-refused");
    for call in writes_marked(calls) {
        let Some(failure) = call.refused() else { continue };
        let made = past.made_by(call);
        tally.hold(made.is_empty(), || {
            let what =
                format!("{} was refused ({}), and happened: {made:?}", call.request.tell(), failure.code);
            (what, call.lines())
        });
    }
    tally.finish()
}

/// What was asked once happened at most once, on its own key; what was answered happened.
fn once(calls: &[ApiCall<'_>], past: &Past<'_>) -> Finding {
    let mut tally = Tally::of("object-once");
    for call in writes_marked(calls) {
        let made = past.made_by(call);
        let is_answered = call.ok().is_some();
        let is_right = match made {
            [] => !is_answered,
            [(key, _)] => *key == call.request.key,
            _ => false,
        };
        tally.hold(is_right, || {
            (format!("{} was asked once, and happened at {made:?}", call.request.tell()), call.lines())
        });
    }
    tally.finish()
}

/// A write under a resourceVersion was made on top of that version, a creation on top of nothing; and of those that
/// were answered, one at most was under each.
fn compared(calls: &[ApiCall<'_>], past: &Past<'_>) -> Finding {
    let mut tally = Tally::of("object-compared");
    let mut winners: BTreeMap<(&str, u64), &ApiCall<'_>> = BTreeMap::new();
    for call in calls {
        let request = call.request;
        if call.ok().is_some() && request.expected > 0 {
            let first = winners.insert((&request.key, request.expected), call);
            tally.test(first.map(|first| {
                let what =
                    format!("{} was answered twice: two won under one resourceVersion", request.tell());
                (what, [first.lines(), call.lines()].concat())
            }));
        }
        if call.ok().is_some() && request.verb == Verb::Delete && request.expected > 0 {
            let next = past.versions(&request.key).iter().find(|version| version.revision > request.expected);
            tally.hold(next.is_some_and(|next| next.object.is_none()), || {
                (format!("{} was answered, and something else came first", request.tell()), call.lines())
            });
        }
        let is_bound = request.expected > 0 || request.verb == Verb::Create;
        for (key, revision) in past.made_by(call).iter().filter(|_| is_bound) {
            let before = past.before(key, *revision);
            let was = before.map_or(0, |version| version.revision);
            tally.hold(was == request.expected, || {
                let mut lines = call.lines();
                lines.extend(before.map(|version| version.line));
                (format!("{} happened at {revision} on top of {was}", request.tell()), lines)
            });
        }
    }
    tally.finish()
}

/// A patch of a ConfigMap's data changes what it names, and nothing else.
fn patched(calls: &[ApiCall<'_>], past: &Past<'_>) -> Finding {
    let mut tally = Tally::of("object-patched");
    for call in calls.iter().filter(|call| call.request.verb == Verb::Patch) {
        let Some(named) = call.request.body["data"].as_object() else { continue };
        for (key, revision) in past.made_by(call) {
            let data = |version: Option<&Version>| {
                version.and_then(|version| version.object.as_ref()?["data"].as_object().cloned())
            };
            let mut expected = data(past.before(key, *revision)).unwrap_or_default();
            expected.extend(named.clone());
            let found = data(past.at(key, *revision)).unwrap_or_default();
            tally.hold(found == expected, || {
                (format!("{} at {revision} changed what it does not name", call.request.tell()), call.lines())
            });
        }
    }
    tally.finish()
}

/// A read, and the refusal of who asks for what is not there, is of a state at or after everything told before.
fn current(calls: &[ApiCall<'_>], past: &Past<'_>, floors: &Floors) -> Finding {
    let told = calls.iter().filter_map(|call| call.ok().map(|(line, object)| (line, version(object))));
    let replied = Floors::from_told(told.collect());
    let mut tally = Tally::of("object-current");
    for call in calls.iter().filter(|call| call.request.verb == Verb::Get) {
        let floor = replied.before(call.sent.line).max(floors.before(call.sent.line));
        let versions = past.versions(&call.request.key);
        let ended = |at: usize| versions.get(at + 1).map_or(u64::MAX, |next| next.revision);
        let is_current = match (call.ok(), call.refused()) {
            (Some((_, object)), _) => versions
                .iter()
                .position(|one| one.revision == version(object))
                .is_some_and(|at| ended(at) > floor),
            (None, Some(failure)) if failure.code == "NotFound" => {
                let first = versions.first().map_or(u64::MAX, |one| one.revision);
                let gone = |(at, one): (usize, &Version)| one.object.is_none() && ended(at) > floor;
                first > floor || versions.iter().enumerate().any(gone)
            }
            (None, _) => continue,
        };
        tally.hold(is_current, || {
            let answered = call.ok().map_or("nothing".to_owned(), |(_, object)| version(object).to_string());
            let what = format!(
                "{} was answered with {answered}, and revision {floor} had been told before",
                call.request.tell()
            );
            (what, call.lines())
        });
    }
    tally.finish()
}

/// A write under a fence happened while the Lease was held as the fence says.
fn fenced(calls: &[ApiCall<'_>], past: &Past<'_>) -> Finding {
    let mut tally = Tally::of("object-fenced");
    for call in calls {
        let Some(fence) = &call.request.fence else { continue };
        for (_, revision) in past.made_by(call) {
            let lease = past.before(&fence.lease, *revision);
            let spec = lease.and_then(|lease| Some(&lease.object.as_ref()?["spec"]));
            let holds = spec.is_some_and(|spec| {
                spec["holderIdentity"] == fence.holder && spec["leaseTransitions"] == fence.epoch
            });
            tally.hold(holds, || {
                let mut lines = call.lines();
                lines.extend(lease.map(|lease| lease.line));
                let held = spec.map_or_else(|| "nobody's".to_owned(), |spec| spec.to_string());
                (format!("{} landed at {revision}, when the lease was {held}", call.request.tell()), lines)
            });
        }
    }
    tally.finish()
}

#[cfg(test)]
mod tests;
