//! Node: a machine that runs pods.

use serde_json::Value;

use crate::kind::selectable;
use crate::{
    Column, Field, FieldError, FieldErrors, Kind, NameRule, Proxied, Strategy, Subresource, Verb, meta,
    names, tree,
};

pub static NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    definition: "io.k8s.api.core.v1.Node",
    verbs: Verb::ALL,
    subresources: &[Subresource::proxy("NodeProxyOptions", Proxied::Node), Subresource::status("", "Node")],
    columns: &[
        Column::NAME,
        Column::new("Status", "Whether it is ready, and whether it takes pods.", |object, _| {
            status(object).into()
        }),
        Column::new("Roles", "From its labels.", |object, _| roles(object).into()),
        Column::AGE,
        Column::new("Version", "Version of its agent.", |object, _| {
            tree::text(object, "status.nodeInfo.kubeletVersion").into()
        }),
        Column::new("Internal-IP", "Address inside the cluster.", |object, _| {
            address(object, "InternalIP").into()
        })
        .wide(),
        Column::new("External-IP", "Address outside the cluster.", |object, _| {
            address(object, "ExternalIP").into()
        })
        .wide(),
        Column::new("OS-Image", "Operating system.", |object, _| info(object, "osImage").into()).wide(),
        Column::new("Kernel-Version", "Kernel.", |object, _| info(object, "kernelVersion").into()).wide(),
        Column::new("Container-Runtime", "What runs its containers.", |object, _| {
            info(object, "containerRuntimeVersion").into()
        })
        .wide(),
    ],
    selectable: selectable![; "spec.unschedulable" => |object| {
        tree::flag(object, "spec.unschedulable").to_string()
    }],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy { defaults, validate_create: validate, validate_update, ..Strategy::PLAIN },
};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

fn status(object: &Value) -> String {
    let ready = tree::items(object, "status.conditions")
        .iter()
        .find(|condition| tree::text(condition, "type") == "Ready")
        .map(|condition| tree::text(condition, "status") == "True");
    let mut text = match ready {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if tree::flag(object, "spec.unschedulable") {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(object: &Value) -> String {
    let mut roles: Vec<&str> = meta::labels(object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    crate::columns::none_if_empty(roles.join(","))
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    tree::items(object, "status.addresses")
        .iter()
        .find(|address| tree::text(address, "type") == kind)
        .map_or("<none>", |address| tree::text(address, "address"))
}

fn info<'a>(object: &'a Value, field: &str) -> &'a str {
    match tree::text(tree::get(object, "status.nodeInfo"), field) {
        "" => "<unknown>",
        text => text,
    }
}

fn defaults(object: &mut Value) {
    if tree::get(object, "status.allocatable").is_null() {
        let capacity = tree::get(object, "status.capacity").clone();
        if !capacity.is_null() {
            tree::set(object, "status.allocatable", capacity);
        }
    }
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for taint in spec.get("taints").items() {
        let (key, effect, value) = (taint.get("key"), taint.get("effect"), taint.get("value"));
        errors.extend(names::qualified(key.text()).into_iter().map(|wrong| key.invalid(wrong)));
        let wrong = names::label_value(value.text());
        if !wrong.is_empty() {
            errors.push(value.invalid(wrong.join(";")));
        }
        errors.extend(effect.one_of(&["NoSchedule", "PreferNoSchedule", "NoExecute"]));
        if seen.contains(&(key.text(), effect.text())) {
            let mut twice = taint.duplicate();
            twice.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(twice);
        }
        seen.push((key.text(), effect.text()));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    for (field, named) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        let path = format!("spec.{field}");
        let before = tree::get(old, &path);
        let was_set = !tree::same(before, &Value::Null) && before != "";
        if was_set && !tree::same(before, tree::get(object, &path)) {
            errors.push(FieldError::forbidden(
                path,
                format!("node updates may not change {named} except from \"\" to valid"),
            ));
        }
    }
    errors
}
