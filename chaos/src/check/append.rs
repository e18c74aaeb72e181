//! A second opinion on whole transactions: lists that transactions read and append to tell who came before whom, and
//! such an order must not run in a circle.
//!
//! A list is the value of a key `/chaos/append/<k>`, unique numbers between commas. A transaction reads, then writes
//! each list with more numbers at its end, guarded by the `Modified` of every key that it read. Revisions serve only as
//! names of what was read. Two checkers judge the same transactions, one of them not ours; where they differ the
//! harness is wrong, and the finding is inconclusive.

mod cycles;
#[cfg(feature = "elle")]
mod elle;
mod graph;
mod plain;
#[cfg(test)]
mod tests;
mod transactions;

pub use self::cycles::Cycles;
#[cfg(feature = "elle")]
pub use self::elle::Elle;
use self::transactions::Read;
pub use self::transactions::{Happened, Micro, Transaction, transactions};
use super::Input;
use crate::history::Operation;
use crate::verdict::{Finding, Violation};

/// Judges whether transactions were strictly serializable.
pub trait Opinion {
    fn name(&self) -> &'static str;

    /// Everything that is wrong; nothing if an order explains it all.
    fn anomalies(&self, transactions: &[Transaction]) -> Vec<Anomaly>;
}

/// What no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// In the words of Adya's thesis where it has one.
    pub kind: String,
    pub what: String,
    /// Places among the transactions.
    pub transactions: Vec<usize>,
}

/// `append-serializable`, of a run that uses the workload.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    if input.uses(transactions::WORKLOAD) { vec![check(&input.operations)] } else { Vec::new() }
}

/// Asks every judge that there is.
pub fn check(operations: &[Operation<'_>]) -> Finding {
    let judges: [&dyn Opinion; _] = [
        &Cycles,
        #[cfg(feature = "elle")]
        &Elle,
    ];
    judge(operations, &judges)
}

fn judge(operations: &[Operation<'_>], judges: &[&dyn Opinion]) -> Finding {
    let Read { transactions, unreadable, contradictions } = transactions::read(operations);
    let mut finding = Finding {
        property: "append-serializable".to_owned(),
        checked: transactions.iter().filter(|transaction| transaction.happened == Happened::Yes).count()
            as u64,
        violations: Vec::new(),
        inconclusive: unreadable
            .first()
            .map(|why| format!("{} transactions make no sense: {why}", unreadable.len())),
    };
    if !contradictions.is_empty() {
        finding.violations = contradictions;
        return finding;
    }
    if let Some((key, element)) = transactions::asked_twice(&transactions).first() {
        finding.inconclusive = Some(format!("{element} was appended to {key} by more than one transaction"));
        return finding;
    }
    let plain = plain::anomalies(&transactions);
    if !plain.is_empty() {
        finding.violations = plain.iter().map(|anomaly| violation(anomaly, &transactions)).collect();
        return finding;
    }
    let opinions: Vec<(&str, Vec<Anomaly>)> =
        judges.iter().map(|judge| (judge.name(), judge.anomalies(&transactions))).collect();
    let (wrong, right): (Vec<_>, Vec<_>) = opinions.iter().partition(|(_, anomalies)| !anomalies.is_empty());
    match (&wrong[..], &right[..]) {
        ([], _) => {}
        ([(_, anomalies), ..], []) => {
            finding.violations = anomalies.iter().map(|anomaly| violation(anomaly, &transactions)).collect();
        }
        ([(one, anomalies), ..], [(other, _), ..]) => {
            let what = anomalies.first().map_or("", |anomaly| anomaly.what.as_str());
            finding.inconclusive =
                Some(format!("a fault of the harness: `{one}` finds what `{other}` does not: {what}"));
        }
    }
    finding
}

fn violation(anomaly: &Anomaly, transactions: &[Transaction]) -> Violation {
    let mut lines: Vec<u64> =
        anomaly.transactions.iter().flat_map(|&place| transactions[place].lines.iter().copied()).collect();
    lines.sort_unstable();
    lines.dedup();
    Violation { what: format!("{}: {}", anomaly.kind, anomaly.what), lines }
}
