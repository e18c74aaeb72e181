//! Which pod has to go, and in what words it is told. Pure.
//!
//! The kubelet's order (KEP-less, `eviction/helpers.go`): who uses more than it asked for, then who matters least,
//! then who uses most beyond what it asked for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::thresholds::{Crossed, Signal, binary};
use super::usage::{PodUsage, empty_dirs};
use crate::cgroups::resource_amount;
use crate::pods::is_critical;
use crate::statics::SOURCE;

pub(super) struct Candidate {
    pub(super) pod: Arc<Pod>,
    pub(super) usage: PodUsage,
}

/// The pod that goes first for the sake of what is short; `None` when none may or none would help.
pub(super) fn first(candidates: &[Candidate], signal: Signal) -> Option<&Candidate> {
    candidates.iter().filter(|candidate| !stays(&candidate.pod)).max_by_key(|candidate| {
        let (used, asked) = candidate.balance(signal);
        let priority = candidate.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        (used > asked, std::cmp::Reverse(priority), i128::from(used) - i128::from(asked))
    })
}

impl Candidate {
    /// What it uses, and what it asked for.
    fn balance(&self, signal: Signal) -> (u64, u64) {
        let used = match signal {
            Signal::Memory => self.usage.memory(),
            Signal::Storage | Signal::Inodes => self.usage.storage,
            Signal::Pids => 0,
        };
        let asked = containers(&self.pod).filter_map(|container| request(container, signal.resource())).sum();
        (used, asked)
    }

    /// Why this pod is evicted.
    pub(super) fn message(&self, crossed: &Crossed) -> String {
        let resource = crossed.signal.resource();
        let mut message = format!("The node was low on resource: {resource}. {crossed}");
        for container in containers(&self.pod) {
            let Some(used) = self.usage.containers.get(&container.name) else { continue };
            let used = match crossed.signal {
                Signal::Memory => used.memory,
                Signal::Storage => used.storage,
                Signal::Inodes | Signal::Pids => continue,
            };
            let asked = request(container, resource).unwrap_or(0);
            if used > asked {
                message += &format!(
                    "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
                    container.name,
                    binary(used),
                    binary(asked)
                );
            }
        }
        message
    }

    /// What the pod has more of than its own specification allows, in words.
    pub(super) fn over_its_limits(&self) -> Option<String> {
        for (name, source) in empty_dirs(&self.pod) {
            let Some(limit) = &source.size_limit else { continue };
            if self.usage.volumes.get(name).is_some_and(|used| exceeds(*used, &limit.0)) {
                return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.0));
            }
        }
        let limits: Vec<(&Container, &str)> = containers(&self.pod)
            .filter_map(|container| Some((container, storage_limit(container)?)))
            .collect();
        let total: u64 = limits.iter().filter_map(|(_, limit)| bytes(limit)).sum();
        if !limits.is_empty() && self.usage.storage > total {
            let total = binary(total);
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
            ));
        }
        limits.iter().find_map(|(container, limit)| {
            let name = &container.name;
            let used = self.usage.containers.get(name)?.storage;
            exceeds(used, limit)
                .then(|| format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. "))
        })
    }
}

/// True when the pod says how much disk it may use.
pub(super) fn limits_storage(pod: &Pod) -> bool {
    empty_dirs(pod).any(|(_, source)| source.size_limit.is_some())
        || containers(pod).any(|container| storage_limit(container).is_some())
}

fn stays(pod: &Pod) -> bool {
    let source = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SOURCE));
    source.is_some_and(|source| source != "api") || is_critical(pod)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers)
}

fn storage_limit(container: &Container) -> Option<&str> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    limits.get(Signal::Storage.resource()).map(|limit| limit.0.as_str())
}

fn request(container: &Container, resource: &str) -> Option<u64> {
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    bytes(&requests.get(resource)?.0)
}

fn exceeds(used: u64, limit: &str) -> bool {
    bytes(limit).is_some_and(|limit| limit > 0 && used > limit)
}

fn bytes(quantity: &str) -> Option<u64> {
    u64::try_from((resource_amount(quantity)? + 999) / 1000).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::usage::Used;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn candidate(name: &str, request: &str, memory_mib: u64, more: &Value) -> Candidate {
        let mut spec = json!({"containers": [{"name": "c", "resources": {"requests": {"memory": request}}}]});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        let used = Used { memory: memory_mib * MIB, storage: 5 * MIB };
        let containers = [("c".to_owned(), used)].into();
        let usage = PodUsage { containers, storage: 5 * MIB, ..PodUsage::default() };
        Candidate { pod: Arc::new(pod), usage }
    }

    fn first_of(candidates: &[Candidate]) -> String {
        let first = first(candidates, Signal::Memory);
        first.and_then(|candidate| candidate.pod.metadata.name.clone()).unwrap_or_default()
    }

    #[test]
    fn who_takes_more_than_it_asked_for_goes_before_who_matters_less() {
        let modest = || candidate("modest", "100Mi", 90, &json!({"priority": -5}));
        let greedy = || candidate("greedy", "10Mi", 20, &json!({"priority": 10}));
        let greedier = || candidate("greedier", "10Mi", 60, &json!({"priority": 10}));
        let critical = || candidate("critical", "0", 900, &json!({"priority": 2_000_001_000}));
        assert_eq!(first_of(&[modest(), greedy(), greedier(), critical()]), "greedier");
        assert_eq!(first_of(&[modest(), critical()]), "modest");
        assert_eq!(first_of(&[critical()]), "");
        let lesser = candidate("lesser", "10Mi", 11, &json!({}));
        assert_eq!(first_of(&[greedier(), lesser]), "lesser");
    }

    #[test]
    fn the_message_says_what_was_short_and_who_took_it() {
        let crossed = Crossed { signal: Signal::Memory, threshold: 100 * MIB, available: 50 * MIB };
        assert_eq!(
            candidate("p", "10Mi", 20, &json!({})).message(&crossed),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 20Mi, request is 10Mi, has larger consumption of memory. "
        );
    }

    #[test]
    fn limits_of_the_pods_own_are_told_by_name() {
        let limited = |limit: &str| {
            let resources = json!({"limits": {"ephemeral-storage": limit}});
            candidate("p", "0", 0, &json!({"containers": [{"name": "c", "resources": resources}]}))
        };
        assert_eq!(limited("6Mi").over_its_limits(), None);
        assert!(limits_storage(&limited("6Mi").pod));
        let said = limited("4Mi").over_its_limits().unwrap();
        assert_eq!(said, "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ");
        let mut volume =
            candidate("p", "0", 0, &json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}));
        assert_eq!(volume.over_its_limits(), None);
        volume.usage.volumes.insert("v".to_owned(), 2 * MIB);
        let said = volume.over_its_limits().unwrap();
        assert_eq!(said, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
    }
}
