//! Who of several processes does a job: the holder of a Lease object, with client-go's semantics.
//!
//! No two clocks are compared: a candidate measures, with its own monotonic clock, how long it saw a lease unchanged.
//! The holder counts its term from before its last successful renewal was sent, so that it steps down before anybody
//! may take over. That alone does not stop a request already under way, nor a process frozen between the check and
//! the write: those the server refuses, by the epoch (`leaseTransitions`) that each write carries.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use base::{Clock, Entropy, Revision};

use crate::client::Client;
use crate::error::ClientError;
use crate::fence::{Deadline, Fence};
use crate::metrics::LEADER_ELECTION_MASTER_STATUS;
use crate::object::{HasMetadata, ObjectKey};

/// Where the leases of control-plane elections live.
const NAMESPACE: &str = "kube-system";

/// How fast leadership moves.
#[derive(Clone, Copy, Debug)]
pub struct ElectionConfig {
    /// A lease unchanged for this long is free.
    pub lease_duration: Duration,
    /// A holder that could not renew for this long steps down; below `lease_duration`.
    pub renew_deadline: Duration,
    /// How often the holder renews, and the others look.
    pub retry_period: Duration,
}

impl Default for ElectionConfig {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(6),
            renew_deadline: Duration::from_secs(4),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// One candidate for one lease.
pub struct Election {
    client: Client,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    name: String,
    identity: String,
    config: ElectionConfig,
    /// The lease's spec as last seen, and since when it has looked so.
    observed: Option<(LeaseSpec, Instant)>,
    /// The lease as we wrote it last: who holds it need not read it.
    held: Option<Lease>,
}

/// A term that was won.
#[derive(Clone, Debug)]
pub struct Leadership {
    fence: Fence,
    since: Revision,
    lost: CancellationToken,
}

impl Leadership {
    /// What each write of this term must carry.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// The revision that began the term: whatever a former leader wrote is there or before. Who decides by an older
    /// view decides by what its predecessor has changed since.
    pub fn since(&self) -> Revision {
        self.since
    }

    /// Cancelled when the term is over: all of the leader's work ends with it.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Election {
    pub fn new(
        client: &Client,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        candidate: (&str, &str),
        config: ElectionConfig,
    ) -> Self {
        let (name, identity) = candidate;
        Self {
            client: client.with_timeout(config.retry_period),
            clock,
            entropy,
            name: name.to_owned(),
            identity: identity.to_owned(),
            config,
            observed: None,
            held: None,
        }
    }

    /// Waits for leadership, runs `lead`, and starts over when the term is lost; until `stop`, when a held lease is
    /// given back.
    pub async fn run<W, F>(mut self, stop: CancellationToken, lead: W)
    where
        W: Fn(Leadership) -> F,
        F: Future<Output = ()>,
    {
        let gauge = metrics::gauge!(LEADER_ELECTION_MASTER_STATUS, "name" => self.name.clone());
        gauge.set(0.0);
        // Processes that start together each get some of the leases.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(self.entropy.u64() % FIRST_TRY_MS_MAX)) => {}
        }
        while !stop.is_cancelled() {
            let won = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                won = self.acquire() => won,
            };
            info!(lease = %self.name, identity = %self.identity, epoch = won.fence.epoch, "became the leader");
            gauge.set(1.0);
            let (lost, deadline) = (won.lost.clone(), won.deadline.clone());
            let leadership = Leadership { fence: won.fence.clone(), since: won.since, lost: won.lost };
            {
                let work = lead(leadership);
                tokio::pin!(work);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => lost.cancel(),
                    () = self.hold(&deadline) => lost.cancel(),
                    () = &mut work => lost.cancel(),
                }
                // Work under way sees the cancelled token; what ignores it is dropped with its term.
                let _ = tokio::time::timeout(self.config.retry_period, &mut work).await;
            }
            gauge.set(0.0);
            info!(lease = %self.name, identity = %self.identity, "is not the leader any more");
            if deadline.get() > Instant::now() {
                self.release().await;
            }
        }
    }

    /// Until the lease is ours.
    async fn acquire(&mut self) -> Won {
        loop {
            let began = Instant::now();
            match self.attempt(Aim::Win).await {
                Ok(Some(Held { epoch, since })) => {
                    let deadline = Deadline::at(began + self.config.renew_deadline);
                    let fence = Fence::new((NAMESPACE, &self.name), &self.identity, epoch, deadline.clone());
                    return Won { fence, deadline, since, lost: CancellationToken::new() };
                }
                Ok(None) => {}
                Err(error) if error.is_conflict() || error.is_already_exists() => {
                    debug!(lease = %self.name, "somebody else was faster");
                }
                Err(error) => {
                    debug!(lease = %self.name, %error, "cannot try for the lease");
                }
            }
            tokio::time::sleep(self.until_next_attempt()).await;
        }
    }

    /// Others' leases are looked at once per period, and right when one runs out.
    fn until_next_attempt(&self) -> Duration {
        let period = self.entropy.jittered(self.config.retry_period);
        match &self.observed {
            Some((spec, since)) if !is_free(spec) => {
                let left = (*since + self.config.lease_duration).saturating_duration_since(Instant::now());
                if left.is_zero() { period } else { period.min(left + self.entropy.jittered(SPREAD)) }
            }
            // Nobody is known to hold it, or nobody could be asked yet.
            _ => self.entropy.jittered(RETRY_UNHELD.min(self.config.retry_period)),
        }
    }

    /// Renews until it cannot.
    async fn hold(&mut self, deadline: &Deadline) {
        loop {
            tokio::time::sleep(self.config.retry_period.min(self.config.renew_deadline / 2)).await;
            loop {
                let began = Instant::now();
                if began >= deadline.get() {
                    return;
                }
                match tokio::time::timeout_at(deadline.get(), self.attempt(Aim::Keep)).await {
                    Ok(Ok(Some(_))) if Instant::now() < deadline.get() => {
                        deadline.set(began + self.config.renew_deadline);
                        break;
                    }
                    Ok(Ok(Some(_) | None)) | Err(_) => return,
                    Ok(Err(error)) => {
                        debug!(lease = %self.name, %error, "cannot renew the lease yet");
                        tokio::time::sleep(RENEW_RETRY).await;
                    }
                }
            }
        }
    }

    /// One step: takes or renews the lease if it may.
    async fn attempt(&mut self, aim: Aim) -> Result<Option<Held>, ClientError> {
        if let Some(lease) = self.held.take().filter(|_| aim == Aim::Keep) {
            match self.write(lease, aim).await {
                // Somebody wrote it, perhaps we did and were not told.
                Err(error) if error.is_conflict() => {}
                done => return done.map(Some),
            }
        }
        let key = ObjectKey::namespaced(NAMESPACE, &self.name);
        let read = match aim {
            Aim::Keep => self.client.get::<Lease>(&key).await,
            // An old view can only lead to a write that is refused.
            Aim::Win => self.client.get_known(&key).await,
        };
        let lease = match read {
            Ok(lease) => lease,
            Err(error) if error.is_not_found() && aim == Aim::Win => return self.create().await.map(Some),
            Err(error) => return Err(error),
        };
        let seen = lease.spec.clone().unwrap_or_default();
        if self.observed.as_ref().is_none_or(|(known, _)| *known != seen) {
            self.observed = Some((seen.clone(), Instant::now()));
        }
        let ours = seen.holder_identity.as_deref() == Some(self.identity.as_str());
        let may = match aim {
            Aim::Keep => ours,
            Aim::Win => ours || is_free(&seen) || self.has_run_out(),
        };
        if !may {
            return Ok(None);
        }
        self.write(lease, aim).await.map(Some)
    }

    /// Makes it ours, unless somebody wrote it since.
    async fn write(&mut self, mut lease: Lease, aim: Aim) -> Result<Held, ClientError> {
        lease.spec = Some(self.spec(&lease.spec.unwrap_or_default(), aim));
        let written = self.client.replace(&lease).await?;
        Ok(self.took(written))
    }

    fn took(&mut self, written: Lease) -> Held {
        let since = written.revision();
        let spec = written.spec.clone().unwrap_or_default();
        let epoch = spec.lease_transitions.unwrap_or_default();
        self.observed = Some((spec, Instant::now()));
        self.held = Some(written);
        Held { epoch, since }
    }

    fn has_run_out(&self) -> bool {
        let Some((spec, since)) = &self.observed else { return false };
        let agreed = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
        since.elapsed() >= agreed.unwrap_or(self.config.lease_duration)
    }

    async fn create(&mut self) -> Result<Held, ClientError> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(&LeaseSpec::default(), Aim::Win)),
        };
        let written = self.client.create(&lease).await?;
        Ok(self.took(written))
    }

    /// A term has an epoch of its own, also after one of ours: what that left under way must not land in it.
    fn spec(&self, before: &LeaseSpec, aim: Aim) -> LeaseSpec {
        let now = MicroTime(self.clock.now());
        let epoch = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs().max(1)).ok(),
            acquire_time: match aim {
                Aim::Keep => before.acquire_time.clone(),
                Aim::Win => Some(now.clone()),
            },
            renew_time: Some(now),
            lease_transitions: Some(match aim {
                Aim::Keep => epoch,
                Aim::Win => epoch.saturating_add(1),
            }),
            preferred_holder: None,
            strategy: None,
        }
    }

    /// Gives the lease back, so that the next leader need not wait. Best effort: it runs out anyway.
    async fn release(&mut self) {
        let key = ObjectKey::namespaced(NAMESPACE, &self.name);
        let Ok(mut lease) = self.client.get::<Lease>(&key).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(self.clock.now()));
        if let Err(error) = self.client.replace(&lease).await {
            debug!(lease = %self.name, %error, "cannot give the lease back");
        }
    }
}

/// So that candidates do not all ask in the instant that a lease runs out.
const SPREAD: Duration = Duration::from_millis(100);
const FIRST_TRY_MS_MAX: u64 = 300;
const RETRY_UNHELD: Duration = Duration::from_millis(250);
const RENEW_RETRY: Duration = Duration::from_millis(250);

/// What a lease is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To go on with a term.
    Keep,
    /// To begin one.
    Win,
}

/// A lease that is ours, as last written.
struct Held {
    epoch: i32,
    since: Revision,
}

struct Won {
    fence: Fence,
    deadline: Deadline,
    since: Revision,
    lost: CancellationToken,
}

fn is_free(spec: &LeaseSpec) -> bool {
    spec.holder_identity.as_deref().unwrap_or_default().is_empty()
}

#[cfg(test)]
mod tests;
