//! Money that moves between accounts: whoever looks at all of them at once sees the same sum.

use super::append::{lists, read_all};
use super::{Worker, Workload, prefix};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Compare, Is, Kv, Op, Put, Target, Txn};

pub(super) const WORKLOAD: Workload = Workload {
    name: "bank",
    about: "transfers between accounts, and looks at all of them; the sum stays",
    tests: &["bank-sum"],
    prepare,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start: |arena, share, tasks| super::start("bank", arena, share, tasks, |_, dice| Teller { dice }),
};

const KEYS: &str = "/chaos/bank/";
const ACCOUNTS: u64 = 8;
/// Of each account, in the beginning.
const DEPOSIT: u64 = 100;
const TRANSFER_MAX: u64 = 10;

/// All accounts at once, so that nobody sees a part of the money.
fn prepare() -> Vec<Op> {
    let account = |number| Op::Put(put(&format!("{KEYS}{number}"), DEPOSIT));
    let then = (0..ACCOUNTS).map(account).collect();
    // Once: who prepares again must not mint.
    let first = Compare { key: format!("{KEYS}0"), is: Is::Equal, target: Target::Created(0) };
    vec![Op::Txn(Txn { compare: vec![first], then, otherwise: Vec::new() })]
}

struct Teller {
    dice: Dice,
}

impl Worker for Teller {
    async fn step(&mut self, client: &mut Client) -> bool {
        if self.dice.percent(40) {
            return client.ask(Op::Range(prefix(KEYS))).await.is_some();
        }
        let from = self.dice.below(ACCOUNTS);
        let to = (from + 1 + self.dice.below(ACCOUNTS - 1)) % ACCOUNTS;
        let keys = [from, to].map(|number| format!("{KEYS}{number}"));
        let Some((_, answer)) = client.ask(read_all(&keys)).await else { return false };
        let found = lists(answer);
        let [Some(from), Some(to)] = found.as_slice() else { return true };
        match transfer(from, to, 1 + self.dice.below(TRANSFER_MAX)) {
            Some(txn) => client.ask(Op::Txn(txn)).await.is_some(),
            None => true,
        }
    }
}

/// None: there is not enough to give.
fn transfer(from: &Kv, to: &Kv, amount: u64) -> Option<Txn> {
    let left = from.value.parse::<u64>().ok()?.checked_sub(amount)?;
    let more = to.value.parse::<u64>().ok()? + amount;
    let unchanged =
        |kv: &Kv| Compare { key: kv.key.clone(), is: Is::Equal, target: Target::Modified(kv.modified) };
    Some(Txn {
        compare: vec![unchanged(from), unchanged(to)],
        then: vec![Op::Put(put(&from.key, left)), Op::Put(put(&to.key, more))],
        otherwise: Vec::new(),
    })
}

fn put(key: &str, balance: u64) -> Put {
    Put { key: key.to_owned(), value: balance.to_string(), lease: 0, previous: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u64, balance: u64) -> Kv {
        let key = format!("{KEYS}{number}");
        Kv { key, value: balance.to_string(), created: 2, modified: 7, version: 1, lease: 0 }
    }

    #[test]
    fn a_transfer_keeps_the_sum_and_no_account_goes_below_zero() {
        let txn = transfer(&account(1, 10), &account(2, 5), 10).unwrap();
        let values: Vec<_> = txn
            .then
            .iter()
            .map(|op| match op {
                Op::Put(put) => put.value.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(values, ["0", "15"]);
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(transfer(&account(1, 9), &account(2, 5), 10), None);
    }
}
