//! Calls: what was asked, and what came of it, as one thing.
//!
//! An attempt is a call; whoever asks again under the same request id makes another one.

use std::collections::BTreeMap;

use super::describe;
use crate::history::{Event, Header, Invoke, Line, Op, Outcome, Reply, Request, Verb};

/// Times are nanoseconds since the run began, lines are numbers of the history's lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) line: u64,
    pub(super) end_line: Option<u64>,
    pub(super) process: u32,
    pub(super) at: u64,
    /// None, as what came of it: it never returned.
    pub(super) end: Option<u64>,
    pub(super) exchange: Exchange<'a>,
}

/// What was asked of whom, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exchange<'a> {
    Store(&'a Invoke, Option<&'a Outcome>),
    Api(&'a Request, Option<&'a Reply>),
}

/// What is known about a call in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Ok,
    Refused,
    Unknown,
}

impl<'a> Call<'a> {
    pub(super) fn class(&self) -> Class {
        match self.exchange {
            Exchange::Store(_, Some(Outcome::Ok { .. })) | Exchange::Api(_, Some(Reply::Ok { .. })) => {
                Class::Ok
            }
            Exchange::Store(_, Some(Outcome::Refused(_))) | Exchange::Api(_, Some(Reply::Refused(_))) => {
                Class::Refused
            }
            Exchange::Store(_, Some(Outcome::Unknown(_)) | None)
            | Exchange::Api(_, Some(Reply::Unknown(_)) | None) => Class::Unknown,
        }
    }

    /// API servers put none above their answers.
    pub(super) fn header(&self) -> Option<&'a Header> {
        match self.exchange {
            Exchange::Store(_, Some(Outcome::Ok { header, .. })) => Some(header),
            Exchange::Store(..) | Exchange::Api(..) => None,
        }
    }

    pub(super) fn member(&self) -> &'a str {
        match self.exchange {
            Exchange::Store(invoke, _) => &invoke.member,
            Exchange::Api(request, _) => &request.member,
        }
    }

    /// In a few words.
    pub(super) fn asked(&self) -> String {
        match self.exchange {
            Exchange::Store(invoke, _) => describe::op(&invoke.op),
            Exchange::Api(request, _) => request.tell(),
        }
    }

    /// In a few words.
    pub(super) fn answered(&self) -> String {
        match self.exchange {
            Exchange::Store(_, outcome) => describe::outcome(outcome),
            Exchange::Api(_, reply) => reply.map_or_else(|| describe::outcome(None), Reply::tell),
        }
    }

    /// Which latencies belong together.
    pub(super) fn kind(&self) -> &'static str {
        match self.exchange {
            Exchange::Store(invoke, _) => kind(&invoke.op),
            Exchange::Api(request, _) => match request.verb {
                Verb::Get => "object get",
                Verb::Create => "object create",
                Verb::Update => "object update",
                Verb::Patch => "object patch",
                Verb::Delete => "object delete",
            },
        }
    }

    /// Whether its acknowledgment proves that the cluster takes writes: it went through the log.
    pub(super) fn is_write(&self) -> bool {
        match self.exchange {
            Exchange::Store(invoke, _) => is_write(&invoke.op),
            Exchange::Api(request, _) => request.writes(),
        }
    }

    /// Of a call that was answered with success.
    pub(super) fn latency_ns(&self) -> Option<u64> {
        let end = self.end.filter(|_| self.class() == Class::Ok)?;
        Some(end.saturating_sub(self.at))
    }

    pub(super) fn is_acknowledged_write(&self) -> bool {
        self.class() == Class::Ok && self.is_write()
    }
}

/// All calls, in the order in which they began.
pub(super) fn calls(lines: &[Line]) -> Vec<Call<'_>> {
    let mut all: Vec<Call<'_>> = Vec::new();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for (number, line) in (0_u64..).zip(lines) {
        let begun = match &line.event {
            Event::Invoke(invoke) => Some(Exchange::Store(invoke, None)),
            Event::Request(request) => Some(Exchange::Api(request, None)),
            _ => None,
        };
        if let Some(exchange) = begun {
            open.insert(line.process, all.len());
            let Line { at, process, .. } = *line;
            all.push(Call { line: number, end_line: None, process, at, end: None, exchange });
        }
        if !matches!(line.event, Event::Return { .. } | Event::Reply { .. }) {
            continue;
        }
        let Some(call) = open.remove(&line.process).and_then(|index| all.get_mut(index)) else { continue };
        call.end_line = Some(number);
        call.end = Some(line.at);
        match (&mut call.exchange, &line.event) {
            (Exchange::Store(_, came), Event::Return { outcome }) => *came = Some(outcome),
            (Exchange::Api(_, came), Event::Reply { reply }) => *came = Some(reply),
            _ => {}
        }
    }
    all
}

fn is_write(op: &Op) -> bool {
    match op {
        Op::Put(_)
        | Op::Delete(_)
        | Op::Compact { .. }
        | Op::Grant { .. }
        | Op::Revoke { .. }
        | Op::Lock { .. }
        | Op::Unlock { .. } => true,
        Op::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(is_write),
        Op::Range(_) | Op::KeepAlive { .. } | Op::TimeToLive { .. } | Op::Status => false,
    }
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Range(range) if range.serializable => "range (serializable)",
        Op::Range(_) => "range",
        Op::Put(_) => "put",
        Op::Delete(_) => "delete",
        Op::Txn(_) if is_write(op) => "txn",
        Op::Txn(_) => "txn (reads only)",
        Op::Compact { .. } => "compact",
        Op::Grant { .. } => "grant",
        Op::Revoke { .. } => "revoke",
        Op::KeepAlive { .. } => "keep-alive",
        Op::TimeToLive { .. } => "time-to-live",
        Op::Lock { .. } => "lock",
        Op::Unlock { .. } => "unlock",
        Op::Status => "status",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;
    use crate::history::Failure;

    fn line(at: u64, process: u32, event: Event) -> Line {
        Line { at, process, event }
    }

    fn request(verb: Verb) -> Event {
        let (member, workload) = ("n1".to_owned(), "objects".to_owned());
        let key = "/registry/configmaps/default/a".to_owned();
        Event::Request(Request { member, workload, verb, key, body: Value::Null, expected: 0, fence: None })
    }

    #[test]
    fn calls_of_the_kubernetes_api_are_calls() {
        let object = json!({"metadata": {"resourceVersion": "7"}});
        let failure = Failure { code: "Conflict".to_owned(), message: String::new() };
        let lines = [
            line(10, 1, request(Verb::Create)),
            line(20, 2, request(Verb::Get)),
            line(30, 3, request(Verb::Patch)),
            line(40, 1, Event::Reply { reply: Reply::Ok { object } }),
            line(50, 2, Event::Reply { reply: Reply::Refused(failure) }),
        ];
        let told = calls(&lines).into_iter().map(|call| {
            let (class, latency, write) = (call.class(), call.latency_ns(), call.is_acknowledged_write());
            format!("{} → {}: {} {class:?} {latency:?} {write}", call.asked(), call.answered(), call.kind())
        });
        expect![[r"
            create /registry/configmaps/default/a → ok at 7: object create Ok Some(30) true
            get /registry/configmaps/default/a → refused: Conflict: object get Refused None false
            patch /registry/configmaps/default/a → never returned: object patch Unknown None false"]]
        .assert_eq(&told.collect::<Vec<_>>().join("\n"));
    }
}
