//! Whether a node is one of those that a pod asks for: its nodeSelector, and what its node affinity requires.

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use crate::object::HasMetadata;

/// True when nothing in the pod speaks against the node's name and labels.
pub fn allows(spec: &PodSpec, node: &Node) -> bool {
    let mut wanted = spec.node_selector.iter().flatten();
    let selected = wanted.all(|(key, value)| node.label(key) == Some(value.as_str()));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    // The terms are alternatives; none at all matches nothing.
    selected
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, node)))
}

/// All requirements of the term hold; an empty term matches nothing.
pub fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, node.label(&requirement.key)))
        && fields.iter().all(|requirement| {
            let value = (requirement.key == "metadata.name").then(|| node.name());
            holds(requirement, value)
        })
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let wanted = requirement.values.as_deref().unwrap_or_default();
    let is_wanted = |value: &str| wanted.iter().any(|wanted| wanted == value);
    let compare = |holds: fn(i64, i64) -> bool| {
        let bound = wanted.first().and_then(|wanted| wanted.parse().ok());
        let value = value.and_then(|value| value.parse().ok());
        bound.zip(value).is_some_and(|(bound, value)| holds(value, bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(is_wanted),
        "NotIn" => !value.is_some_and(is_wanted),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, bound| value > bound),
        "Lt" => compare(|value, bound| value < bound),
        _ => false,
    }
}
