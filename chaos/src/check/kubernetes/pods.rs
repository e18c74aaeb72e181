//! I1, I2, I13: a pod is bound once; a StatefulSet's identity is one pod's; live pods have addresses of their own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::object::Object;
use super::{Invariant, Step};
use crate::check::tally::Tally;

/// I1: the node that a pod was given stays.
#[derive(Default)]
pub(super) struct BoundOnce;

impl Invariant for BoundOnce {
    fn property(&self) -> &'static str {
        "pod-bound-once"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            let (Some(before), Some(after)) = (&one.before, &one.after) else { continue };
            let [was, is] = [before, after].map(|pod| pod.text("/spec/nodeName"));
            if !after.is_pod() || was.is_empty() || before.uid() != after.uid() {
                continue;
            }
            let wrong = || format!("pod {} was bound to {was}, and is bound to {is:?} now", after.shown());
            step.test(tally, (is != was).then(wrong));
        }
    }
}

/// I2: of one StatefulSet, an ordinal has at most one pod that has not ended.
#[derive(Default)]
pub(super) struct OneIdentity {
    /// By the set's uid and the ordinal: the keys of pods that have not ended.
    pods: BTreeMap<(String, String), Vec<String>>,
}

impl Invariant for OneIdentity {
    fn property(&self) -> &'static str {
        "statefulset-identity"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            if let Some(identity) = one.before.as_deref().and_then(identity) {
                self.pods.entry(identity).or_default().retain(|key| key != one.key);
            }
        }
        for one in &step.moves {
            let Some(pod) = &one.after else { continue };
            let Some(identity) = identity(pod) else { continue };
            let (set, ordinal) = identity.clone();
            let keys = self.pods.entry(identity).or_default();
            keys.push(one.key.to_owned());
            let wrong = || {
                format!(
                    "ordinal {ordinal} of the StatefulSet {set} has more than one pod: {}",
                    keys.join(", ")
                )
            };
            step.test(tally, (keys.len() > 1).then(wrong));
        }
    }
}

/// The set's uid and the ordinal, of a StatefulSet's pod that has not ended.
fn identity(pod: &Object<'_>) -> Option<(String, String)> {
    let set = pod.controlled_by("StatefulSet").filter(|_| pod.is_pod() && pod.is_live())?;
    let label = pod.text("/metadata/labels/apps.kubernetes.io~1pod-index");
    let ordinal = if label.is_empty() { pod.name.rsplit('-').next()? } else { label };
    Some((set.to_owned(), ordinal.to_owned()))
}

/// I13: of pods that have not ended, no two have one address, but for those that have their node's.
#[derive(Default)]
pub(super) struct OneAddress {
    /// Whose each is, by key.
    holders: BTreeMap<String, Vec<String>>,
}

impl Invariant for OneAddress {
    fn property(&self) -> &'static str {
        "pod-addresses"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            for address in one.before.as_deref().map(addresses).unwrap_or_default() {
                self.holders.entry(address.to_owned()).or_default().retain(|key| key != one.key);
            }
        }
        for one in &step.moves {
            for address in one.after.as_deref().map(addresses).unwrap_or_default() {
                let holders = self.holders.entry(address.to_owned()).or_default();
                holders.push(one.key.to_owned());
                let wrong = || format!("the address {address} is that of {}", holders.join(" and of "));
                step.test(tally, (holders.len() > 1).then(wrong));
            }
        }
    }
}

fn addresses<'a>(pod: &'a Object<'_>) -> Vec<&'a str> {
    if !pod.is_pod() || !pod.is_live() || pod.at("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let more = pod.list("/status/podIPs").iter().filter_map(|one| one["ip"].as_str());
    let mut all: Vec<&str> = more.chain([pod.text("/status/podIP")]).filter(|ip| !ip.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::script::Log;

    const POD: &str = "/registry/pods/default/web-0";

    fn bound(uid: &str, node: &str) -> serde_json::Value {
        json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}})
    }

    #[test]
    fn a_pod_is_bound_once() {
        let mut log = Log::default();
        log.put(POD, &json!({"metadata": {"uid": "u1"}, "spec": {}}));
        log.put(POD, &bound("u1", "a"));
        log.put(POD, &bound("u1", "a"));
        log.delete(POD);
        log.put(POD, &bound("u2", "b"));
        log.passes("pod-bound-once");
        log.put(POD, &bound("u2", "c"));
        log.fails("pod-bound-once", "was bound to b");
    }

    #[test]
    fn a_pod_is_never_unbound() {
        let mut log = Log::default();
        log.put(POD, &bound("u1", "a"));
        log.put(POD, &json!({"metadata": {"uid": "u1"}, "spec": {}}));
        log.fails("pod-bound-once", "was bound to a");
    }

    fn of_set(name: &str, set: &str, phase: &str) -> (String, serde_json::Value) {
        let owner = json!({"kind": "StatefulSet", "uid": set, "controller": true});
        let object =
            json!({"metadata": {"uid": name, "ownerReferences": [owner]}, "status": {"phase": phase}});
        (format!("/registry/pods/default/{name}"), object)
    }

    #[test]
    fn an_identity_is_one_pods() {
        let mut log = Log::default();
        for (key, pod) in
            [of_set("db-0", "s1", "Running"), of_set("db-1", "s1", "Running"), of_set("x-0", "s2", "")]
        {
            log.put(&key, &pod);
        }
        let (key, failed) = of_set("db-0", "s1", "Failed");
        log.put(&key, &failed);
        let (other, again) = of_set("again-0", "s1", "Pending");
        log.put(&other, &again);
        log.passes("statefulset-identity");
        log.put(&of_set("more-0", "s1", "").0, &of_set("more-0", "s1", "").1);
        log.fails("statefulset-identity", "ordinal 0 of the StatefulSet s1");
    }

    #[test]
    fn a_terminating_pod_still_has_its_identity() {
        let mut log = Log::default();
        let (key, mut pod) = of_set("db-0", "s1", "Running");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        log.put(&key, &pod);
        let (other, mut again) = of_set("else", "s1", "Pending");
        again["metadata"]["labels"] = json!({"apps.kubernetes.io/pod-index": "0"});
        log.put(&other, &again);
        log.fails("statefulset-identity", "ordinal 0");
    }

    fn addressed(ip: &str, phase: &str, host: bool) -> serde_json::Value {
        json!({"spec": {"hostNetwork": host}, "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]}})
    }

    #[test]
    fn live_pods_have_addresses_of_their_own() {
        let mut log = Log::default();
        let [one, two, three] = ["1", "2", "3"].map(|name| format!("/registry/pods/default/{name}"));
        log.put(&one, &addressed("10.0.0.1", "Running", false));
        log.put(&two, &addressed("10.0.0.2", "Running", false));
        log.put(&one, &addressed("10.0.0.1", "Succeeded", false));
        log.put(&two, &addressed("10.0.0.1", "Running", false));
        log.put(&three, &addressed("10.0.0.1", "Running", true));
        log.delete(&two);
        log.put(&three, &addressed("10.0.0.1", "Running", false));
        log.passes("pod-addresses");
        log.put(&two, &addressed("10.0.0.1", "Pending", false));
        log.fails("pod-addresses", "10.0.0.1");
    }

    #[test]
    fn a_second_address_counts_too() {
        let mut log = Log::default();
        log.put(
            POD,
            &json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}}),
        );
        log.put("/registry/pods/other/x", &json!({"status": {"podIP": "fd00::1"}}));
        log.fails("pod-addresses", "fd00::1");
    }
}
