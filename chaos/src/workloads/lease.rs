//! Leases that are kept alive, given back, or left to run out, and the keys that hang on them. One that is over is asked
//! for a few times more: nothing may bring it back.

use super::{Worker, Workload, prefix};
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Answer, Op, Outcome, Put};

pub(super) const WORKLOAD: Workload = Workload {
    name: "lease",
    about: "leases that are kept alive, revoked or left to expire, with keys on them, and asked for when they are over",
    tests: &["lease-kept", "lease-ended", "lease-atomic", "lease-dead"],
    prepare: super::nothing,
    final_reads: || vec![Op::Range(prefix(KEYS))],
    start: |arena, share, tasks| super::start("lease", arena, share, tasks, Tenant::new),
};

const KEYS: &str = "/chaos/lease/";
const TTL_MIN_S: u64 = 2;
const TTL_MAX_S: u64 = 6;
/// How often one that is over is asked for.
const VISITS: u64 = 4;
/// What the store says of a lease that is not there.
const GONE: &str = "NotFound";

struct Tenant {
    dice: Dice,
    number: u64,
    count: u64,
    home: Home,
}

/// The lease that a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    None,
    Kept(i64),
    /// Left to run out: nothing is asked that would prolong it.
    Left(i64),
    /// Over, and to be asked for so often.
    Over(i64, u64),
}

impl Worker for Tenant {
    async fn step(&mut self, client: &mut Client) -> bool {
        let op = self.next();
        let outcome = client.call(op.clone()).await;
        self.learn(&op, &outcome);
        matches!(outcome, Outcome::Ok { .. }) || is_gone(&outcome)
    }
}

impl Tenant {
    fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, count: 0, home: Home::None }
    }

    fn next(&mut self) -> Op {
        match self.home {
            Home::None => Op::Grant { id: 0, ttl_s: self.ttl_s() },
            Home::Kept(id) => match self.dice.below(20) {
                0 => Op::Revoke { id },
                1 => {
                    self.home = Home::Left(id);
                    Op::TimeToLive { id }
                }
                2..5 => Op::TimeToLive { id },
                5..12 => self.put(id),
                _ => Op::KeepAlive { id },
            },
            Home::Left(id) => match self.dice.below(3) {
                0 => Op::TimeToLive { id },
                1 => Op::Range(prefix(&format!("{KEYS}{}/", self.number))),
                _ => self.put(id),
            },
            Home::Over(id, visits) => match visits % 2 {
                0 => self.put(id),
                _ => Op::KeepAlive { id },
            },
        }
    }

    fn ttl_s(&self) -> i64 {
        i64::try_from(TTL_MIN_S + self.dice.below(TTL_MAX_S - TTL_MIN_S + 1)).unwrap_or(5)
    }

    fn put(&mut self, lease: i64) -> Op {
        self.count += 1;
        let key = format!("{KEYS}{}/{}", self.number, self.count);
        let value = format!("{}-{}", self.number, self.count);
        Op::Put(Put { key, value, lease, previous: false })
    }

    fn learn(&mut self, op: &Op, outcome: &Outcome) {
        self.home = match (self.home, outcome) {
            (Home::None, Outcome::Ok { answer: Answer::Grant { id, .. }, .. }) => Home::Kept(*id),
            (Home::Kept(id) | Home::Left(id), _) if ends(op, outcome) => Home::Over(id, VISITS),
            (Home::Over(_, ..=1), _) => Home::None,
            (Home::Over(id, visits), _) => Home::Over(id, visits - 1),
            (home @ (Home::None | Home::Kept(_) | Home::Left(_)), _) => home,
        };
    }
}

/// Whether the lease that was asked for is over now.
fn ends(op: &Op, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Ok { answer: Answer::KeepAlive { ttl_s } | Answer::TimeToLive { ttl_s, .. }, .. } => {
            *ttl_s <= 0
        }
        Outcome::Ok { .. } => matches!(op, Op::Revoke { .. }),
        Outcome::Refused(_) => is_gone(outcome),
        Outcome::Unknown(_) => false,
    }
}

fn is_gone(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(failure) if failure.code == GONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Failure, Header};

    fn told(answer: Answer) -> Outcome {
        Outcome::Ok { header: Header { cluster: 1, member: 1, revision: 9, term: 1 }, answer }
    }

    fn gone() -> Outcome {
        let message = "etcdserver: requested lease not found".to_owned();
        Outcome::Refused(Failure { code: GONE.to_owned(), message })
    }

    /// Who was granted lease 7.
    fn tenant() -> Tenant {
        let mut tenant = Tenant::new(1, Dice::new(1));
        let op = tenant.next();
        assert!(matches!(op, Op::Grant { .. }));
        tenant.learn(&op, &told(Answer::Grant { id: 7, ttl_s: 5 }));
        tenant
    }

    #[test]
    fn a_lease_that_is_over_is_kept_alive_and_given_keys_nevertheless() {
        let mut tenant = tenant();
        tenant.learn(&Op::Revoke { id: 7 }, &told(Answer::Revoke));
        let (mut puts, mut beats) = (0, 0);
        for _ in 0..VISITS {
            match tenant.next() {
                Op::Put(put) if put.lease == 7 => puts += 1,
                Op::KeepAlive { id: 7 } => beats += 1,
                other => panic!("{other:?}"),
            }
            tenant.learn(&Op::KeepAlive { id: 7 }, &gone());
        }
        assert_eq!((puts, beats), (2, 2));
        assert!(matches!(tenant.next(), Op::Grant { .. }));
    }

    #[test]
    fn whoever_left_a_lease_never_prolongs_it_and_puts_keys_on_it_until_it_is_over() {
        let mut tenant = tenant();
        tenant.home = Home::Left(7);
        let mut puts = 0;
        for _ in 0..30 {
            let op = tenant.next();
            assert!(!matches!(op, Op::KeepAlive { .. } | Op::Grant { .. }), "{op:?}");
            puts += usize::from(matches!(op, Op::Put(_)));
            tenant.learn(&op, &told(Answer::TimeToLive { ttl_s: 2, granted_s: 5, keys: Vec::new() }));
        }
        assert!(puts > 0);
        let op = tenant.put(7);
        tenant.learn(&op, &gone());
        assert_eq!(tenant.home, Home::Over(7, VISITS));
    }

    #[test]
    fn nothing_is_over_because_nobody_answers() {
        let mut tenant = tenant();
        let failure = Failure { code: "Timeout".to_owned(), message: String::new() };
        tenant.learn(&Op::Revoke { id: 7 }, &Outcome::Unknown(failure));
        assert_eq!(tenant.home, Home::Kept(7));
        tenant.learn(&Op::KeepAlive { id: 7 }, &told(Answer::KeepAlive { ttl_s: 0 }));
        assert_eq!(tenant.home, Home::Over(7, VISITS));
    }
}
