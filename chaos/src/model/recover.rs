//! Finds the one log of a run: members tell theirs after it, and must agree; what they have compacted by then is taken
//! from a watch of everything.

use std::collections::BTreeMap;

use super::{Model, Told, key_of, revision_of};
use crate::check::tally::Tally;
use crate::history::{Change, History, Watch};
use crate::verdict::Finding;

/// What could be found out.
pub struct Recovered<'a> {
    /// Or why there is none.
    pub model: Result<Model<'a>, String>,
    /// Whether members told it, to its very end. Otherwise a watch did, and something may be missing at the end.
    pub by_members: bool,
    /// How the logs themselves look: that they agree, are dense, and tell each key's fields right.
    pub findings: Vec<Finding>,
}

/// One teller's log, by revision.
struct Log<'a> {
    teller: &'a str,
    told: Vec<Told<'a>>,
}

/// From all that members and watches told. A member need not tell what is not above `compacted`.
pub fn recover<'a>(history: &'a History, watches: &[Watch<'a>], compacted: u64) -> Recovered<'a> {
    let mut judge = Judge {
        compacted,
        agreement: Tally::of("log-agreement"),
        dense: Tally::of("log-dense"),
        exact: Tally::of("log-exact"),
    };
    let begin = history.begin().revision;
    let members = member_logs(history, begin);
    let by_members = !members.is_empty();
    for log in &members {
        judge.is_dense(log);
    }
    let merged = judge.merge(members);
    let model = fill(begin, merged, watches).map(|told| Model::new(begin, told.into_iter()));
    match &model {
        Ok(model) => judge.is_exact(model),
        Err(reason) => judge.exact.give_up(reason.clone()),
    }
    let findings = [judge.agreement, judge.dense, judge.exact].map(Tally::finish).to_vec();
    Recovered { model, by_members, findings }
}

fn member_logs(history: &History, begin: u64) -> Vec<Log<'_>> {
    let logs = history.logs().into_iter().map(|(member, entries)| {
        let told = entries.iter().filter(|entry| entry.revision > begin);
        let told =
            told.map(|entry| (entry.revision, entry.place.line, entry.changes.iter().collect())).collect();
        Log { teller: member, told }
    });
    logs.collect()
}

struct Judge {
    compacted: u64,
    agreement: Tally,
    dense: Tally,
    exact: Tally,
}

impl Judge {
    fn is_dense(&mut self, log: &Log<'_>) {
        for pair in log.told.windows(2) {
            let ((before, line_before, _), (revision, line, changes)) = (&pair[0], &pair[1]);
            let follows = *revision == before + 1 || (*revision > *before && *revision <= self.compacted + 1);
            self.dense.hold(follows && !changes.is_empty(), || {
                let what = if follows { "did nothing" } else { "does not follow" };
                (
                    format!("{}: revision {revision} {what}, after {before}", log.teller),
                    vec![*line_before, *line],
                )
            });
        }
        for (revision, line, changes) in &log.told {
            let keys: std::collections::BTreeSet<&str> =
                changes.iter().map(|change| key_of(change)).collect();
            if keys.len() < changes.len() {
                self.dense.violate(|| {
                    (format!("{}: revision {revision} changes a key twice", log.teller), vec![*line])
                });
            }
        }
    }

    /// Revision by revision, what most members say.
    fn merge<'a>(&mut self, logs: Vec<Log<'a>>) -> BTreeMap<u64, Told<'a>> {
        let mut versions: BTreeMap<u64, Vec<(&'a str, Told<'a>)>> = BTreeMap::new();
        for log in logs {
            for told in log.told {
                versions.entry(told.0).or_default().push((log.teller, told));
            }
        }
        let agreed =
            versions.into_iter().map(|(revision, versions)| (revision, self.agree(revision, versions)));
        agreed.collect()
    }

    fn agree<'a>(&mut self, revision: u64, mut versions: Vec<(&'a str, Told<'a>)>) -> Told<'a> {
        let votes = |of: &Told<'_>| versions.iter().filter(|(_, told)| told.2 == of.2).count();
        let counts: Vec<usize> = versions.iter().map(|(_, told)| votes(told)).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        let chosen = counts.iter().position(|count| *count == most).unwrap_or(0);
        self.agreement.hold(most == versions.len(), || {
            let others: Vec<&str> = versions
                .iter()
                .filter(|(_, told)| told.2 != versions[chosen].1.2)
                .map(|(teller, _)| *teller)
                .collect();
            let what =
                format!("{} has another revision {revision} than {}", others.join(", "), versions[chosen].0);
            (what, versions.iter().map(|(_, told)| told.1).collect())
        });
        versions.swap_remove(chosen).1
    }

    /// What each change says of itself must follow from those before it.
    fn is_exact(&mut self, model: &Model<'_>) {
        for revision in model.revisions() {
            for change in model.changes(revision) {
                let before = model.get(key_of(change), revision - 1);
                let right = revision_of(change) == revision
                    && match change {
                        Change::Delete { .. } => before.is_some(),
                        Change::Put { kv } => {
                            kv.version == before.map_or(1, |before| before.version + 1)
                                && kv.created == before.map_or(revision, |before| before.created)
                        }
                    };
                self.exact.hold(right, || {
                    let what =
                        format!("revision {revision} is told as {change:?}, but before it was {before:?}");
                    (what, model.line(revision).into_iter().collect())
                });
            }
        }
    }
}

/// Puts what watches of everything saw where no member tells a revision any more.
fn fill<'a>(
    begin: u64,
    mut told: BTreeMap<u64, Told<'a>>,
    watches: &[Watch<'a>],
) -> Result<Vec<Told<'a>>, String> {
    let whole = watches.iter().filter(|watch| sees_everything(watch, begin));
    for watch in whole {
        for (revision, seen) in revisions_of(watch) {
            told.entry(revision).or_insert(seen);
        }
    }
    if told.is_empty() {
        return Err(
            "nobody told the log: no member did, and no watch saw everything from the beginning".to_owned()
        );
    }
    let hole = (begin + 1..).zip(told.keys()).find(|(expected, revision)| expected != *revision);
    match hole {
        Some((missing, next)) => Err(format!("nobody told revisions {missing} to {}", next - 1)),
        None => Ok(told.into_values().collect()),
    }
}

fn sees_everything(watch: &Watch<'_>, begin: u64) -> bool {
    let open = watch.open;
    let all_keys = open.key.as_str() <= "\0" && open.end.as_deref() == Some("\0");
    all_keys && (1..=begin + 1).contains(&open.start) && !open.no_put && !open.no_delete
}

fn revisions_of<'a>(watch: &Watch<'a>) -> BTreeMap<u64, Told<'a>> {
    let mut seen: BTreeMap<u64, Told<'a>> = BTreeMap::new();
    for (place, answer) in &watch.answers {
        for event in &answer.events {
            let revision = revision_of(&event.change);
            seen.entry(revision).or_insert((revision, place.line, Vec::new())).2.push(&event.change);
        }
    }
    seen
}
