//! What is wrong whoever came first, and what checkers of cycles pass over: they take an element that nobody appended for
//! one from before the history, and do not look into transactions.

use std::collections::BTreeMap;

use super::{Anomaly, Micro, Transaction};

/// Every read of something that nobody appended, or that stands where its transaction did not put it.
pub(super) fn anomalies(transactions: &[Transaction]) -> Vec<Anomaly> {
    let mut writers: BTreeMap<(&str, u64), (usize, usize)> = BTreeMap::new();
    for (place, transaction) in transactions.iter().enumerate() {
        for (at, micro) in transaction.micros.iter().enumerate() {
            if let Micro::Append { key, element } = micro {
                writers.insert((key, *element), (place, at));
            }
        }
    }
    let mut anomalies = Vec::new();
    for (place, transaction) in transactions.iter().enumerate() {
        for micro in &transaction.micros {
            let Micro::Read { key, list } = micro else { continue };
            let process = transaction.process;
            let mut last: BTreeMap<usize, usize> = BTreeMap::new();
            for element in list {
                let Some(&(writer, at)) = writers.get(&(key.as_str(), *element)) else {
                    let what = format!("p{process} read {element} in {key}, which nobody appended");
                    anomalies.push(anomaly("out-of-nowhere", what, vec![place]));
                    break;
                };
                if last.insert(writer, at).is_some_and(|before| before > at) {
                    let what =
                        format!("p{process} read {element} in {key} behind what was appended after it");
                    anomalies.push(anomaly("out-of-order", what, vec![writer, place]));
                    break;
                }
            }
        }
    }
    anomalies
}

fn anomaly(kind: &str, what: String, transactions: Vec<usize>) -> Anomaly {
    Anomaly { kind: kind.to_owned(), what, transactions }
}
