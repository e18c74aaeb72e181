//! Resizing a running pod in place (KEP-1287): whether the node can give what is asked for now. Pure.
//!
//! What a pod was given is read from its own status, so a restarted agent knows it; what its containers have is
//! read from their cgroups.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::containers::lasting;
use super::status::has_ended;
use crate::cgroups::resource_amount;

const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Thousandths of processors, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) cpu_millis: i128,
    pub(crate) memory_bytes: i128,
}

/// What is to be told of a resize.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resizing {
    /// Why it does not begin.
    pub(crate) pending: Option<Pending>,
    /// Containers that do not have yet what they were given.
    pub(crate) unfinished: BTreeSet<String>,
    /// Why it does not get on.
    pub(crate) error: Option<String>,
}

impl Resizing {
    pub(crate) fn is_done(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// `Deferred` or `Infeasible`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The pod has been given what it asks for, or is new.
    Unchanged,
    Granted,
    Refused(Pending),
}

/// `others` adds up what the other pods of the node have been given; it is asked only when something is new.
pub(crate) fn decide(
    pod: &Pod,
    told: Option<&PodStatus>,
    allocatable: Amounts,
    others: impl FnOnce() -> Amounts,
) -> Verdict {
    let Some(told) = told else { return Verdict::Unchanged };
    let is_new = |container: &Container| {
        given(told, &container.name).is_some_and(|given| !same(&given, container.resources.as_ref()))
    };
    if !lasting(pod).any(is_new) {
        return Verdict::Unchanged;
    }
    let wanted = asked(pod, |container| container.resources.clone().unwrap_or_default());
    let given = asked(pod, |container| given_or_asked(Some(told), container));
    let others = others();
    for (what, wanted, _, capacity, _) in wanted.beside(given, allocatable, others) {
        if wanted > capacity {
            let message = format!(
                "Node didn't have enough capacity: {what}, requested: {wanted}, capacity: {capacity}"
            );
            return Verdict::Refused(Pending { reason: "Infeasible", message });
        }
    }
    for (what, wanted, given, capacity, used) in wanted.beside(given, allocatable, others) {
        if wanted > given && used + wanted > capacity {
            let message = format!(
                "Node didn't have enough resource: {what}, requested: {wanted}, used: {used}, capacity: {capacity}"
            );
            return Verdict::Refused(Pending { reason: "Deferred", message });
        }
    }
    Verdict::Granted
}

/// The pod as it was before a resize that it is refused.
pub(crate) fn as_given(pod: &Pod, told: &PodStatus) -> Pod {
    let mut pod = pod.clone();
    let spec = pod.spec.iter_mut();
    let containers =
        spec.flat_map(|spec| spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()));
    for container in containers {
        let Some(given) = given(told, &container.name) else { continue };
        let resources = container.resources.get_or_insert_default();
        for (ours, theirs) in
            [(&mut resources.requests, &given.requests), (&mut resources.limits, &given.limits)]
        {
            for name in RESIZABLE {
                let amount = theirs.as_ref().and_then(|amounts| amounts.get(name));
                match amount {
                    Some(amount) => {
                        ours.get_or_insert_default().insert(name.to_owned(), amount.clone());
                    }
                    None => {
                        ours.as_mut().and_then(|ours| ours.remove(name));
                    }
                }
            }
        }
    }
    pod
}

/// What all pods but one have been given together.
pub(crate) fn of_others<'a>(pods: impl Iterator<Item = &'a Pod>, uid: &str) -> Amounts {
    let others = pods.filter(|pod| pod.metadata.uid.as_deref() != Some(uid) && !has_ended(pod));
    others.fold(Amounts::default(), |sum, pod| {
        let one = asked(pod, |container| given_or_asked(pod.status.as_ref(), container));
        Amounts {
            cpu_millis: sum.cpu_millis + one.cpu_millis,
            memory_bytes: sum.memory_bytes + one.memory_bytes,
        }
    })
}

/// True when the container must be started anew to get another amount of this.
pub(crate) fn restarts_for(container: &Container, resource: &str) -> bool {
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| policy.resource_name == resource && policy.restart_policy == "RestartContainer")
}

impl Amounts {
    /// Of requests, or of what a node has.
    pub(crate) fn of(amounts: &BTreeMap<String, Quantity>) -> Self {
        let thousandths =
            |name: &str| amounts.get(name).and_then(|amount| resource_amount(&amount.0)).unwrap_or(0);
        Self { cpu_millis: thousandths("cpu"), memory_bytes: (thousandths("memory") + 999) / 1000 }
    }

    fn beside(self, given: Self, capacity: Self, used: Self) -> [(&'static str, i128, i128, i128, i128); 2] {
        [
            ("memory", self.memory_bytes, given.memory_bytes, capacity.memory_bytes, used.memory_bytes),
            ("cpu", self.cpu_millis, given.cpu_millis, capacity.cpu_millis, used.cpu_millis),
        ]
    }
}

/// The requests of a pod: its containers and sidecars together, or its largest init container.
fn asked(pod: &Pod, resources: impl Fn(&Container) -> ResourceRequirements) -> Amounts {
    let of = |container: &Container| Amounts::of(&resources(container).requests.unwrap_or_default());
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let mut sum = Amounts::default();
    let sidecars = inits.iter().filter(|init| super::restart::is_sidecar(init));
    for container in spec.iter().flat_map(|spec| &spec.containers).chain(sidecars) {
        let one = of(container);
        sum.cpu_millis += one.cpu_millis;
        sum.memory_bytes += one.memory_bytes;
    }
    for init in inits {
        let one = of(init);
        sum.cpu_millis = sum.cpu_millis.max(one.cpu_millis);
        sum.memory_bytes = sum.memory_bytes.max(one.memory_bytes);
    }
    sum
}

/// What a running container was given last, as its status tells.
fn given(told: &PodStatus, name: &str) -> Option<ResourceRequirements> {
    let mut all = told.container_statuses.iter().chain(&told.init_container_statuses).flatten();
    let status = all.find(|status| status.name == name)?;
    let limits = status.resources.as_ref()?.limits.clone();
    Some(ResourceRequirements {
        requests: status.allocated_resources.clone(),
        limits,
        ..ResourceRequirements::default()
    })
}

/// A container that nothing was told of has what it asks for.
pub(super) fn given_or_asked(told: Option<&PodStatus>, container: &Container) -> ResourceRequirements {
    let given = told.and_then(|told| given(told, &container.name));
    given.unwrap_or_else(|| container.resources.clone().unwrap_or_default())
}

fn same(given: &ResourceRequirements, wanted: Option<&ResourceRequirements>) -> bool {
    let amount = |amounts: Option<&BTreeMap<String, Quantity>>, name: &str| {
        amounts
            .and_then(|amounts| amounts.get(name))
            .and_then(|amount| resource_amount(&amount.0))
            .unwrap_or(0)
    };
    RESIZABLE.iter().all(|name| {
        amount(given.requests.as_ref(), name) == amount(wanted.and_then(|w| w.requests.as_ref()), name)
            && amount(given.limits.as_ref(), name) == amount(wanted.and_then(|w| w.limits.as_ref()), name)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uid: &str, cpu: &str, given: Option<&str>) -> Pod {
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let status = match given {
            None => Value::Null,
            Some(cpu) => {
                json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "resources": resources(cpu), "allocatedResources": {"cpu": cpu}}]})
            }
        };
        serde_json::from_value(json!({"metadata": {"uid": uid},
            "spec": {"containers": [{"name": "c", "resources": resources(cpu)}]}, "status": status}))
        .unwrap()
    }

    fn decided(wanted: &str, given: Option<&str>, others: &[Pod]) -> String {
        let pod = pod("p", wanted, given);
        let allocatable = Amounts { cpu_millis: 2000, memory_bytes: 1 << 30 };
        match decide(&pod, pod.status.as_ref(), allocatable, || of_others(others.iter(), "p")) {
            Verdict::Unchanged => "unchanged".to_owned(),
            Verdict::Granted => "granted".to_owned(),
            Verdict::Refused(pending) => format!("{}: {}", pending.reason, pending.message),
        }
    }

    #[test]
    fn what_fits_is_granted() {
        assert_eq!(decided("100m", None, &[]), "unchanged");
        assert_eq!(decided("1000m", Some("1"), &[]), "unchanged");
        assert_eq!(decided("200m", Some("100m"), &[]), "granted");
        assert_eq!(
            decided("3", Some("100m"), &[]),
            "Infeasible: Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"
        );
    }

    #[test]
    fn what_others_have_is_not_taken_from_them() {
        let others = [pod("q", "1500m", Some("1200m")), pod("p", "9", None)];
        assert_eq!(
            decided("1", Some("100m"), &others),
            "Deferred: Node didn't have enough resource: cpu, requested: 1000, used: 1200, capacity: 2000"
        );
        assert_eq!(decided("800m", Some("100m"), &others), "granted");
        assert_eq!(decided("900m", Some("1"), &others), "granted", "less is always to be had");
    }

    #[test]
    fn a_refused_pod_keeps_what_it_had() {
        let wanted = pod("p", "3", Some("100m"));
        let kept = as_given(&wanted, wanted.status.as_ref().unwrap());
        assert_eq!(kept.spec, pod("p", "100m", None).spec);
    }
}
