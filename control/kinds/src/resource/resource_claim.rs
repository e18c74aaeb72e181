//! ResourceClaim and ResourceClaimTemplate: which devices somebody wants, and which they have got.

use serde_json::Value;

use super::GROUP;
use super::rules::{
    by, each, each_once, itself, label, validate_configuration, validate_driver, validate_fully_qualified,
    validate_pool, validate_selectors, validate_toleration,
};
use crate::{Column, Field, FieldErrors, Kind, Strategy, Subresource, meta, names, tree};

pub static RESOURCE_CLAIM: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    definition: "io.k8s.api.resource.v1.ResourceClaim",
    subresources: &[Subresource::status(GROUP, "ResourceClaim")],
    columns: &[
        Column::NAME,
        Column::new("State", "Whether it has devices, and whether they are used.", |object, _| {
            state(object).into()
        }),
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults: |object| defaults(object, "spec"),
        validate_create: |object| validate_claim(&Field::of(object, "spec")),
        validate_update,
        validate_status_update: validate_status,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

pub static RESOURCE_CLAIM_TEMPLATE: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    definition: "io.k8s.api.resource.v1.ResourceClaimTemplate",
    strategy: &Strategy {
        defaults: |object| defaults(object, "spec.spec"),
        validate_create: validate_template,
        validate_update,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const USERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const EITHER: &str = "exactly one of `exactly` or `firstAvailable` is required";
const NO_SUCH_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

fn state(object: &Value) -> String {
    let is_allocated = !tree::get(object, "status.allocation").is_null();
    let is_deleted = meta::deletion_timestamp(object).is_some();
    let states = [
        (is_deleted, "deleted"),
        (!is_allocated && !is_deleted, "pending"),
        (is_allocated, "allocated"),
        (is_allocated && !tree::items(object, "status.reservedFor").is_empty(), "reserved"),
    ];
    states.iter().filter(|(holds, _)| *holds).map(|(_, state)| *state).collect::<Vec<_>>().join(",")
}

fn defaults(object: &mut Value, spec: &str) {
    for request in tree::items_mut(object, &format!("{spec}.devices.requests")) {
        if let Some(exactly) = tree::get_mut(request, "exactly") {
            default_count(exactly);
        }
        tree::items_mut(request, "firstAvailable").for_each(default_count);
    }
}

fn default_count(request: &mut Value) {
    tree::set_default_text(request, "allocationMode", "ExactCount");
    let has_none = tree::int(request, "count").unwrap_or_default() == 0;
    if tree::text(request, "allocationMode") == "ExactCount" && has_none {
        tree::set(request, "count", 1);
    }
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "spec").immutable(tree::get(old, "spec")));
    errors
}

fn validate_template(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let metadata = spec.get("metadata");
    let mut errors = meta::validate_labels(&metadata.get("labels"));
    errors.extend(meta::validate_annotations(&metadata.get("annotations")));
    errors.extend(validate_claim(&spec.get("spec")));
    errors
}

fn validate_claim(spec: &Field<'_>) -> FieldErrors {
    let devices = spec.get("devices");
    let names = request_names(devices.value);
    let mut errors = each_once(&devices.get("requests"), REQUESTS_MAX, by("name"), validate_request);
    errors.extend(each(&devices.get("constraints"), REQUESTS_MAX, |constraint| {
        let mut errors = validate_requests(constraint, &names);
        let (alike, apart) = (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
        match (alike.is_set(), apart.is_set()) {
            (true, _) => errors.extend(validate_fully_qualified(&alike)),
            (false, true) => errors.extend(validate_fully_qualified(&apart)),
            (false, false) => errors.push(alike.required("")),
        }
        errors
    }));
    errors.extend(each(&devices.get("config"), REQUESTS_MAX, |config| {
        let mut errors = validate_requests(config, &names);
        errors.extend(validate_configuration(config));
        errors
    }));
    errors
}

/// `gpu` and `gpu/small`: what a claim's requests may be called by.
fn request_names(devices: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for request in tree::items(devices, "requests") {
        let name = tree::text(request, "name");
        names.push(name.to_owned());
        let below = tree::items(request, "firstAvailable").iter();
        names.extend(below.map(|request| format!("{name}/{}", tree::text(request, "name"))));
    }
    names
}

fn validate_requests(of: &Field<'_>, known: &[String]) -> FieldErrors {
    each_once(&of.get("requests"), REQUESTS_MAX, itself, |name| validate_request_name(name, known))
}

fn validate_request_name(name: &Field<'_>, known: &[String]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let segments: Vec<&str> = name.text().split('/').collect();
    if segments.len() <= 2 {
        errors.extend(segments.into_iter().filter_map(names::label).map(|wrong| name.invalid(wrong)));
    }
    if !known.iter().any(|known| known == name.text()) {
        errors.push(name.invalid(NO_SUCH_REQUEST));
    }
    errors
}

fn validate_request(request: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(label(&request.get("name")));
    let (exactly, first) = (request.get("exactly"), request.get("firstAvailable"));
    match (exactly.is_set(), !first.list().is_empty()) {
        (false, false) => errors.push(request.required(EITHER)),
        (true, true) => {
            let why = format!("{EITHER}, but multiple fields are set");
            errors.push(crate::FieldError::invalid(&request.path, Value::Null, why));
        }
        (true, false) => errors.extend(validate_exactly(&exactly)),
        (false, true) => {
            errors.extend(each_once(&first, ALTERNATIVES_MAX, by("name"), |request| {
                let mut errors = FieldErrors::new();
                errors.extend(label(&request.get("name")));
                errors.extend(validate_exactly(request));
                errors
            }));
        }
    }
    errors
}

fn validate_exactly(request: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(request.get("deviceClassName").named(names::subdomain));
    errors.extend(validate_selectors(&request.get("selectors")));
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    match (mode.text(), count.int().unwrap_or_default()) {
        ("All", 0) => {}
        ("All", _) => errors.push(count.invalid("must not be specified when allocationMode is 'All'")),
        ("ExactCount", ..=0) => errors.push(count.invalid("must be greater than zero")),
        ("ExactCount", _) => {}
        _ => errors.push(mode.not_supported(&["All", "ExactCount"])),
    }
    errors.extend(request.get("tolerations").items().flat_map(|it| validate_toleration(&it)));
    errors
}

fn validate_status(object: &Value, old: &Value) -> FieldErrors {
    let status = Field::of(object, "status");
    let (users, allocation) = (status.get("reservedFor"), status.get("allocation"));
    let mut errors = each_once(&users, USERS_MAX, by("uid"), |user| {
        let missing = ["resource", "name", "uid"].map(|name| user.get(name)).into_iter();
        missing.filter(|field| field.text().is_empty()).map(|field| field.required("")).collect::<Vec<_>>()
    });
    let results = allocation.get("devices").get("results");
    let allocated: Vec<Value> = results.list().iter().map(device).collect();
    errors.extend(each_once(&status.get("devices"), usize::MAX, device, |of| {
        let mut errors = validate_device(of);
        if !allocated.contains(&device(of.value)) {
            errors.push(of.invalid("must be an allocated device in the claim"));
        }
        errors
    }));
    if !users.list().is_empty() && !allocation.is_set() {
        errors.push(users.forbidden("may not be specified when `allocated` is not set"));
    }
    let before = tree::items(old, "status.reservedFor");
    let is_new = |user: &Value| !before.contains(user);
    if meta::deletion_timestamp(object).is_some() && users.list().iter().any(is_new) {
        errors.push(users.forbidden(
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
        ));
    }
    match (allocation.is_set(), tree::get(old, "status.allocation")) {
        (true, Value::Null) => {
            let known = request_names(tree::get(object, "spec.devices"));
            errors.extend(each(&results, RESULTS_MAX, |result| {
                let mut errors = validate_request_name(&result.get("request"), &known);
                errors.extend(validate_device(result));
                errors
            }));
        }
        (true, before) => errors.extend(allocation.immutable(before)),
        (false, _) => {}
    }
    errors
}

/// What tells one device from another.
fn device(of: &Value) -> Value {
    ["driver", "pool", "device", "shareID"].map(|field| tree::get(of, field).clone()).into_iter().collect()
}

fn validate_device(of: &Field<'_>) -> FieldErrors {
    let mut errors = validate_driver(&of.get("driver"));
    errors.extend(validate_pool(&of.get("pool")));
    errors.extend(label(&of.get("device")));
    errors
}
