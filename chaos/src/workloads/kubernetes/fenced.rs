//! Candidates for one Lease, which write under its fence. Now and then a leader stands still for longer than its lease
//! and writes then as if nothing had happened: that write must not land, wherever it was delayed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Worker;
use crate::client::{Api, Ask, marked};
use crate::dice::Dice;
use crate::history::{Fence, Reply, Verb, version};

const LEASE: &str = "/registry/leases/default/chaos-leader";
const OBJECT: &str = "/registry/configmaps/default/chaos-fenced";
/// A lease that was seen unchanged for so long may be taken.
const LEASE_TIME: Duration = Duration::from_millis(1200);
/// How long a leader stands still: some wake up before anybody took over.
const FREEZE_MAX: Duration = Duration::from_millis(3500);

pub(super) struct Candidate {
    dice: Dice,
    number: u64,
    writes: u64,
    /// The lease as seen last, and since when it has looked so.
    seen: Option<(Value, Instant)>,
    /// The epoch in which this one believes that it leads.
    epoch: Option<i64>,
}

impl Worker<Api> for Candidate {
    async fn step(&mut self, api: &mut Api) -> bool {
        match self.epoch {
            None => self.stand(api).await,
            Some(epoch) if self.dice.percent(12) => {
                tokio::time::sleep(self.dice.between(Duration::ZERO, FREEZE_MAX)).await;
                let went_well = self.write(api, epoch).await;
                self.epoch = None;
                went_well
            }
            Some(epoch) if self.dice.percent(30) => self.renew(api, epoch).await,
            Some(epoch) => self.write(api, epoch).await,
        }
    }
}

impl Candidate {
    pub(super) fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, writes: 0, seen: None, epoch: None }
    }

    fn name(&self) -> String {
        format!("candidate-{}", self.number)
    }

    /// Looks at the lease, and takes it if it is free.
    async fn stand(&mut self, api: &mut Api) -> bool {
        let lease = match api.call(Ask::new(Verb::Get, LEASE)).await {
            Reply::Ok { object } => object,
            Reply::Refused(failure) if failure.code == "NotFound" => {
                let lease = json!({"metadata": {"name": "chaos-leader"}, "spec": {}});
                return self.take(api, Verb::Create, lease, 0).await;
            }
            Reply::Refused(_) | Reply::Unknown(_) => return false,
        };
        let since = match &self.seen {
            Some((seen, since)) if version(seen) == version(&lease) => *since,
            Some(_) | None => Instant::now(),
        };
        self.seen = Some((lease.clone(), since));
        if since.elapsed() < LEASE_TIME {
            return true;
        }
        let epoch = lease["spec"]["leaseTransitions"].as_i64().unwrap_or(0);
        self.take(api, Verb::Update, lease, epoch + 1).await
    }

    async fn take(&mut self, api: &mut Api, verb: Verb, mut lease: Value, epoch: i64) -> bool {
        lease["spec"]["holderIdentity"] = self.name().into();
        lease["spec"]["leaseTransitions"] = epoch.into();
        let won = self.write_lease(api, verb, lease).await;
        self.epoch = won.then_some(epoch);
        won
    }

    /// A lease that is not renewed is not led by any more, as far as this one knows.
    async fn renew(&mut self, api: &mut Api, epoch: i64) -> bool {
        let Some((lease, _)) = self.seen.clone() else { return false };
        let is_renewed = self.write_lease(api, Verb::Update, lease).await;
        self.epoch = is_renewed.then_some(epoch);
        is_renewed
    }

    async fn write_lease(&mut self, api: &mut Api, verb: Verb, mut lease: Value) -> bool {
        let at = version(&lease);
        lease["spec"]["leaseDurationSeconds"] = (1 + self.writes % 9).into();
        let lease = self.marked(lease);
        let written = api.ask(Ask::new(verb, LEASE).with(lease).at(at)).await;
        self.seen = written.map(|lease| (lease, Instant::now()));
        self.seen.is_some()
    }

    /// A leader's write. That it is refused tells the leader nothing: it goes on until its lease is lost.
    async fn write(&mut self, api: &mut Api, epoch: i64) -> bool {
        let fence = Fence { lease: LEASE.to_owned(), holder: self.name(), epoch };
        let change = self.marked(json!({"data": {"by": self.name(), "epoch": epoch.to_string()}}));
        match api.call(Ask::new(Verb::Patch, OBJECT).with(change.clone()).fenced(fence.clone())).await {
            Reply::Ok { .. } => true,
            Reply::Refused(failure) if failure.code == "NotFound" => {
                let mut object = self.marked(change);
                object["metadata"]["name"] = "chaos-fenced".into();
                api.ask(Ask::new(Verb::Create, OBJECT).with(object).fenced(fence)).await.is_some()
            }
            Reply::Refused(_) | Reply::Unknown(_) => false,
        }
    }

    fn marked(&mut self, object: Value) -> Value {
        self.writes += 1;
        marked(object, &format!("fenced-{}-{}", self.number, self.writes))
    }
}
