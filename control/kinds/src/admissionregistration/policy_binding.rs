//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding: where a policy holds, and with which parameters.

use serde_json::Value;

use super::GROUP;
use super::rules::{default_match, validate_match};
use crate::apps::validate_selector;
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, names, tree};

pub static VALIDATING_ADMISSION_POLICY_BINDING: Kind = Kind {
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    definition: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    strategy: &Strategy {
        validate_create: validate_validating,
        validate_update: |object, _| validate_validating(object),
        ..RULES
    },
    ..SHARED
};

pub static MUTATING_ADMISSION_POLICY_BINDING: Kind = Kind {
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    definition: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    strategy: &Strategy { validate_create: validate, validate_update: |object, _| validate(object), ..RULES },
    ..SHARED
};

const SHARED: Kind = Kind {
    group: GROUP,
    categories: &["api-extensions"],
    namespaced: false,
    columns: &[
        Column::NAME,
        Column::new("PolicyName", "Which policy.", |object, _| tree::text(object, "spec.policyName").into()),
        Column::new("ParamRef", "With which parameters.", |object, _| parameters(object).into()),
        Column::AGE,
    ],
    ..Kind::PLAIN
};
const RULES: Strategy = Strategy {
    defaults: |object| default_match(object, "spec.matchResources"),
    generation: Generation::Spec,
    ..Strategy::PLAIN
};
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
const EITHER: &str = "name and selector are mutually exclusive";

fn parameters(object: &Value) -> String {
    let of = tree::get(object, "spec.paramRef");
    let or_all = |field: &str| match tree::text(of, field) {
        "" => "*".to_owned(),
        text => text.to_owned(),
    };
    if of.is_null() { "<unset>".to_owned() } else { format!("{}/{}", or_all("namespace"), or_all("name")) }
}

fn validate_validating(object: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let actions = Field::of(object, "spec").get("validationActions");
    errors.extend(actions.items().filter_map(|action| action.one_of_if_set(ACTIONS)));
    errors.extend(actions.duplicates());
    let has = |action: &str| actions.list().iter().any(|has| has == action);
    if has("Deny") && has("Warn") {
        errors.push(actions.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ));
    }
    if actions.list().is_empty() {
        errors.push(actions.required("at least one validation action is required"));
    }
    errors
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    errors.extend(spec.get("policyName").named(names::subdomain));
    if spec.get("paramRef").is_set() {
        errors.extend(validate_parameters(&spec.get("paramRef")));
    }
    let resources = spec.get("matchResources");
    if resources.is_set() {
        // Kubernetes misspells the field in these errors.
        errors.extend(validate_match(&Field { path: "spec.matchResouces".to_owned(), ..resources }));
    }
    errors
}

fn validate_parameters(of: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (name, selector, absent) = (of.get("name"), of.get("selector"), of.get("parameterNotFoundAction"));
    let has_name = !name.text().is_empty();
    if has_name {
        errors.extend(names::path_segment(name.text()).map(|wrong| name.invalid(wrong)));
    }
    errors.extend(validate_selector(&selector));
    match (has_name, selector.is_set()) {
        (true, true) => errors.extend([name.forbidden(EITHER), selector.forbidden(EITHER)]),
        (false, false) => errors.push(of.required("one of name or selector must be specified")),
        _ => {}
    }
    errors.extend(absent.one_of(&["Deny", "Allow"]));
    errors
}
