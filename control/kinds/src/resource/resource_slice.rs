//! ResourceSlice: devices of a driver's pool, and where they are.

use serde_json::Value;

use super::GROUP;
use super::rules::{
    by, each, each_once, label, validate_driver, validate_pool, validate_qualified, validate_taint,
};
use crate::kind::selectable;
use crate::{Column, Field, FieldError, FieldErrors, Generation, Kind, Strategy, names, tree};

pub static RESOURCE_SLICE: Kind = Kind {
    group: GROUP,
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    definition: "io.k8s.api.resource.v1.ResourceSlice",
    columns: &[
        Column::NAME,
        Column::new("Node", "Which node has the devices.", |object, _| {
            match tree::text(object, "spec.nodeName") {
                "" => "<unset>".into(),
                name => name.into(),
            }
        }),
        Column::new("Driver", "Whose devices they are.", |object, _| {
            tree::text(object, "spec.driver").into()
        }),
        Column::new("Pool", "Which pool they are of.", |object, _| {
            tree::text(object, "spec.pool.name").into()
        }),
        Column::AGE,
    ],
    selectable: selectable!["spec.driver", "spec.nodeName"],
    strategy: &Strategy {
        validate_create: validate,
        validate_update,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const DEVICES_MAX: usize = 128;
/// Of devices that have taints or share counters.
const COSTLY_DEVICES_MAX: usize = 64;
const QUALITIES_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const WHERE: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const WHERE_EACH: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const ATTRIBUTES: &[&str] = &["bool", "int", "string", "version", "bools", "ints", "strings", "versions"];

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let spec = Field::of(object, "spec");
    errors.extend(spec.get("pool").get("name").immutable(tree::get(old, "spec.pool.name")));
    errors.extend(spec.get("driver").immutable(tree::get(old, "spec.driver")));
    errors.extend(spec.get("nodeName").immutable(tree::get(old, "spec.nodeName")));
    errors
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_driver(&spec.get("driver"));
    let pool = spec.get("pool");
    errors.extend(validate_pool(&pool.get("name")));
    let slices = pool.get("resourceSliceCount");
    if slices.int().unwrap_or_default() <= 0 {
        errors.push(FieldError::invalid(
            &slices.path,
            slices.int().unwrap_or_default(),
            "must be greater than zero",
        ));
    }
    if pool.get("generation").int().is_some_and(|generation| generation < 0) {
        errors.push(pool.get("generation").invalid("must be greater than or equal to zero"));
    }
    let (places, wrong) = places(&spec, &["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"]);
    errors.extend(wrong);
    match places.len() {
        0 => errors.push(spec.required(WHERE)),
        1 => {}
        _ => errors.push(FieldError::invalid(
            &spec.path,
            format!("{{{}}}", places.join(", ")),
            format!("{WHERE}, but multiple fields are set"),
        )),
    }
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.is_set() && counters.is_set() {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(&spec.path, "", why));
    }
    let is_costly = |device: &Value| {
        ["taints", "consumesCounters"].iter().any(|field| !tree::items(device, field).is_empty())
    };
    let most = if devices.list().iter().any(is_costly) { COSTLY_DEVICES_MAX } else { DEVICES_MAX };
    let per_device = spec.get("perDeviceNodeSelection").flag();
    errors.extend(each_once(&devices, most, by("name"), |device| validate_device(device, per_device)));
    errors.extend(each_once(&counters, COUNTER_SETS_MAX, by("name"), |set| {
        let mut errors = FieldErrors::new();
        errors.extend(set.get("name").named(names::label));
        errors.extend(validate_counters(&set.get("counters")));
        errors
    }));
    errors
}

/// Which of `fields` say where something is, and what is wrong with them.
fn places(of: &Field<'_>, fields: &[&str]) -> (Vec<String>, FieldErrors) {
    let (mut set, mut errors) = (Vec::new(), FieldErrors::new());
    for field in fields.iter().map(|name| of.get(name)).filter(Field::is_set) {
        match field.value {
            Value::String(text) if text.is_empty() => {
                errors.push(field.invalid("must be either unset or set to a non-empty string"));
                continue;
            }
            Value::String(text) => errors.extend(names::subdomain(text).map(|wrong| field.invalid(wrong))),
            Value::Bool(false) => {
                errors.push(field.invalid("must be either unset or set to true"));
                continue;
            }
            _ => {
                let terms = field.get("nodeSelectorTerms");
                if terms.list().len() != 1 {
                    errors.push(terms.invalid("must have exactly one node selector term"));
                }
            }
        }
        set.push(format!("`{}`", field.path.rsplit('.').next().unwrap_or_default()));
    }
    (set, errors)
}

fn validate_device(device: &Field<'_>, has_own_place: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(label(&device.get("name")));
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let qualities = attributes.entries().count() + capacity.entries().count();
    if qualities > QUALITIES_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {QUALITIES_MAX}");
        errors.push(FieldError::invalid(&device.path, qualities, why));
    }
    for (name, attribute) in attributes.entries() {
        errors.extend(validate_qualified(&attribute.path, name));
        errors.extend(validate_attribute(&attribute));
    }
    let is_shared = device.get("allowMultipleAllocations").flag();
    for (name, amount) in capacity.entries() {
        errors.extend(validate_qualified(&amount.path, name));
        let policy = amount.get("requestPolicy");
        if policy.is_set() && !is_shared {
            errors.push(policy.forbidden("allowMultipleAllocations must be true"));
        }
    }
    errors.extend(each(&device.get("taints"), TAINTS_MAX, validate_taint));
    let consumptions = device.get("consumesCounters");
    errors.extend(each_once(&consumptions, CONSUMPTIONS_MAX, by("counterSet"), |consumption| {
        let mut errors = FieldErrors::new();
        errors.extend(consumption.get("counterSet").named(names::label));
        errors.extend(validate_counters(&consumption.get("counters")));
        errors
    }));
    let (places, wrong) = places(device, &["nodeName", "nodeSelector", "allNodes"]);
    errors.extend(wrong);
    match (has_own_place, places.len()) {
        (true, 1) | (false, 0) => {}
        (true, 0) => errors.push(device.required(WHERE_EACH)),
        (true, _) => {
            let set = format!("{{{}}}", places.join(", "));
            errors.push(FieldError::invalid(&device.path, set, WHERE_EACH));
        }
        (false, _) => errors.push(FieldError::invalid(
            &device.path,
            Value::Null,
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        )),
    }
    errors
}

fn validate_attribute(attribute: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for text in ["string", "version"].map(|name| attribute.get(name)) {
        if text.text().len() > TEXT_BYTES_MAX {
            errors.push(FieldError::too_long(&text.path, TEXT_BYTES_MAX));
        }
    }
    let version = attribute.get("version");
    if version.is_set() && !is_semantic(version.text()) {
        errors.push(version.invalid("must be a string compatible with semver.org spec 2.0.0"));
    }
    match ATTRIBUTES.iter().filter(|name| attribute.get(name).is_set()).count() {
        0 => errors.push(FieldError::invalid(&attribute.path, "", "exactly one value must be specified")),
        1 => {}
        _ => errors.push(attribute.invalid("exactly one value must be specified")),
    }
    errors
}

/// `1.2.3-alpha.1+build.5`.
fn is_semantic(version: &str) -> bool {
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let (core, early) = match version.split_once('-') {
        Some((core, early)) => (core, Some(early)),
        None => (version, None),
    };
    let is_number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_early =
        |text: &str| is_word(text) && (is_number(text) || text.bytes().any(|byte| !byte.is_ascii_digit()));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && early.is_none_or(|early| early.split('.').all(is_early))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

fn validate_counters(counters: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match counters.entries().count() {
        0 => errors.push(counters.required("")),
        count if count > COUNTERS_MAX => {
            errors.push(FieldError::too_many(&counters.path, count, COUNTERS_MAX));
        }
        _ => {
            for (name, counter) in counters.entries() {
                let wrong = names::label(name);
                errors.extend(wrong.map(|wrong| FieldError::invalid(&counter.path, name, wrong)));
            }
        }
    }
    errors
}
