//! What pods count for: what they request and may use at most, while they run or may run.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use serde_json::Value;

use super::{Amounts, add, amounts};
use crate::quantity::Quantity;
use crate::{meta, tree};

const COMPUTE: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";
/// What every container must say if a quota has it.
const DEMANDED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// Whether it is a quota's name for something of pods.
pub(super) fn is_name(name: &str) -> bool {
    let plain = name.strip_prefix(REQUESTS).unwrap_or(name);
    name == "pods"
        || COMPUTE.contains(&name.strip_prefix(LIMITS).unwrap_or(plain))
        || plain.starts_with(HUGE_PAGES)
        || name.starts_with(REQUESTS) && is_extended(plain)
}

/// Somebody else's resource, a GPU for example.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/")
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if has_ended(pod) || should_be_gone(pod, now) {
        return Amounts::new();
    }
    named(&total(pod, "requests"), &total(pod, "limits"))
}

fn has_ended(pod: &Value) -> bool {
    matches!(tree::text(pod, "status.phase"), "Failed" | "Succeeded")
}

/// Its node may be lost, and nobody there to say that it went.
fn should_be_gone(pod: &Value, now: Timestamp) -> bool {
    ceases(pod).is_some_and(|at| now > at)
}

/// The grace once more after it ended, which is the deletion timestamp.
pub(super) fn ceases(pod: &Value) -> Option<Timestamp> {
    let deadline: Timestamp = meta::deletion_timestamp(pod)?.parse().ok()?;
    let grace = tree::int(pod, "metadata.deletionGracePeriodSeconds")?;
    Some(deadline + jiff::SignedDuration::from_secs(grace))
}

/// Requests and limits by the names of quotas.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut named = Amounts::from([("pods".to_owned(), Quantity::whole(1))]);
    for (resource, amount) in requests {
        let is_plain = COMPUTE.contains(&resource.as_str()) || resource.starts_with(HUGE_PAGES);
        if is_plain {
            named.insert(resource.clone(), *amount);
        }
        if is_plain || is_extended(resource) {
            named.insert(format!("{REQUESTS}{resource}"), *amount);
        }
    }
    for (resource, amount) in limits.iter().filter(|(resource, _)| COMPUTE.contains(&resource.as_str())) {
        named.insert(format!("{LIMITS}{resource}"), *amount);
    }
    named
}

/// What the pod needs at its worst moment: all containers together, or one of those that run before them beside the
/// sidecars that run already. What the pod says of itself as a whole goes before.
fn total(pod: &Value, side: &str) -> Amounts {
    let of = |container: &Value| amounts(container, &format!("resources.{side}"));
    let mut running = Amounts::new();
    for container in tree::items(pod, "spec.containers") {
        add(&mut running, &of(container));
    }
    let (mut sidecars, mut worst) = (Amounts::new(), Amounts::new());
    for container in tree::items(pod, "spec.initContainers") {
        let mut beside = sidecars.clone();
        add(&mut beside, &of(container));
        if tree::text(container, "restartPolicy") == "Always" {
            add(&mut running, &of(container));
            sidecars.clone_from(&beside);
        }
        raise(&mut worst, beside);
    }
    raise(&mut running, worst);
    running.extend(amounts(pod, &format!("spec.resources.{side}")));
    let overhead = amounts(pod, "spec.overhead");
    let is_limit = side == "limits";
    let counted = overhead.into_iter().filter(|(resource, _)| !is_limit || running.contains_key(resource));
    let counted: Amounts = counted.collect();
    add(&mut running, &counted);
    running
}

fn raise(amounts: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        if amounts.get(&name).is_none_or(|known| *known < amount) {
            amounts.insert(name, amount);
        }
    }
}

/// Which of a quota's names containers say nothing of though they must: `limits.cpu for: a,b; memory for: a`.
pub fn missing<'n>(pod: &Value, hard: impl Iterator<Item = &'n str>) -> Option<String> {
    let demanded: BTreeSet<&str> = hard.filter(|name| DEMANDED.contains(name)).collect();
    let mut silent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["spec.containers", "spec.initContainers"].iter().flat_map(|list| tree::items(pod, list))
    {
        let said = named(&amounts(container, "resources.requests"), &amounts(container, "resources.limits"));
        for name in demanded.iter().filter(|name| !said.contains_key(**name)) {
            silent.entry(name).or_default().insert(tree::text(container, "name"));
        }
    }
    let parts = silent.into_iter().map(|(name, containers)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
