//! Deployments, their ReplicaSets, and the pods of these, as the log has shown them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::object::Object;
use super::super::{Move, Step};

/// The Deployment's replicas when a set was sized last.
const DESIRED: &str = "/metadata/annotations/deployment.kubernetes.io~1desired-replicas";

#[derive(Default)]
pub(super) struct World {
    /// By uid, as all here.
    deployments: BTreeMap<String, Deployment>,
    sets: BTreeMap<String, Set>,
    /// Of each set, its pods by key.
    pods: BTreeMap<String, BTreeMap<String, Pod>>,
}

pub(super) struct Deployment {
    pub(super) key: String,
    /// By generation, from the one that its controller has seen on.
    specs: BTreeMap<i64, Spec>,
}

/// What a rollout is bound by.
#[derive(Clone, Copy)]
pub(super) struct Spec {
    pub(super) replicas: i64,
    pub(super) surge: i64,
    pub(super) unavailable: i64,
    pub(super) is_recreate: bool,
}

pub(super) struct Set {
    deployment: Option<String>,
    /// What it wants, by generation, from the one that its controller has seen on.
    wants: BTreeMap<i64, i64>,
    /// What its last two statuses said.
    told_available: [i64; 2],
}

struct Pod {
    is_active: bool,
    is_ready: bool,
}

/// Somebody changed how many a ReplicaSet wants; zero before there was one.
pub(super) struct Scaled {
    pub(super) set: String,
    pub(super) from: i64,
    pub(super) to: i64,
    /// All sets of the Deployment have shares of its new size, whatever of them is available.
    pub(super) is_share: bool,
}

impl Deployment {
    pub(super) fn specs(&self) -> impl Iterator<Item = Spec> {
        self.specs.values().copied()
    }
}

impl Set {
    /// What it wants now.
    pub(super) fn replicas(&self) -> i64 {
        self.wants.last_key_value().map_or(0, |(_, replicas)| *replicas)
    }

    /// The most of what its controller may believe that it wants.
    pub(super) fn most(&self) -> Option<i64> {
        self.wants.values().copied().max()
    }
}

impl World {
    /// What a revision scaled.
    pub(super) fn learn(&mut self, step: &Step<'_>) -> Vec<Scaled> {
        let mut scaled = Vec::new();
        for one in &step.moves {
            match one.key.split('/').nth(2) {
                Some("deployments") => self.learn_deployment(one),
                Some("replicasets") => scaled.extend(self.learn_set(one)),
                Some("pods") => self.learn_pod(one),
                Some(_) | None => {}
            }
        }
        scaled
    }

    fn learn_deployment(&mut self, one: &Move<'_>) {
        let Some(object) = &one.after else {
            one.before.as_ref().map(|before| self.deployments.remove(before.uid()));
            return;
        };
        let new = || Deployment { key: one.key.to_owned(), specs: BTreeMap::new() };
        let deployment = self.deployments.entry(object.uid().to_owned()).or_insert_with(new);
        remember(&mut deployment.specs, object, spec(object));
    }

    fn learn_set(&mut self, one: &Move<'_>) -> Option<Scaled> {
        let Some(object) = &one.after else {
            one.before.as_ref().map(|before| self.sets.remove(before.uid()));
            return None;
        };
        let deployment = object.controlled_by("Deployment").map(str::to_owned);
        let new = || Set { deployment, wants: BTreeMap::new(), told_available: [0; 2] };
        let set = self.sets.entry(object.uid().to_owned()).or_insert_with(new);
        let from = set.replicas();
        remember(&mut set.wants, object, object.number("/spec/replicas").unwrap_or(1));
        let available = object.number("/status/availableReplicas").unwrap_or(0);
        set.told_available = [set.told_available[1], available];
        let desired = |object: &Object<'_>| object.at(DESIRED).cloned();
        let is_share = one.before.as_ref().is_some_and(|before| desired(before) != desired(object));
        let scaled = Scaled { set: object.uid().to_owned(), from, to: set.replicas(), is_share };
        (scaled.from != scaled.to).then_some(scaled)
    }

    fn learn_pod(&mut self, one: &Move<'_>) {
        let set_of = |pod: &Object<'_>| pod.controlled_by("ReplicaSet").map(str::to_owned);
        if let Some(set) = one.before.as_deref().and_then(set_of) {
            self.pods.get_mut(&set).map(|pods| pods.remove(one.key));
        }
        if let Some((pod, set)) = one.after.as_deref().and_then(|pod| Some((pod, set_of(pod)?))) {
            let known = Pod { is_active: pod.is_active(), is_ready: pod.is_ready() };
            self.pods.entry(set).or_default().insert(one.key.to_owned(), known);
        }
    }

    pub(super) fn set(&self, uid: &str) -> Option<&Set> {
        self.sets.get(uid)
    }

    pub(super) fn deployment_of(&self, set: &str) -> Option<&Deployment> {
        self.deployments.get(self.sets.get(set)?.deployment.as_ref()?)
    }

    /// All sets of the set's Deployment.
    pub(super) fn siblings_by_uid(&self, set: &str) -> impl Iterator<Item = (&str, &Set)> {
        let deployment = self.sets.get(set).and_then(|set| set.deployment.clone());
        let same = move |set: &Set| deployment.is_some() && set.deployment == deployment;
        self.sets.iter().filter(move |(_, set)| same(set)).map(|(uid, set)| (uid.as_str(), set))
    }

    pub(super) fn siblings(&self, set: &str) -> impl Iterator<Item = &Set> {
        self.siblings_by_uid(set).map(|(_, set)| set)
    }

    pub(super) fn active(&self, set: &str) -> i64 {
        self.count(set, |pod| pod.is_active)
    }

    /// The most of a set's pods that anybody may take for available.
    pub(super) fn available(&self, set: &str) -> i64 {
        let told = self.sets.get(set).map_or([0; 2], |set| set.told_available);
        self.count(set, |pod| pod.is_active && pod.is_ready).max(told[0]).max(told[1])
    }

    /// The least: what its status did not count yet was as good as not there for who went by that.
    pub(super) fn least_available(&self, set: &str) -> i64 {
        let told = self.sets.get(set).map_or(0, |set| set.told_available[1]);
        self.count(set, |pod| pod.is_active && pod.is_ready).min(told)
    }

    fn count(&self, set: &str, which: impl Fn(&Pod) -> bool) -> i64 {
        let pods = self.pods.get(set).into_iter().flat_map(BTreeMap::values);
        i64::try_from(pods.filter(|pod| which(pod)).count()).unwrap_or(i64::MAX)
    }
}

/// Adds what the object's generation wants, and forgets what its controller has left behind.
fn remember<T>(by_generation: &mut BTreeMap<i64, T>, object: &Object<'_>, wanted: T) {
    let generation = object.number("/metadata/generation").unwrap_or(0);
    by_generation.insert(generation, wanted);
    let observed = object.number("/status/observedGeneration").unwrap_or(0);
    by_generation.retain(|known, _| *known >= observed.min(generation));
}

fn spec(deployment: &Object<'_>) -> Spec {
    let replicas = deployment.number("/spec/replicas").unwrap_or(1);
    let is_recreate = deployment.text("/spec/strategy/type") == "Recreate";
    let part = |name: &str| deployment.at(&format!("/spec/strategy/rollingUpdate/{name}"));
    let [mut surge, mut unavailable] = [0, replicas];
    if !is_recreate {
        surge = part_of(part("maxSurge"), replicas, 99);
        unavailable = part_of(part("maxUnavailable"), replicas, 0);
        // Else nothing could ever move.
        unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    }
    Spec { replicas, surge, unavailable, is_recreate }
}

/// A number, or hundredths of the whole, a quarter if it is left out. `up` is 99 to round up, 0 to round down.
fn part_of(value: Option<&Value>, whole: i64, up: i64) -> i64 {
    let percent = |percent: i64| (whole * percent + up) / 100;
    match value {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
        Some(Value::String(text)) => percent(text.trim_end_matches('%').parse().unwrap_or(0)),
        _ => percent(25),
    }
}
