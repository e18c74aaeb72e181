//! DeviceClass: a name for devices of a sort, and how they are set up.

use serde_json::Value;

use super::GROUP;
use super::rules::{each, validate_configuration, validate_selectors};
use crate::{Field, FieldErrors, Generation, Kind, Strategy, names};

pub static DEVICE_CLASS: Kind = Kind {
    group: GROUP,
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    definition: "io.k8s.api.resource.v1.DeviceClass",
    strategy: &Strategy {
        validate_create: validate,
        validate_update: |object, _| validate(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const CONFIGURATIONS_MAX: usize = 32;

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    errors.extend(validate_selectors(&spec.get("selectors")));
    errors.extend(each(&spec.get("config"), CONFIGURATIONS_MAX, validate_configuration));
    let name = spec.get("extendedResourceName");
    let is_extended = |text: &str| {
        let domain = text.split_once('/').map(|(domain, _)| domain).unwrap_or_default();
        let is_native = domain.is_empty() || domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        !is_native && !text.starts_with("requests.") && names::qualified(text).is_empty()
    };
    if name.is_set() && !is_extended(name.text()) {
        errors.push(name.invalid("must be a valid extended resource name"));
    }
    errors
}
