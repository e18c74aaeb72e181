//! nodeSelector, and what node affinity requires.

use client::HasMetadata;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm};

use super::Reason;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Vec<Reason> {
    let Some(spec) = &pod.pod.spec else { return Vec::new() };
    let mut wanted = spec.node_selector.iter().flatten();
    let selected = wanted.all(|(key, value)| node.node.label(key) == Some(value.as_str()));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    // The terms are alternatives; none at all matches nothing.
    let allowed = required.is_none_or(|required| {
        required.node_selector_terms.iter().any(|term| matches_term(term, &node.node))
    });
    if selected && allowed {
        return Vec::new();
    }
    vec!["node(s) didn't match Pod's node affinity/selector".to_owned()]
}

/// All requirements of the term hold; an empty term matches nothing.
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
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
