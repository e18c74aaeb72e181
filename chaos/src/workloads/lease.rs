//! Leases that are kept alive, given back, or left to run out, and the keys that hang on them.

use super::{Worker, Workload, prefix};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Op, Put};

pub(super) const WORKLOAD: Workload = Workload {
    name: "lease",
    about: "leases that are kept alive, revoked or left to expire, with keys on them",
    tests: &["lease-kept", "lease-ended", "lease-atomic"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start: |arena, share, tasks| super::start("lease", arena, share, tasks, Tenant::new),
};

const KEYS: &str = "/chaos/lease/";
const TTL_MIN_S: u64 = 2;
const TTL_MAX_S: u64 = 6;

struct Tenant {
    dice: Dice,
    number: u64,
    count: u64,
    /// Id and time to live of the one that this worker has.
    lease: Option<(i64, i64)>,
    /// Left to run out: nothing is asked that would prolong it.
    abandoned: bool,
}

impl Worker for Tenant {
    async fn step(&mut self, client: &mut Client) -> bool {
        let Some((id, _)) = self.lease else { return self.move_in(client).await };
        let answer = if self.abandoned {
            match self.dice.below(2) {
                0 => client.ask(Op::TimeToLive { id }).await,
                _ => client.ask(Op::Range(prefix(&format!("{KEYS}{}/", self.number)))).await,
            }
        } else {
            client.ask(self.next(id)).await
        };
        let Some((_, answer)) = answer else { return false };
        let is_gone = match answer {
            Answer::KeepAlive { ttl_s } | Answer::TimeToLive { ttl_s, .. } => ttl_s <= 0,
            Answer::Revoke => true,
            _ => false,
        };
        if is_gone {
            self.lease = None;
        }
        true
    }
}

impl Tenant {
    fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, count: 0, lease: None, abandoned: false }
    }

    async fn move_in(&mut self, client: &mut Client) -> bool {
        let ttl_s = i64::try_from(TTL_MIN_S + self.dice.below(TTL_MAX_S - TTL_MIN_S + 1)).unwrap_or(5);
        let Some((_, Answer::Grant { id, ttl_s })) = client.ask(Op::Grant { id: 0, ttl_s }).await else {
            return false;
        };
        self.lease = Some((id, ttl_s));
        self.abandoned = false;
        true
    }

    fn next(&mut self, id: i64) -> Op {
        match self.dice.below(20) {
            0 => Op::Revoke { id },
            1 => {
                self.abandoned = true;
                Op::TimeToLive { id }
            }
            2..5 => Op::TimeToLive { id },
            5..12 => {
                self.count += 1;
                let key = format!("{KEYS}{}/{}", self.number, self.count);
                let value = format!("{}-{}", self.number, self.count);
                Op::Put(Put { key, value, lease: id, previous: false })
            }
            _ => Op::KeepAlive { id },
        }
    }
}
