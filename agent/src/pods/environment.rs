//! The environment of a container, and `$(NAME)` in its command, arguments and values. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, EnvVarSource, Pod};
use thiserror::Error;

use super::fields::{self, Allocatable};
use super::service_links;
use crate::desired::{Desired, ObjectKey};
use crate::tokens::PodTokens;

/// What values may refer to.
pub(crate) struct Sources<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) desired: &'a Desired,
    pub(crate) node_name: &'a str,
    pub(crate) node_ip: &'a str,
    pub(crate) pod_ip: &'a str,
    /// What the node has for pods.
    pub(crate) allocatable: &'a Allocatable,
    /// What the pod's projected volumes hold of its service account.
    pub(crate) tokens: &'a PodTokens,
}

/// The message of a container that cannot be configured, in the kubelet's words.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum EnvironmentError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("{0}")]
    Field(#[from] fields::FieldPathError),
    #[error("container {0} not found")]
    NoContainer(String),
}

/// The variables in the order in which the container gets them; a later one replaces an earlier one. Those of
/// services come last, where nothing else has their name; values may refer to them all the same.
pub(crate) fn environment(
    spec: &ContainerSpec,
    sources: &Sources<'_>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let linked = service_links::variables(sources.pod, sources.desired);
    let mut variables: Vec<(String, String)> = Vec::new();
    for from in spec.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let data = if let Some(source) = &from.config_map_ref {
            sources.config_map(&source.name, source.optional)?
        } else if let Some(source) = &from.secret_ref {
            sources.secret(&source.name, source.optional)?
        } else {
            None
        };
        for (key, value) in data.unwrap_or_default() {
            set(&mut variables, format!("{prefix}{key}"), value);
        }
    }
    for variable in spec.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand_from(value, |name| find(variables.iter().chain(&linked), name))),
            (None, Some(source)) => sources.value(source, spec)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut variables, variable.name.clone(), value);
        }
    }
    for (name, value) in linked {
        if !variables.iter().any(|(known, _)| *known == name) {
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// Replaces `$(NAME)` by its value and `$$` by `$`; what has no value stays as it is written.
pub(crate) fn expand(text: &str, variables: &[(String, String)]) -> String {
    expand_from(text, |name| find(variables, name))
}

fn find<'a>(variables: impl IntoIterator<Item = &'a (String, String)>, name: &str) -> Option<&'a str> {
    variables.into_iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A reference in a `subPathExpr` that nothing is known of.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("missing value for {0:?}")]
pub(crate) struct MissingValue(String);

/// As [`expand`], but a reference without a value is an error.
pub(crate) fn expand_known(text: &str, variables: &[(String, String)]) -> Result<String, MissingValue> {
    let mut missing = None;
    let expanded = expand_from(text, |name| {
        let found = find(variables, name);
        if found.is_none() {
            missing.get_or_insert_with(|| name.to_owned());
        }
        found
    });
    missing.map_or(Ok(expanded), |name| Err(MissingValue(name)))
}

fn expand_from<'a>(text: &str, mut value_of: impl FnMut(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value_of(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

fn set(variables: &mut Vec<(String, String)>, name: String, value: String) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = value,
        None => variables.push((name, value)),
    }
}

type Data = BTreeMap<String, String>;

impl Sources<'_> {
    /// `None` when it is optional and absent.
    fn value(&self, source: &EnvVarSource, spec: &ContainerSpec) -> Result<Option<String>, EnvironmentError> {
        if let Some(field) = &source.field_ref {
            return Ok(Some(fields::pod_field(&field.field_path, self)?));
        }
        if let Some(resource) = &source.resource_field_ref {
            let other = resource.container_name.as_deref().filter(|name| !name.is_empty());
            let other = match other {
                Some(name) => {
                    let found = super::containers::lasting(self.pod).find(|found| found.name == name);
                    found.ok_or_else(|| EnvironmentError::NoContainer(name.to_owned()))?
                }
                None => spec,
            };
            return Ok(Some(fields::resource_field(resource, other, self.allocatable)?));
        }
        if let Some(key) = &source.config_map_key_ref {
            let data = self.config_map(&key.name, key.optional)?;
            return self.pick("ConfigMap", &key.name, &key.key, key.optional, data);
        }
        if let Some(key) = &source.secret_key_ref {
            let data = self.secret(&key.name, key.optional)?;
            return self.pick("Secret", &key.name, &key.key, key.optional, data);
        }
        Ok(Some(String::new()))
    }

    fn pick(
        &self,
        kind: &'static str,
        name: &str,
        key: &str,
        optional: Option<bool>,
        data: Option<Data>,
    ) -> Result<Option<String>, EnvironmentError> {
        let Some(mut data) = data else { return Ok(None) };
        match data.remove(key) {
            Some(value) => Ok(Some(value)),
            None if optional == Some(true) => Ok(None),
            None => Err(EnvironmentError::NoKey {
                kind,
                namespace: self.namespace().to_owned(),
                name: name.to_owned(),
                key: key.to_owned(),
            }),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Option<Data>, EnvironmentError> {
        match self.desired.config_maps.get(&ObjectKey::new(self.namespace(), name)) {
            Some(found) => Ok(Some(found.data.clone().unwrap_or_default())),
            None if optional == Some(true) => Ok(None),
            None => Err(EnvironmentError::Missing { kind: "configmap", name: name.to_owned() }),
        }
    }

    fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<Data>, EnvironmentError> {
        match self.desired.secrets.get(&ObjectKey::new(self.namespace(), name)) {
            Some(found) => Ok(Some(
                found
                    .data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned()))
                    .collect(),
            )),
            None if optional == Some(true) => Ok(None),
            None => Err(EnvironmentError::Missing { kind: "secret", name: name.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    use super::*;

    fn check(env: &serde_json::Value, expected: Expect) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
            "spec": {"containers": [{
                "name": "c", "env": env["env"], "envFrom": env["envFrom"],
                "resources": {"limits": {"memory": "64Mi"}},
            }]},
        }))
        .unwrap();
        let map = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"a": "1"}})).unwrap();
        let secret =
            serde_json::from_value(json!({"metadata": {"name": "s"}, "data": {"p": "aHVzaA=="}})).unwrap();
        let mut desired = Desired::default();
        desired.config_maps.insert(ObjectKey::new("shop", "m"), Arc::new(map));
        desired.secrets.insert(ObjectKey::new("shop", "s"), Arc::new(secret));
        let api = serde_json::from_value(json!({
            "metadata": {"name": "kubernetes"},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "https", "port": 443}]},
        }))
        .unwrap();
        if env["withServices"] == true {
            desired.services.insert(ObjectKey::new("default", "kubernetes"), Arc::new(api));
        }
        let sources = Sources {
            pod: &pod,
            desired: &desired,
            node_name: "n1",
            node_ip: "10.0.0.1",
            pod_ip: "10.1.0.2",
            allocatable: &[("cpu".to_owned(), Quantity("2".to_owned()))].into(),
            tokens: &PodTokens::new(),
        };
        let spec = &pod.spec.as_ref().unwrap().containers[0];
        let text = match environment(spec, &sources) {
            Ok(variables) => variables.iter().map(|(k, v)| format!("{k}={v}\n")).collect(),
            Err(error) => format!("error: {error}\n"),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn values_come_from_everywhere_and_refer_to_earlier_ones() {
        check(
            &json!({"envFrom": [{"prefix": "M_", "configMapRef": {"name": "m"}}], "env": [
                {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
                {"name": "BOTH", "value": "$(WHO)-$(M_a) $$(WHO) $(NONE)"},
            ]}),
            expect![[r#"
                M_a=1
                WHO=web-1
                IP=10.1.0.2
                APP=web
                PASS=hush
                MEM=67108864
                BOTH=web-1-1 $(WHO) $(NONE)
            "#]],
        );
    }

    #[test]
    fn services_are_known_to_values_and_replace_nothing() {
        check(
            &json!({"withServices": true, "env": [
                {"name": "URL", "value": "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"},
                {"name": "KUBERNETES_PORT", "value": "mine"},
            ]}),
            expect![[r#"
                URL=https://10.0.0.1:443
                KUBERNETES_PORT=mine
                KUBERNETES_SERVICE_HOST=10.0.0.1
                KUBERNETES_SERVICE_PORT=443
                KUBERNETES_SERVICE_PORT_HTTPS=443
                KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443
                KUBERNETES_PORT_443_TCP_PROTO=tcp
                KUBERNETES_PORT_443_TCP_PORT=443
                KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1
            "#]],
        );
    }

    #[test]
    fn resources_are_divided_and_without_a_limit_the_nodes() {
        let of = |name: &str, resource: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}});
        check(
            &json!({"env": [
                of("MI", "limits.memory", "1Mi"), of("GI", "limits.memory", "1Gi"),
                of("CPUS", "limits.cpu", "0"), of("MILLIS", "limits.cpu", "1m"), of("NONE", "requests.cpu", "1m"),
            ]}),
            expect![[r#"
                MI=64
                GI=1
                CPUS=2
                MILLIS=2000
                NONE=0
            "#]],
        );
        check(
            &json!({"env": [of("X", "limits.pods", "0")]}),
            expect![[r#"
                error: unsupported container resource : limits.pods
            "#]],
        );
    }

    #[test]
    fn only_whole_references_expand() {
        let known = [("A".to_owned(), "$(B)".to_owned()), ("B".to_owned(), "b".to_owned())];
        for (text, expanded) in [
            ("$(A)$(B)", "$(B)b"),
            ("$$(A) $$$(B)", "$(A) $b"),
            ("$ $x $( $(", "$ $x $( $("),
            ("$(A", "$(A"),
            ("$(NONE)", "$(NONE)"),
            ("$$$$", "$$"),
        ] {
            assert_eq!(expand(text, &known), expanded, "{text}");
        }
    }

    #[test]
    fn a_missing_source_is_named() {
        check(
            &json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "z"}}}]}),
            expect![[r#"
                error: couldn't find key z in ConfigMap shop/m
            "#]],
        );
        check(
            &json!({"envFrom": [{"secretRef": {"name": "gone"}}]}),
            expect![[r#"
                error: secret "gone" not found
            "#]],
        );
    }

    #[test]
    fn an_optional_source_may_be_absent() {
        check(
            &json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "z", "optional": true}}}]}),
            expect![""],
        );
    }
}
