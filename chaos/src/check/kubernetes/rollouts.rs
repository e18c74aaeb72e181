//! I4: a rollout goes neither above what may be more nor below what must be there, and a ReplicaSet makes no pod too many.
//!
//! Judged where a controller acts: when a Deployment's ReplicaSet is scaled, and when a ReplicaSet's pod is created. A
//! controller may act on any spec since the one that its status says it has seen, so the kindest of these is its bound;
//! and of what is available the most that it may have been told of.

mod world;

use self::world::{Scaled, World};
use super::{Invariant, Step};
use crate::check::tally::Tally;

/// All ReplicaSets of a Deployment together are never scaled up beyond its replicas and the surge.
#[derive(Default)]
pub(super) struct Surge(World);

impl Invariant for Surge {
    fn property(&self) -> &'static str {
        "rollout-surge"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for Scaled { set, from, to, .. } in self.0.learn(step) {
            let Some(deployment) = self.0.deployment_of(&set).filter(|_| to > from) else { continue };
            let Some(most) = deployment.specs().map(|spec| spec.replicas + spec.surge).max() else {
                continue;
            };
            let sum: i64 = self.0.siblings(&set).map(|set| set.replicas()).sum();
            let wrong = || format!("{} has ReplicaSets of {sum} replicas, of at most {most}", deployment.key);
            step.test(tally, (sum > most).then(wrong));
        }
    }
}

/// No ReplicaSet of a Deployment is scaled down so far that too few of its pods stay available; nor, when the Deployment
/// itself got smaller and each set its share of that, that too few are wanted.
#[derive(Default)]
pub(super) struct Unavailable(World);

impl Invariant for Unavailable {
    fn property(&self) -> &'static str {
        "rollout-available"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for Scaled { set, from, to, is_share } in self.0.learn(step) {
            let Some(deployment) = self.0.deployment_of(&set).filter(|_| to < from) else { continue };
            if deployment.specs().any(|spec| spec.is_recreate) {
                continue;
            }
            let Some(least) = deployment.specs().map(|spec| spec.replicas - spec.unavailable).min() else {
                continue;
            };
            let least_before = self.0.least_available(&set);
            let lost = least_before.min(from) - least_before.min(to);
            let stay: i64 = self
                .0
                .siblings_by_uid(&set)
                .map(|(uid, set)| match is_share {
                    true => set.replicas(),
                    false => self.0.available(uid).min(set.replicas()),
                })
                .sum();
            let wrong = || {
                format!(
                    "{} has at most {stay} available after a ReplicaSet went from {from} to {to}, of at least {least}",
                    deployment.key
                )
            };
            step.test(tally, (lost > 0 && stay < least).then(wrong));
        }
    }
}

/// A ReplicaSet never has more pods than it asks for because of one that was just created.
#[derive(Default)]
pub(super) struct Excess(World);

impl Invariant for Excess {
    fn property(&self) -> &'static str {
        "replica-excess"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        self.0.learn(step);
        for one in step.moves.iter().filter(|one| one.is_created) {
            let Some(pod) = one.after.as_ref().filter(|pod| pod.is_pod()) else { continue };
            let Some(set) = pod.controlled_by("ReplicaSet") else { continue };
            let Some(most) = self.0.set(set).and_then(|set| set.most()) else { continue };
            let active = self.0.active(set);
            let wrong =
                || format!("pod {} is one of {active} of its ReplicaSet, which wants {most}", pod.shown());
            step.test(tally, (active > most).then(wrong));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::Log;

    const DEPLOYMENT: &str = "/registry/deployments/default/web";
    const OLD: &str = "/registry/replicasets/default/web-old";
    const NEW: &str = "/registry/replicasets/default/web-new";

    fn deployment(log: &mut Log, generation: i64, observed: i64, replicas: i64) {
        let rolling = json!({"maxSurge": 1, "maxUnavailable": "25%"});
        let object = json!({
            "metadata": {"uid": "d1", "generation": generation},
            "spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}},
            "status": {"observedGeneration": observed},
        });
        log.put(DEPLOYMENT, &object);
    }

    fn scale(log: &mut Log, key: &str, replicas: i64, available: i64) {
        let owner = json!({"kind": "Deployment", "uid": "d1", "controller": true});
        let generation = log.next_revision();
        let object = json!({
            "metadata": {"uid": key, "generation": generation, "ownerReferences": [owner]},
            "spec": {"replicas": replicas},
            "status": {"availableReplicas": available, "observedGeneration": generation},
        });
        log.put(key, &object);
    }

    fn pod(set: &str, ready: bool) -> Value {
        let owner = json!({"kind": "ReplicaSet", "uid": set, "controller": true});
        let ready = if ready { "True" } else { "False" };
        json!({
            "metadata": {"ownerReferences": [owner]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn create(log: &mut Log, set: &str, number: u64, ready: bool) {
        log.put(
            &format!("/registry/pods/default/{}-{number}", set.rsplit('/').next().unwrap()),
            &pod(set, ready),
        );
    }

    /// Four that run.
    fn steady() -> Log {
        let mut log = Log::default();
        deployment(&mut log, 1, 1, 4);
        scale(&mut log, OLD, 4, 0);
        for number in 0..4 {
            create(&mut log, OLD, number, true);
        }
        scale(&mut log, OLD, 4, 4);
        log
    }

    #[test]
    fn a_rollout_within_its_bounds_passes() {
        let mut log = steady();
        deployment(&mut log, 2, 1, 4);
        scale(&mut log, NEW, 1, 0);
        deployment(&mut log, 2, 2, 4);
        scale(&mut log, OLD, 3, 4);
        scale(&mut log, NEW, 2, 0);
        create(&mut log, NEW, 0, true);
        create(&mut log, NEW, 1, true);
        scale(&mut log, NEW, 2, 2);
        scale(&mut log, OLD, 1, 3);
        for property in ["rollout-surge", "rollout-available", "replica-excess"] {
            log.passes(property);
        }
    }

    #[test]
    fn what_its_status_does_not_count_yet_may_go() {
        let mut log = Log::default();
        deployment(&mut log, 1, 1, 4);
        scale(&mut log, OLD, 4, 0);
        for number in 0..4 {
            create(&mut log, OLD, number, true);
        }
        scale(&mut log, OLD, 4, 2);
        let mut within = log.clone();
        scale(&mut within, OLD, 2, 2);
        within.passes("rollout-available");
        scale(&mut log, OLD, 1, 2);
        log.fails("rollout-available", "at most 1 available");
    }

    #[test]
    fn a_surge_too_high_fails() {
        let mut log = steady();
        scale(&mut log, NEW, 2, 0);
        log.fails("rollout-surge", "ReplicaSets of 6 replicas, of at most 5");
        let mut grown = steady();
        scale(&mut grown, OLD, 6, 4);
        grown.fails("rollout-surge", "of 6 replicas");
    }

    #[test]
    fn a_spec_that_was_not_seen_yet_still_allows_what_the_old_one_did() {
        let mut log = steady();
        deployment(&mut log, 2, 1, 2);
        scale(&mut log, NEW, 1, 0);
        log.passes("rollout-surge");
        deployment(&mut log, 2, 2, 2);
        scale(&mut log, NEW, 2, 0);
        log.fails("rollout-surge", "of at most 3");
    }

    #[test]
    fn too_few_that_stay_available_fail() {
        let mut log = steady();
        scale(&mut log, NEW, 1, 0);
        scale(&mut log, OLD, 2, 4);
        log.fails("rollout-available", "at most 2 available");
        let mut all = steady();
        scale(&mut all, OLD, 0, 4);
        all.fails("rollout-available", "of at least 3");
    }

    /// Of a Deployment that is made smaller during a rollout, each set gives its share, also the one that is available.
    #[test]
    fn a_share_of_a_smaller_size_may_be_what_is_available() {
        let share = |log: &mut Log, replicas: i64| {
            let owner = json!({"kind": "Deployment", "uid": "d1", "controller": true});
            let desired = json!({"deployment.kubernetes.io/desired-replicas": "3"});
            let metadata =
                json!({"uid": OLD, "generation": 9, "annotations": desired, "ownerReferences": [owner]});
            let (spec, status) = (json!({"replicas": replicas}), json!({"availableReplicas": 4}));
            log.put(OLD, &json!({"metadata": metadata, "spec": spec, "status": status}));
        };
        let mut log = steady();
        deployment(&mut log, 2, 2, 4);
        scale(&mut log, NEW, 1, 0);
        deployment(&mut log, 3, 3, 3);
        let mut too_far = log.clone();
        share(&mut log, 2);
        log.passes("rollout-available");
        share(&mut too_far, 1);
        too_far.fails("rollout-available", "at most 2 available");
    }

    #[test]
    fn scaling_a_deployment_down_is_no_outage() {
        let mut log = steady();
        deployment(&mut log, 2, 1, 1);
        scale(&mut log, OLD, 1, 4);
        log.passes("rollout-available");
    }

    #[test]
    fn a_pod_too_many_fails() {
        let mut log = steady();
        create(&mut log, OLD, 4, false);
        log.fails("replica-excess", "one of 5 of its ReplicaSet, which wants 4");
    }

    #[test]
    fn a_pod_that_replaces_a_failed_one_is_not_too_many_but_one_for_each_failure() {
        let mut log = steady();
        let key = "/registry/pods/default/web-old-0";
        let mut failed = pod(OLD, false);
        failed["status"]["phase"] = json!("Failed");
        log.put(key, &failed);
        create(&mut log, OLD, 4, false);
        log.passes("replica-excess");
        create(&mut log, OLD, 5, false);
        log.fails("replica-excess", "one of 5");
    }
}
