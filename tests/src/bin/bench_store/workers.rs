//! What clients do: put, compare and put, get.

use anyhow::{Result, ensure};
use etcd_client::{Client, Compare, CompareOp, KvClient, Txn, TxnOp};

use crate::load::{self, Worker};

const VALUE_BYTES: usize = 256;
/// How many keys puts and gets choose from.
pub(crate) const KEYS: u64 = 10_000;

/// A cheap and repeatable choice of keys (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

pub(crate) fn key(number: u64) -> String {
    format!("/bench/key-{number:010}")
}

pub(crate) fn value(length: usize) -> Vec<u8> {
    vec![b'v'; length]
}

/// Puts random keys out of `keys`, or each of them once, in turn.
pub(crate) struct Putter {
    client: KvClient,
    pub(crate) keys: u64,
    dice: Dice,
}

impl Worker for Putter {
    async fn step(&mut self) -> Result<()> {
        self.client.put(key(self.dice.below(self.keys)), value(VALUE_BYTES), None).await?;
        Ok(())
    }
}

/// Reads random keys, linearizably.
pub(crate) struct Getter {
    client: KvClient,
    dice: Dice,
}

impl Worker for Getter {
    async fn step(&mut self) -> Result<()> {
        let found = self.client.get(key(self.dice.below(KEYS)), None).await?;
        ensure!(found.kvs().len() == 1, "a key is missing");
        Ok(())
    }
}

/// Puts one key of its own, if it is as the last put has left it.
pub(crate) struct Swapper {
    client: KvClient,
    key: String,
    revision: i64,
}

impl Worker for Swapper {
    async fn step(&mut self) -> Result<()> {
        let unchanged = Compare::mod_revision(self.key.clone(), CompareOp::Equal, self.revision);
        let put = TxnOp::put(self.key.clone(), value(VALUE_BYTES), None);
        let get = TxnOp::get(self.key.clone(), None);
        let done = self.client.txn(Txn::new().when([unchanged]).and_then([put]).or_else([get])).await?;
        ensure!(done.succeeded(), "somebody else has changed a client's own key");
        self.revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(())
    }
}

fn spread<W>(connections: &[Client], count: usize, make: impl Fn(usize, KvClient) -> W) -> Vec<W> {
    (0..count).map(|number| make(number, connections[number % connections.len()].kv_client())).collect()
}

pub(crate) fn putters(connections: &[Client], count: usize, keys: u64) -> Vec<Putter> {
    spread(connections, count, |number, client| Putter { client, keys, dice: Dice::new(number) })
}

pub(crate) fn getters(connections: &[Client], count: usize) -> Vec<Getter> {
    spread(connections, count, |number, client| Getter { client, dice: Dice::new(number) })
}

/// The keys of these clients are new: revision 0 means absent.
pub(crate) fn swappers(connections: &[Client], count: usize) -> Vec<Swapper> {
    spread(connections, count, |number, client| Swapper {
        client,
        key: format!("/own/{number}"),
        revision: 0,
    })
}

/// Puts the keys `0..count` once each, many in a transaction.
pub(crate) struct Filler {
    client: KvClient,
    next: u64,
    step: u64,
}

/// Far below the limit of operations in a transaction, and of bytes in a request.
const FILL_AT_ONCE: u64 = 100;

impl Worker for Filler {
    async fn step(&mut self) -> Result<()> {
        let puts: Vec<TxnOp> = (self.next..self.next + FILL_AT_ONCE)
            .map(|number| TxnOp::put(key(number), value(VALUE_BYTES), None))
            .collect();
        self.client.txn(Txn::new().and_then(puts)).await?;
        self.next += self.step;
        Ok(())
    }
}

/// Makes the keys `0..keys` exist; `keys` is a multiple of a hundred times a power of two.
pub(crate) async fn fill(connections: &[Client], keys: u64) -> Result<()> {
    let transactions = keys.div_ceil(FILL_AT_ONCE);
    let clients = (1..=8).rev().find(|clients| transactions.is_multiple_of(*clients)).unwrap_or(1);
    let fillers = spread(connections, usize::try_from(clients)?, |number, client| Filler {
        client,
        next: number as u64 * FILL_AT_ONCE,
        step: clients * FILL_AT_ONCE,
    });
    load::repeat(fillers, usize::try_from(transactions)?).await?;
    Ok(())
}
