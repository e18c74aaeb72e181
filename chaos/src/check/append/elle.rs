//! The crate `adya` as a judge of list transactions. It speaks Elle's words, and is not ours: what it and our own judge
//! agree on is twice as likely so.

use std::time::Duration;

use adya::history::{Id, Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{History, Opts, Valid, Workload};

use super::{Anomaly, Happened, Micro, Opinion, Transaction};

/// After so long the crate stops looking for the gravest name of a circle that it has found; it reports it all the same.
const NAMING_TIME_MAX: Duration = Duration::from_secs(10);

/// Asks for strict serializability.
#[derive(Clone, Copy, Debug)]
pub struct Elle;

impl Opinion for Elle {
    fn name(&self) -> &'static str {
        "adya"
    }

    fn anomalies(&self, transactions: &[Transaction]) -> Vec<Anomaly> {
        let options = Opts { timeout: NAMING_TIME_MAX, ..Opts::default() };
        let report = adya::check(&history(transactions), Workload::ListAppend, &options);
        if report.valid == Valid::True {
            return Vec::new();
        }
        let anomalies = report.anomalies.into_values().flatten();
        let grave = anomalies.filter(|anomaly| report.valid == Valid::False || !is_silence(&anomaly.kind));
        grave
            .map(|anomaly| Anomaly {
                kind: anomaly.kind,
                what: anomaly.explanation,
                transactions: anomaly.ops.iter().filter_map(|&op| usize::try_from(op).ok()).collect(),
            })
            .collect()
    }
}

/// Says that there was nothing to judge, not that something was wrong.
fn is_silence(kind: &str) -> bool {
    kind == "empty-transaction-graph"
}

/// A transaction's number is its place. Each has a process of its own: what a process did one after the other follows
/// from real time.
fn history(transactions: &[Transaction]) -> History {
    let mut interner = Interner::default();
    let mut ops: Vec<((u64, bool), Op)> = Vec::new();
    for (number, transaction) in (0..).zip(transactions) {
        let micros: Vec<Mop> = transaction.micros.iter().map(|micro| mop(&mut interner, micro)).collect();
        let kind = match transaction.happened {
            Happened::Yes => OpType::Ok,
            Happened::No => OpType::Fail,
            Happened::Maybe => OpType::Info,
        };
        let process = i64::try_from(number).ok();
        let mut at = |at: u64, kind: OpType| {
            let value = micros.clone();
            ops.push(((at, kind != OpType::Invoke), Op { index: number, kind, process, value, time: None }));
        };
        at(transaction.invoked, OpType::Invoke);
        at(transaction.returned.unwrap_or(u64::MAX), kind);
    }
    // What begins when another ends is not after it.
    ops.sort_by_key(|(when, _)| *when);
    History::from_ops(ops.into_iter().map(|(_, op)| op).collect(), interner)
}

fn mop(interner: &mut Interner, micro: &Micro) -> Mop {
    match micro {
        Micro::Read { key, list } => {
            let value = ReadValue::List(list.iter().map(|&one| element_id(interner, one)).collect());
            Mop::Read { key: key_id(interner, key), value }
        }
        Micro::Append { key, element } => {
            Mop::Append { key: key_id(interner, key), value: element_id(interner, *element) }
        }
    }
}

fn key_id(interner: &mut Interner, key: &str) -> Id {
    interner.intern(Scalar::Str(key.to_owned()))
}

fn element_id(interner: &mut Interner, element: u64) -> Id {
    interner.intern(Scalar::Str(element.to_string()))
}
