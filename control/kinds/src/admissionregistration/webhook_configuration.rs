//! ValidatingWebhookConfiguration and MutatingWebhookConfiguration: which servers are asked about which requests.

use serde_json::Value;

use super::rules::{default_scopes, default_selectors, validate_conditions, validate_rule};
use super::{FAILURE_POLICIES, GROUP, MATCH_POLICIES, REINVOCATION_POLICIES};
use crate::apps::validate_selector;
use crate::{Column, Field, FieldError, FieldErrors, Generation, Kind, Strategy, names, tree};

pub static VALIDATING_WEBHOOK_CONFIGURATION: Kind = Kind {
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    definition: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    strategy: &Strategy { defaults: |object| defaults(object, Sort::Validating), ..RULES },
    ..SHARED
};

pub static MUTATING_WEBHOOK_CONFIGURATION: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    definition: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    strategy: &Strategy { defaults: |object| defaults(object, Sort::Mutating), ..RULES },
    ..SHARED
};

const SHARED: Kind = Kind {
    group: GROUP,
    categories: &["api-extensions"],
    namespaced: false,
    columns: &[
        Column::NAME,
        Column::new("Webhooks", "How many are registered here.", |object, _| {
            tree::items(object, "webhooks").len().into()
        })
        .integer(),
        Column::AGE,
    ],
    ..Kind::PLAIN
};
const RULES: Strategy = Strategy {
    validate_create: validate,
    validate_update: |object, _| validate(object),
    generation: Generation::Spec,
    ..Strategy::PLAIN
};
const TIMEOUT_SECONDS: i64 = 10;
const TIMEOUT_SECONDS_MAX: i64 = 30;
const PORT: i64 = 443;
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const NAME_SEGMENTS_MIN: usize = 3;
const URL_FORM: &str = "; desired format: https://host[/path]";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Validating,
    Mutating,
}

fn defaults(object: &mut Value, sort: Sort) {
    for webhook in tree::items_mut(object, "webhooks") {
        tree::set_default(webhook, "failurePolicy", "Fail");
        tree::set_default(webhook, "matchPolicy", "Equivalent");
        tree::set_default(webhook, "timeoutSeconds", TIMEOUT_SECONDS);
        default_selectors(webhook);
        default_scopes(webhook, "rules");
        if tree::get_mut(webhook, "clientConfig.service").is_some() {
            tree::set_default(webhook, "clientConfig.service.port", PORT);
        }
        if sort == Sort::Mutating {
            tree::set_default(webhook, "reinvocationPolicy", "Never");
        }
    }
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for webhook in Field::of(object, "webhooks").items() {
        errors.extend(validate_webhook(&webhook));
        errors.extend(validate_versions(&webhook.get("admissionReviewVersions")));
        let name = webhook.get("name");
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.extend(Some(name.text()).filter(|name| !name.is_empty()));
    }
    errors
}

fn validate_webhook(webhook: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let name = webhook.get("name");
    match name.named(names::subdomain) {
        Some(wrong) => errors.push(wrong),
        None if name.text().split('.').count() < NAME_SEGMENTS_MIN => {
            errors.push(name.invalid("should be a domain with at least three segments separated by dots"));
        }
        None => {}
    }
    errors.extend(webhook.get("rules").items().flat_map(|rule| validate_rule(&rule)));
    errors.extend(webhook.get("failurePolicy").one_of_if_set(FAILURE_POLICIES));
    errors.extend(webhook.get("matchPolicy").one_of_if_set(MATCH_POLICIES));
    let effects = webhook.get("sideEffects");
    match effects.text() {
        "" => errors.push(effects.required("must specify one of None, NoneOnDryRun")),
        _ => errors.extend(effects.one_of(SIDE_EFFECTS)),
    }
    let timeout = webhook.get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds)) {
        errors.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        errors.extend(validate_selector(&webhook.get(selector)));
    }
    errors.extend(webhook.get("reinvocationPolicy").one_of_if_set(REINVOCATION_POLICIES));
    let client = webhook.get("clientConfig");
    let (url, service) = (client.get("url"), client.get("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => errors.extend(validate_url(&url)),
        (false, true) => errors.extend(validate_service(&service)),
        _ => errors.push(client.required("exactly one of url or service is required")),
    }
    errors.extend(validate_conditions(&webhook.get("matchConditions")));
    errors
}

fn validate_versions(versions: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let known = REVIEW_VERSIONS.join(", ");
    if versions.list().is_empty() {
        errors.push(versions.required(&format!("must specify one of {known}")));
        return errors;
    }
    let mut seen: Vec<&str> = Vec::new();
    for version in versions.items() {
        if seen.contains(&version.text()) {
            errors.push(version.invalid("duplicate version"));
            continue;
        }
        seen.push(version.text());
        errors.extend(names::label_1035(version.text()).map(|wrong| version.invalid(wrong)));
    }
    if !seen.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        errors.push(versions.invalid(format!("must include at least one of {known}")));
    }
    errors
}

/// Only what comes before the path is looked at: a URL of this form has nothing else that could be wrong.
fn validate_url(url: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let of = |part: &str, why: &str| FieldError::invalid(&url.path, part, why);
    let (scheme, rest) = url.text().split_once("://").unwrap_or(("", url.text()));
    if scheme != "https" {
        errors.push(of(scheme, &format!("'https' is the only allowed URL scheme{URL_FORM}")));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.push(of(host, &format!("host must be specified{URL_FORM}")));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.push(of(part, why));
        }
    }
    errors
}

fn validate_service(service: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (field, why) in [("name", "service name is required"), ("namespace", "service namespace is required")]
    {
        if service.get(field).text().is_empty() {
            errors.push(service.get(field).required(why));
        }
    }
    let port = service.get("port");
    let wrong = port.int().and_then(names::port_number);
    errors.extend(wrong.map(|wrong| port.invalid(format!("port is not valid: {wrong}"))));
    let path = service.get("path");
    let text = path.text();
    if matches!(text, "" | "/") {
        return errors;
    }
    if text == "//" {
        errors.push(path.invalid("segment[0] may not be empty"));
        return errors;
    }
    let Some(below) = text.strip_prefix('/') else {
        errors.push(path.invalid("must start with a '/'"));
        return errors;
    };
    for (at, segment) in below.strip_suffix('/').unwrap_or(below).split('/').enumerate() {
        match segment {
            "" => errors.push(path.invalid(format!("segment[{at}] may not be empty"))),
            _ => errors.extend(
                names::subdomain(segment).map(|wrong| path.invalid(format!("segment[{at}]: {wrong}"))),
            ),
        }
    }
    errors
}
