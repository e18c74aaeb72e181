//! The kinds of the group apiregistration.k8s.io. APIService: who serves a group and version.

use serde_json::Value;

use crate::{
    Column, Field, FieldError, FieldErrors, Kind, NameRule, Strategy, Subresource, meta, names, tree,
};

pub const GROUP: &str = "apiregistration.k8s.io";

pub static API_SERVICE: Kind = Kind {
    group: GROUP,
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    definition: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    subresources: &[Subresource::status(GROUP, "APIService")],
    columns: &[
        Column::NAME,
        Column::new("Service", "Who serves it.", |object, _| service(object).into()),
        Column::new("Available", "Whether it can be reached.", |object, _| available(object).into()),
        Column::AGE,
    ],
    name_rule: NameRule::PathSegment,
    strategy: &Strategy {
        defaults: |object| {
            if tree::get_mut(object, "spec.service").is_some() {
                tree::set_default(object, "spec.service.port", PORT);
            }
        },
        validate_create: validate,
        validate_update: |object, _| validate(object),
        validate_status_update: |object, _| validate_status(object),
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const PORT: i64 = 443;
const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;
const STATUSES: &[&str] = &["True", "False", "Unknown"];

fn service(object: &Value) -> String {
    match tree::get(object, "spec.service") {
        Value::Null => "Local".to_owned(),
        service => format!("{}/{}", tree::text(service, "namespace"), tree::text(service, "name")),
    }
}

fn available(object: &Value) -> String {
    let mut conditions = tree::items(object, "status.conditions").iter();
    let Some(of) = conditions.find(|condition| tree::text(condition, "type") == "Available") else {
        return "Unknown".to_owned();
    };
    match (tree::text(of, "status"), tree::text(of, "reason")) {
        ("True", _) | (_, "") => tree::text(of, "status").to_owned(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let wanted = format!("{}.{}", version.text(), group.text());
    if meta::name(object) != wanted && names::path_segment(meta::name(object)).is_none() {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid("metadata.name", meta::name(object), why));
    }
    match group.text() {
        "" if version.text() == "v1" => {}
        "" => errors.push(group.required("only v1 may have an empty group and it better be legacy kube")),
        text => errors.extend(names::subdomain(text).map(|wrong| group.invalid(wrong))),
    }
    errors.extend(names::label_1035(version.text()).map(|wrong| version.invalid(wrong)));
    for (field, most) in
        [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)]
    {
        let priority = spec.get(field);
        let number = priority.int().unwrap_or_default();
        if !(1..=most).contains(&number) {
            let why = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(&priority.path, number, why));
        }
    }
    let (service, bundle, skips) =
        (spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.text().is_empty() {
            errors.push(bundle.invalid("local APIServices may not have a caBundle"));
        }
        if skips.flag() {
            errors.push(skips.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return errors;
    }
    for field in ["namespace", "name"].map(|name| service.get(name)) {
        if field.text().is_empty() {
            errors.push(field.required(""));
        }
    }
    let port = service.get("port");
    let wrong = port.int().and_then(names::port_number);
    errors.extend(wrong.map(|wrong| port.invalid(format!("port is not valid: {wrong}"))));
    if skips.flag() && !bundle.text().is_empty() {
        errors.push(skips.invalid("may not be true if caBundle is present"));
    }
    errors
}

fn validate_status(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for condition in Field::of(object, "status").get("conditions").items() {
        let status = condition.get("status");
        if !STATUSES.contains(&status.text()) {
            errors.push(status.not_supported(STATUSES));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
