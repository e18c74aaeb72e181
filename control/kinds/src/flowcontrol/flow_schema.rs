//! FlowSchema: which requests belong to which priority level, and what tells their flows apart.

use serde_json::Value;

use super::{EXEMPT, GROUP, validate_conditions};
use crate::{
    Column, Field, FieldError, FieldErrors, Generation, Kind, Strategy, Subresource, meta, names, tree,
};

pub static FLOW_SCHEMA: Kind = Kind {
    group: GROUP,
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    definition: "io.k8s.api.flowcontrol.v1.FlowSchema",
    subresources: &[Subresource::status(GROUP, "FlowSchema")],
    columns: &[
        Column::NAME,
        Column::new("PriorityLevel", "Where its requests wait.", |object, _| {
            tree::text(object, LEVEL).into()
        }),
        Column::new("MatchingPrecedence", "The smallest that matches counts.", |object, _| {
            tree::int(object, PRECEDENCE).unwrap_or_default().into()
        }),
        Column::new("DistinguisherMethod", "What tells flows apart.", |object, _| {
            crate::columns::none_if_empty(tree::text(object, "spec.distinguisherMethod.type").to_owned())
                .into()
        }),
        Column::AGE,
        Column::new("MissingPL", "Whether its priority level is missing.", |object, _| {
            let mut conditions = tree::items(object, "status.conditions").iter();
            let dangling = conditions.find(|condition| tree::text(condition, "type") == "Dangling");
            dangling.map_or("?", |condition| tree::text(condition, "status")).into()
        }),
    ],
    strategy: &Strategy {
        defaults: |object| {
            if tree::int(object, PRECEDENCE).unwrap_or_default() == 0 {
                tree::set(object, PRECEDENCE, PRECEDENCE_DEFAULT);
            }
        },
        validate_create: validate,
        validate_update: |object, _| validate(object),
        validate_status_update: |object, _| validate_conditions(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const LEVEL: &str = "spec.priorityLevelConfiguration.name";
const PRECEDENCE: &str = "spec.matchingPrecedence";
const PRECEDENCE_DEFAULT: i64 = 1000;
const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let precedence = spec.get("matchingPrecedence");
    match precedence.int().unwrap_or_default() {
        ..=0 => errors.push(precedence.invalid("must be a positive value")),
        1 if meta::name(object) != EXEMPT => {
            errors.push(precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1"));
        }
        1..=PRECEDENCE_MAX => {}
        _ => errors.push(precedence.invalid(format!("must not be greater than {PRECEDENCE_MAX}"))),
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !["ByNamespace", "ByUser"].contains(&method.get("type").text()) {
        errors.push(method.get("type").not_supported(&["ByNamespace", "ByUser"]));
    }
    let level = spec.get("priorityLevelConfiguration").get("name");
    match level.text() {
        "" => errors.push(level.required("must reference a priority level")),
        text => errors.extend(names::subdomain(text).map(|wrong| level.invalid(wrong))),
    }
    errors.extend(spec.get("rules").items().flat_map(|rule| validate_rule(&rule)));
    errors.extend(validate_conditions(object));
    errors
}

fn validate_rule(rule: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let subjects = rule.get("subjects");
    if subjects.list().is_empty() {
        errors.push(subjects.required("subjects must contain at least one value"));
    }
    errors.extend(subjects.items().flat_map(|subject| validate_subject(&subject)));
    let (resources, others) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.list().is_empty() && others.list().is_empty() {
        errors.push(rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
    errors.extend(resources.items().flat_map(|rule| validate_resources(&rule)));
    errors.extend(others.items().flat_map(|rule| validate_paths(&rule)));
    errors
}

fn validate_subject(subject: &Field<'_>) -> FieldErrors {
    const SUBJECTS: [(&str, &str); 3] =
        [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let mut errors = FieldErrors::new();
    let kind = subject.get("kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind.text()) else {
        errors.push(kind.not_supported(&["Group", "ServiceAccount", "User"]));
        return errors;
    };
    let who = subject.get(own);
    if who.is_set() {
        errors.extend(validate_who(&who, kind.text()));
    } else {
        errors.push(who.required(&format!("{own} is required when subject kind is '{}'", kind.text())));
    }
    for (name, field) in SUBJECTS.iter().filter(|(_, field)| field != own) {
        if subject.get(field).is_set() {
            let why = format!("{field} is forbidden when subject kind is not '{name}'");
            errors.push(subject.get(field).forbidden(why));
        }
    }
    errors
}

fn validate_who(who: &Field<'_>, kind: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (name, namespace) = (who.get("name"), who.get("namespace"));
    let is_account = kind == "ServiceAccount";
    match name.text() {
        "" => errors.push(name.required("")),
        text if is_account && text != "*" => {
            errors.extend(names::subdomain(text).map(|wrong| name.invalid(wrong)));
        }
        _ => {}
    }
    if is_account {
        match namespace.text() {
            "" => errors.push(namespace.required("must specify namespace for service account")),
            text => errors.extend(names::label(text).map(|wrong| namespace.invalid(wrong))),
        }
    }
    errors
}

fn validate_resources(rule: &Field<'_>) -> FieldErrors {
    let mut errors = validate_verbs(rule);
    let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
    errors.extend(filled(&groups, "resource rules must supply at least one api group"));
    errors.extend(alone(&groups, "api groups"));
    errors.extend(filled(&resources, "resource rules must supply at least one resource"));
    errors.extend(alone(&resources, "resources"));
    let namespaces = rule.get("namespaces");
    if namespaces.list().is_empty() && !rule.get("clusterScope").flag() {
        errors.push(
            namespaces
                .required("resource rules that are not cluster scoped must supply at least one namespace"),
        );
    }
    if has_star(&namespaces) {
        errors.extend(alone(&namespaces, "namespaces"));
        return errors;
    }
    for namespace in namespaces.items() {
        let why = |wrong| format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
        errors.extend(names::label(namespace.text()).map(|wrong| namespace.invalid(why(wrong))));
    }
    errors
}

fn validate_paths(rule: &Field<'_>) -> FieldErrors {
    let mut errors = validate_verbs(rule);
    let paths = rule.get("nonResourceURLs");
    errors.extend(filled(&paths, "nonResourceURLs must contain at least one value"));
    if has_star(&paths) {
        errors.extend(alone(&paths, "non-resource URLs"));
        return errors;
    }
    for path in paths.items() {
        let text = path.text();
        let stars = text.matches('*').count();
        let wrong = match text {
            "" => Some("must not be empty"),
            "/" => None,
            text if !text.starts_with('/') => Some("must start with slash"),
            text if text.contains(' ') => Some("must not contain white-space"),
            text if text.contains("//") => Some("must not contain double slash"),
            text if stars > 1 || stars == 1 && !text.ends_with("/*") => {
                Some("wildcard can only do suffix matching")
            }
            _ => None,
        };
        errors.extend(wrong.map(|wrong| path.invalid(wrong)));
    }
    errors
}

fn validate_verbs(rule: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let verbs = rule.get("verbs");
    errors.extend(filled(&verbs, "verbs must contain at least one value"));
    let is_known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if has_star(&verbs) {
        errors.extend(alone(&verbs, "verbs"));
    } else if !verbs.list().iter().all(is_known) {
        errors.push(FieldError::not_supported(&verbs.path, verbs.value.clone(), VERBS));
    }
    errors
}

fn filled(list: &Field<'_>, why: &str) -> Option<FieldError> {
    list.list().is_empty().then(|| list.required(why))
}

fn has_star(list: &Field<'_>) -> bool {
    list.list().iter().any(|item| item == "*")
}

fn alone(list: &Field<'_>, what: &str) -> Option<FieldError> {
    let why = || list.invalid(format!("if '*' is present, must not specify other {what}"));
    (list.list().len() > 1 && has_star(list)).then(why)
}
