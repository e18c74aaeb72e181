//! Keeps the rules of cluster roles that gather those of others: of all whose labels their selectors mean.

use client::{HasMetadata, ObjectKey, selects};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;
use tracing::debug;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};

pub(crate) struct ClusterRoleAggregationController;

impl Controller for ClusterRoleAggregationController {
    type Kind = ClusterRole;
    const NAME: &'static str = "clusterrole-aggregation-controller";

    fn new(_: &Shared) -> Self {
        Self
    }

    fn watches() -> Watches {
        // Any role may belong to any gathering one, and may just have ceased to.
        Watches::of::<ClusterRole>().maps::<ClusterRole>(|informers, _| {
            let roles = informers.cache::<ClusterRole>().list();
            roles.iter().filter(|role| role.aggregation_rule.is_some()).map(|role| role.key()).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let roles = cx.cache::<ClusterRole>();
        let Some(role) = roles.get(key) else { return Ok(Next::Done) };
        let all = roles.list();
        let Some(rules) = gathered(&role, all.iter().map(AsRef::as_ref)) else { return Ok(Next::Done) };
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(Next::Done);
        }
        let patch = json!({"metadata": {"resourceVersion": role.metadata.resource_version}, "rules": rules});
        let written = cx.client.merge_patch::<ClusterRole>(key, &patch).await?;
        cx.wrote(&written);
        debug!(role = key.name, rules = rules.len(), "gathered the rules of other roles");
        Ok(Next::Done)
    }
}

/// The rules of all roles that `role` gathers, each once, by the roles' names; nothing when it gathers none.
fn gathered<'a>(role: &ClusterRole, all: impl Iterator<Item = &'a ClusterRole>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let is_meant = |other: &&ClusterRole| {
        let labels = other.metadata.labels.as_ref();
        other.name() != role.name() && selectors.iter().any(|selector| selects(selector, labels))
    };
    let mut meant: Vec<&ClusterRole> = all.filter(is_meant).collect();
    meant.sort_by_key(|other| other.name());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in meant.iter().flat_map(|other| other.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn role(name: &str, label: &str, verbs: &[&str], gathers: &[&str]) -> ClusterRole {
        let selectors: Vec<Value> =
            gathers.iter().map(|label| json!({"matchLabels": {*label: "true"}})).collect();
        let rule = (!gathers.is_empty()).then(|| json!({"clusterRoleSelectors": selectors}));
        let rules: Vec<Value> = verbs
            .iter()
            .map(|verb| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}))
            .collect();
        let role = json!({
            "metadata": {"name": name, "labels": {label: "true"}}, "rules": rules, "aggregationRule": rule,
        });
        serde_json::from_value(role).expect("a role")
    }

    fn check(role: &ClusterRole, all: &[ClusterRole], expected: Option<&str>) {
        let rules = gathered(role, all.iter());
        let verbs =
            rules.map(|rules| rules.iter().flat_map(|rule| rule.verbs.clone()).collect::<Vec<_>>().join(" "));
        assert_eq!(verbs.as_deref(), expected, "{}", role.name());
    }

    #[test]
    fn rules_are_gathered_by_name_and_once() {
        let all = [
            role("c", "view", &["watch", "get"], &[]),
            role("b", "view", &["get", "list"], &[]),
            role("other", "else", &["delete"], &[]),
            role("edit", "view", &["update"], &["view"]),
        ];
        check(&all[3], &all, Some("get list watch"));
        check(&all[0], &all, None);
        check(&role("none", "x", &["get"], &["nobody"]), &all, Some(""));
    }
}
