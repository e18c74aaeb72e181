//! What stands above every answer: one cluster, one member of one name, a term that never falls, a revision that is
//! none below what the body holds.

use std::collections::BTreeMap;

use crate::history::{Answer, Header, Kv};
use crate::model::revision_of;
use crate::verdict::Finding;

use super::Input;
use super::floors::Floors;
use super::tally::Tally;

/// One header, and what is needed to judge it.
struct Seen<'i> {
    header: &'i Header,
    member: &'i str,
    /// The line of the call, or of the watch's opening.
    from: u64,
    /// What the same stream told before: the highest term, and its line. Answers wait in a stream, so what others told
    /// meanwhile says nothing about when this one was sent.
    stream: (u64, u64),
    line: u64,
    /// The highest revision in the body.
    body: u64,
}

pub fn check(input: &Input<'_>) -> Vec<Finding> {
    let seen = headers(input);
    vec![identity(&seen), terms(&seen), bodies(&seen)]
}

fn headers<'i>(input: &'i Input<'_>) -> Vec<Seen<'i>> {
    let mut seen = Vec::new();
    for operation in &input.operations {
        if let (Some((header, answer)), Some(returned)) = (operation.ok(), operation.returned) {
            let (from, body) = (operation.invoked.line, newest(answer));
            let member = operation.answered_by;
            seen.push(Seen { header, member, from, stream: (0, 0), line: returned.line, body });
        }
    }
    for watch in &input.watches {
        let mut stream = (0, 0);
        // API servers put no header above what they tell.
        for (place, answer) in watch.answers.iter().filter(|(_, answer)| answer.header.cluster != 0) {
            let body = answer.events.iter().map(|event| revision_of(&event.change)).max().unwrap_or(0);
            let (member, from) = (watch.open.member.as_str(), watch.opened.line);
            seen.push(Seen { header: &answer.header, member, from, stream, line: place.line, body });
            stream = stream.max((answer.header.term, place.line));
        }
    }
    seen.sort_by_key(|seen| seen.line);
    seen
}

/// A member that lost its disk comes back under another number, but no number is ever another member's.
fn identity(seen: &[Seen<'_>]) -> Finding {
    let mut tally = Tally::of("header-identity");
    let mut owners: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    let first = seen.first().map(|first| (first.header.cluster, first.line));
    for one in seen {
        let (member, line) = *owners.entry(one.header.member).or_insert((one.member, one.line));
        tally.hold(member == one.member, || {
            let what = format!("{} answers as member {}, which was {member}", one.member, one.header.member);
            (what, vec![line, one.line])
        });
        let (cluster, line) = first.unwrap_or_default();
        tally.hold(cluster == one.header.cluster, || {
            (
                format!("{} answers for cluster {}, not {cluster}", one.member, one.header.cluster),
                vec![line, one.line],
            )
        });
    }
    tally.finish()
}

fn terms(seen: &[Seen<'_>]) -> Finding {
    let mut tally = Tally::of("header-term");
    let mut told: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for one in seen {
        told.entry(one.header.member).or_default().push((one.line, one.header.term));
    }
    let floors: BTreeMap<u64, Floors> =
        told.into_iter().map(|(member, told)| (member, Floors::from_told(told))).collect();
    for one in seen {
        let (line, before) = floors[&one.header.member].step_before(one.from).unwrap_or_default();
        let (before, line) = one.stream.max((before, line));
        tally.hold(one.header.term >= before, || {
            let what =
                format!("{} answers in term {}, after it had told {before}", one.member, one.header.term);
            (what, vec![line, one.from, one.line])
        });
    }
    tally.finish()
}

fn bodies(seen: &[Seen<'_>]) -> Finding {
    let mut tally = Tally::of("header-revision");
    for one in seen {
        tally.hold(one.body <= one.header.revision, || {
            let what = format!(
                "{} answers at revision {} with revision {}",
                one.member, one.header.revision, one.body
            );
            (what, vec![one.from, one.line])
        });
    }
    tally.finish()
}

fn newest(answer: &Answer) -> u64 {
    let of = |kvs: &[Kv]| kvs.iter().map(|kv| kv.modified).max().unwrap_or(0);
    match answer {
        Answer::Range { kvs, .. } | Answer::Delete { previous: kvs, .. } => of(kvs),
        Answer::Put { previous } => previous.as_ref().map_or(0, |kv| kv.modified),
        Answer::Txn { answers, .. } => answers.iter().map(newest).max().unwrap_or(0),
        Answer::Compact
        | Answer::Grant { .. }
        | Answer::Revoke
        | Answer::KeepAlive { .. }
        | Answer::TimeToLive { .. }
        | Answer::Lock { .. }
        | Answer::Unlock
        | Answer::Status { .. } => 0,
    }
}
