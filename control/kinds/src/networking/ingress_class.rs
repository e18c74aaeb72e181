//! IngressClass: who serves ingresses.

use serde_json::Value;

use super::GROUP;
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, names, tree};

pub static INGRESS_CLASS: Kind = Kind {
    group: GROUP,
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    definition: "io.k8s.api.networking.v1.IngressClass",
    columns: &[
        Column::NAME,
        Column::new("Controller", "Who serves ingresses of the class.", |object, _| {
            tree::text(object, "spec.controller").into()
        }),
        Column::new("Parameters", "Where its settings are.", |object, _| parameters(object).into()),
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults: |object| {
            if tree::get(object, "spec.parameters").is_object() {
                tree::set_default_text(object, "spec.parameters.scope", "Cluster");
            }
        },
        validate_create: validate,
        validate_update,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const CONTROLLER_BYTES_MAX: usize = 250;

fn parameters(object: &Value) -> String {
    let parameters = tree::get(object, "spec.parameters");
    if parameters.is_null() {
        return "<none>".to_owned();
    }
    let kind = match tree::text(parameters, "apiGroup") {
        "" => tree::text(parameters, "kind").to_owned(),
        group => format!("{}.{group}", tree::text(parameters, "kind")),
    };
    format!("{kind}/{}", tree::text(parameters, "name"))
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let controller = spec.get("controller");
    let is_prefixed = |text: &str| {
        text.split_once('/')
            .is_some_and(|(domain, path)| names::subdomain(domain).is_none() && !path.is_empty())
    };
    match controller.text() {
        "" => errors.push(controller.required("")),
        text if text.len() > CONTROLLER_BYTES_MAX => {
            errors.push(crate::FieldError::too_long(&controller.path, CONTROLLER_BYTES_MAX));
        }
        text if !is_prefixed(text) => {
            errors.push(controller.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")"))
        }
        _ => {}
    }
    let parameters = spec.get("parameters");
    if parameters.is_set() {
        errors.extend(validate_parameters(&parameters));
    }
    errors
}

fn validate_parameters(parameters: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for name in ["kind", "name"] {
        let field = parameters.get(name);
        match field.text() {
            "" => errors.push(field.required(&format!("{name} is required"))),
            text => errors.extend(names::path_segment(text).map(|wrong| field.invalid(wrong))),
        }
    }
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    errors.extend(scope.one_of(&["Cluster", "Namespace"]));
    if scope.text() == "Namespace" && namespace.text().is_empty() {
        errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
    }
    if scope.text() == "Cluster" && namespace.is_set() {
        errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let controller = Field::of(object, "spec").get("controller");
    errors.extend(controller.immutable(tree::get(old, "spec.controller")));
    errors
}
