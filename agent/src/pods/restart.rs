//! Whether a container that has ended runs again: its own rules, then its own policy, then the pod's. Pure.
//!
//! KEP-5307 (rules and policies of single containers), KEP-753 (sidecars).

use k8s_openapi::api::core::v1::{Container as ContainerSpec, ContainerRestartRule, Pod};

/// What a container is to its pod, which decides what its policies mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    /// Runs once to its end, before the main ones.
    Init,
    /// An init container that keeps running beside the others.
    Sidecar,
}

impl Part {
    pub(crate) fn of_init(spec: &ContainerSpec) -> Self {
        if is_sidecar(spec) { Self::Sidecar } else { Self::Init }
    }
}

/// True for an init container that keeps running beside the others. To be asked of init containers only.
pub(crate) fn is_sidecar(init: &ContainerSpec) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// The names of the pod's sidecars, in the order in which they start.
pub(crate) fn sidecars(pod: &Pod) -> Vec<&str> {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits.filter(|init| is_sidecar(init)).map(|init| init.name.as_str()).collect()
}

/// True when the container runs again after ending with this code.
pub(crate) fn restarts_after(pod: &Pod, spec: &ContainerSpec, part: Part, code: i32) -> bool {
    match part {
        Part::Sidecar => return true,
        Part::Init if code == 0 => return false,
        Part::Init | Part::Main => {}
    }
    if spec.restart_policy_rules.iter().flatten().any(|rule| asks_for(rule, code)) {
        return true;
    }
    let of_pod = || pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    match spec.restart_policy.as_deref().or_else(of_pod) {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

fn asks_for(rule: &ContainerRestartRule, code: i32) -> bool {
    let Some(codes) = rule.exit_codes.as_ref().filter(|_| rule.action == "Restart") else { return false };
    let listed = codes.values.iter().flatten().any(|value| *value == code);
    match codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn restarts(policy: &str, container: serde_json::Value, part: Part) -> String {
        let mut container = container;
        container["name"] = json!("c");
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {}, "spec": {"restartPolicy": policy, "containers": [container]}}),
        )
        .unwrap();
        let spec = &pod.spec.as_ref().unwrap().containers[0];
        let codes = [0, 1, 42].map(|code| if restarts_after(&pod, spec, part, code) { '+' } else { '-' });
        codes.iter().collect()
    }

    #[test]
    fn the_pods_policy_holds_where_nothing_else_is_said() {
        assert_eq!(restarts("Always", json!({}), Part::Main), "+++");
        assert_eq!(restarts("OnFailure", json!({}), Part::Main), "-++");
        assert_eq!(restarts("Never", json!({}), Part::Main), "---");
        assert_eq!(restarts("Always", json!({}), Part::Init), "-++");
        assert_eq!(restarts("Never", json!({}), Part::Init), "---");
        assert_eq!(restarts("Never", json!({"restartPolicy": "Always"}), Part::Sidecar), "+++");
    }

    #[test]
    fn a_containers_own_policy_and_rules_go_first() {
        assert_eq!(restarts("Always", json!({"restartPolicy": "Never"}), Part::Main), "---");
        assert_eq!(restarts("Never", json!({"restartPolicy": "OnFailure"}), Part::Main), "-++");
        let rule = |operator: &str| {
            json!({"restartPolicy": "Never", "restartPolicyRules":
                [{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]})
        };
        assert_eq!(restarts("Never", rule("In"), Part::Main), "--+");
        assert_eq!(restarts("Never", rule("NotIn"), Part::Main), "++-");
        assert_eq!(restarts("Never", rule("In"), Part::Init), "--+");
        assert_eq!(restarts("Never", rule("NotIn"), Part::Init), "-+-");
        assert_eq!(restarts("Never", rule("Unknown"), Part::Main), "---");
    }
}
