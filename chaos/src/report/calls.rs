//! Calls: what was asked, and what came of it, as one thing.
//!
//! An attempt is a call; whoever asks again under the same request id makes another one.

use std::collections::BTreeMap;

use crate::history::{Event, Header, Invoke, Line, Op, Outcome};

/// Times are nanoseconds since the run began, lines are numbers of the history's lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) line: u64,
    pub(super) end_line: Option<u64>,
    pub(super) process: u32,
    pub(super) at: u64,
    /// None, as `outcome`: it never returned.
    pub(super) end: Option<u64>,
    pub(super) invoke: &'a Invoke,
    pub(super) outcome: Option<&'a Outcome>,
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
        match self.outcome {
            Some(Outcome::Ok { .. }) => Class::Ok,
            Some(Outcome::Refused(_)) => Class::Refused,
            Some(Outcome::Unknown(_)) | None => Class::Unknown,
        }
    }

    pub(super) fn header(&self) -> Option<&'a Header> {
        match self.outcome {
            Some(Outcome::Ok { header, .. }) => Some(header),
            Some(Outcome::Refused(_) | Outcome::Unknown(_)) | None => None,
        }
    }

    /// Of a call that was answered with success.
    pub(super) fn latency_ns(&self) -> Option<u64> {
        let end = self.end.filter(|_| self.class() == Class::Ok)?;
        Some(end.saturating_sub(self.at))
    }

    pub(super) fn is_acknowledged_write(&self) -> bool {
        self.class() == Class::Ok && is_write(&self.invoke.op)
    }
}

/// All calls, in the order in which they began.
pub(super) fn calls(lines: &[Line]) -> Vec<Call<'_>> {
    let mut all: Vec<Call<'_>> = Vec::new();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for (number, line) in (0_u64..).zip(lines) {
        match &line.event {
            Event::Invoke(invoke) => {
                open.insert(line.process, all.len());
                let Line { at, process, .. } = *line;
                all.push(Call {
                    line: number,
                    end_line: None,
                    process,
                    at,
                    end: None,
                    invoke,
                    outcome: None,
                });
            }
            Event::Return { outcome } => {
                let Some(call) = open.remove(&line.process).and_then(|index| all.get_mut(index)) else {
                    continue;
                };
                call.end_line = Some(number);
                call.end = Some(line.at);
                call.outcome = Some(outcome);
            }
            _ => {}
        }
    }
    all
}

/// Whether its acknowledgment proves that the cluster takes writes: it went through the log.
pub(super) fn is_write(op: &Op) -> bool {
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

/// Which latencies belong together.
pub(super) fn kind(op: &Op) -> &'static str {
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
