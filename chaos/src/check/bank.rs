//! Accounts whose money moves but never grows or shrinks: whoever looks at all of them at once sees the same sum.
//!
//! An account is a key `/chaos/bank/<n>`, its value a number. The sum is what the first look at all accounts saw. An
//! account that was there stays.

use std::collections::BTreeMap;

use super::Input;
use super::reads::{covers, reads};
use super::tally::Tally;
use crate::history::{Kv, Op, Operation, Place};
use crate::verdict::Finding;

const WORKLOAD: &str = "bank";
const KEYS: &str = "/chaos/bank/";

/// `bank-sum`, of a run that uses the workload.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    if input.uses(WORKLOAD) { vec![check(&input.operations)] } else { Vec::new() }
}

/// Every look at all accounts after the first is a test.
pub fn check(operations: &[Operation<'_>]) -> Finding {
    let of_bank = || operations.iter().filter(|operation| operation.workload == WORKLOAD);
    let mut accounts: Vec<&str> = of_bank().flat_map(|operation| written(operation.op)).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let mut looks: Vec<Look<'_>> = of_bank().filter_map(|operation| Look::of(operation, &accounts)).collect();
    looks.sort_by_key(|look| look.ended);
    let mut tally = Tally::of("bank-sum");
    let Some(first) = looks.iter().find(|look| look.balances.len() == accounts.len()) else {
        return tally.finish();
    };
    let sum = first.sum();
    for look in looks.iter().filter(|look| look.began.at > first.ended.at) {
        let lines = vec![first.began.line, first.ended.line, look.began.line, look.ended.line];
        tally.test(look.wrong(&accounts, sum).map(|what| (what, lines)));
    }
    tally.finish()
}

/// Somebody saw all accounts at once.
struct Look<'a> {
    process: u32,
    began: Place,
    ended: Place,
    /// None: it is not a number.
    balances: BTreeMap<&'a str, Option<i64>>,
}

impl<'a> Look<'a> {
    fn of(operation: &Operation<'a>, accounts: &[&str]) -> Option<Self> {
        let reads = reads(operation);
        let sees =
            |account: &str| reads.iter().any(|(range, _)| covers(&range.key, range.end.as_deref(), account));
        if accounts.is_empty() || !accounts.iter().all(|account| sees(account)) {
            return None;
        }
        let kvs = reads.iter().flat_map(|(_, kvs)| kvs.iter()).filter(|kv| kv.key.starts_with(KEYS));
        let balances = kvs.map(|Kv { key, value, .. }| (key.as_str(), value.parse().ok())).collect();
        Some(Self {
            process: operation.process,
            began: operation.invoked,
            ended: operation.returned?,
            balances,
        })
    }

    fn sum(&self) -> i64 {
        self.balances.values().flatten().sum()
    }

    fn wrong(&self, accounts: &[&str], sum: i64) -> Option<String> {
        let process = self.process;
        if let Some(account) = accounts.iter().find(|account| !self.balances.contains_key(*account)) {
            return Some(format!("p{process} did not see the account {account}"));
        }
        if let Some((account, _)) = self.balances.iter().find(|(_, balance)| balance.is_none()) {
            return Some(format!("p{process} saw no number in the account {account}"));
        }
        (self.sum() != sum).then(|| {
            format!("p{process} saw a sum of {}, where there is {sum}: {:?}", self.sum(), self.shown())
        })
    }

    fn shown(&self) -> Vec<i64> {
        self.balances.values().copied().flatten().collect()
    }
}

/// The accounts that it asks to write.
fn written(op: &Op) -> Vec<&str> {
    match op {
        Op::Put(put) if put.key.starts_with(KEYS) => vec![&put.key],
        Op::Txn(txn) => txn.then.iter().flat_map(written).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::{Script, equal, get, put, span, txn};
    use crate::history::{Answer, Event, Outcome, Target};
    use crate::verdict::Verdict;

    const ONE: &str = "/chaos/bank/1";
    const TWO: &str = "/chaos/bank/2";

    fn all() -> Op {
        Op::Range(span(KEYS, "/chaos/bank0"))
    }

    fn script() -> Script {
        let mut script = Script::begin();
        script.workload = WORKLOAD.to_owned();
        script.run(1, all());
        script.run(1, txn(vec![], vec![put(ONE, "100"), put(TWO, "100")], vec![]));
        script.run(1, all());
        script
    }

    fn transfer(script: &Script, amount: i64) -> Op {
        let held = [ONE, TWO].map(|key| script.store.get(key).unwrap());
        let guards = held.map(|kv| equal(&kv.key, Target::Modified(kv.modified))).to_vec();
        let [one, two] = held.map(|kv| kv.value.parse::<i64>().unwrap());
        let writes = vec![put(ONE, &(one - amount).to_string()), put(TWO, &(two + amount).to_string())];
        txn(guards, writes, vec![])
    }

    fn found(script: &Script) -> Finding {
        let history = script.history();
        check(&history.operations())
    }

    /// Looks, and is told what `bend` makes of it.
    fn bent(bend: impl FnOnce(&mut Vec<Kv>)) -> Finding {
        let mut script = script();
        let op = transfer(&script, 30);
        script.run(1, op);
        let line = script.run(2, all());
        let Event::Return { outcome: Outcome::Ok { answer: Answer::Range { kvs, .. }, .. } } =
            &mut script.line(line).event
        else {
            panic!("a read returned otherwise")
        };
        bend(kvs);
        found(&script)
    }

    #[test]
    fn honest_transfers_pass() {
        let mut script = script();
        for amount in [30, -50, 130] {
            let op = transfer(&script, amount);
            script.run(1, op);
            script.run(2, all());
            script.run(2, get(ONE));
        }
        script.run(2, txn(vec![], vec![get(ONE), get(TWO)], vec![]));
        let finding = found(&script);
        assert_eq!((finding.verdict(), finding.checked), (Verdict::Pass, 4), "{finding:?}");
    }

    #[test]
    fn half_a_transfer_fails() {
        let finding = bent(|kvs| kvs[0].value = "100".to_owned());
        assert!(finding.violations[0].what.contains("a sum of 230, where there is 200"), "{finding:?}");
    }

    #[test]
    fn an_account_that_is_gone_fails() {
        let finding = bent(|kvs| _ = kvs.pop());
        assert!(finding.violations[0].what.contains("did not see the account /chaos/bank/2"), "{finding:?}");
    }

    #[test]
    fn a_transfer_that_is_applied_twice_fails() {
        let mut script = script();
        script.run(1, put(ONE, "70"));
        script.run(1, put(TWO, "130"));
        script.run(1, put(TWO, "160"));
        script.run(2, all());
        assert_eq!(found(&script).verdict(), Verdict::Fail);
    }

    #[test]
    fn a_balance_that_is_no_number_fails() {
        let finding = bent(|kvs| kvs[0].value = "x".to_owned());
        assert!(finding.violations[0].what.contains("no number"), "{finding:?}");
    }

    #[test]
    fn a_bank_that_nobody_looked_at_is_not_judged() {
        assert_eq!(found(&script()).verdict(), Verdict::Inconclusive);
    }
}
