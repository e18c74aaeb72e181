//! PersistentVolumeClaim: that somebody wants a volume.

use serde_json::Value;

use crate::apps::validate_selector;
use crate::core::persistent_volume::{access_modes_text, class, or_unset, phase, validate_access_modes};
use crate::quantity::Quantity;
use crate::{Column, Field, FieldErrors, Kind, Strategy, Subresource, names, tree};

pub static PERSISTENT_VOLUME_CLAIM: Kind = Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    definition: "io.k8s.api.core.v1.PersistentVolumeClaim",
    subresources: &[Subresource::status("", "PersistentVolumeClaim")],
    columns: &[
        Column::NAME,
        Column::new("Status", "Whether it is bound.", |object, _| phase(object).into()),
        Column::new("Volume", "To which volume.", |object, _| tree::text(object, "spec.volumeName").into()),
        Column::new("Capacity", "How large that is.", |object, _| {
            if tree::text(object, "spec.volumeName").is_empty() {
                return "".into();
            }
            tree::text(object, "status.capacity.storage").into()
        }),
        Column::new("Access Modes", "How it can be mounted.", |object, _| {
            if tree::text(object, "spec.volumeName").is_empty() {
                return "".into();
            }
            access_modes_text(tree::items(object, "status.accessModes")).into()
        }),
        Column::new("StorageClass", "Who makes it.", |object, _| class(object).into()),
        Column::new("VolumeAttributesClass", "Its settings.", |object, _| {
            or_unset(object, "spec.volumeAttributesClassName")
        }),
        Column::AGE,
        Column::new("VolumeMode", "File system or block device.", |object, _| {
            or_unset(object, "spec.volumeMode")
        })
        .wide(),
    ],
    strategy: &Strategy {
        defaults: |object| {
            defaults(object);
            tree::set_default_text(object, "status.phase", "Pending");
        },
        prepare_create: |object| tree::set(object, "status.phase", "Pending"),
        validate_create: validate,
        validate_update,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const SPEC_IMMUTABLE: &str = "spec is immutable after creation except resources.requests and \
                              volumeAttributesClassName for bound claims";

/// Of a claim, or of the template of one.
pub(crate) fn defaults(object: &mut Value) {
    tree::set_default_text(object, "spec.volumeMode", "Filesystem");
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_access_modes(&spec.get("accessModes"));
    errors.extend(validate_selector(&spec.get("selector")));
    let request = Field { value: storage_request(object), path: "spec.resources[storage]".to_owned() };
    match Quantity::of(request.value) {
        None => errors.push(request.required("")),
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            errors.push(request.invalid("must be greater than zero"));
        }
        Some(_) => {}
    }
    let class = spec.get("storageClassName");
    if !class.text().is_empty() {
        errors.extend(names::subdomain(class.text()).map(|wrong| class.invalid(wrong)));
    }
    let mode = spec.get("volumeMode");
    if mode.is_set() {
        errors.extend(mode.one_of(&["Block", "Filesystem"]));
    }
    errors
}

fn storage_request(object: &Value) -> &Value {
    tree::get(object, "spec.resources.requests.storage")
}

/// A bound claim may grow, and have other attributes; a claim that is being bound is given its volume.
fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let spec = tree::get(object, "spec");
    let mut allowed = tree::get(old, "spec").clone();
    for field in ["volumeName", "storageClassName"] {
        if tree::text(&allowed, field).is_empty() {
            tree::copy(&mut allowed, field, spec);
        }
    }
    let is_bound = tree::text(old, "status.phase") == "Bound";
    if is_bound {
        tree::copy(&mut allowed, "resources.requests.storage", spec);
    }
    tree::copy(&mut allowed, "volumeAttributesClassName", spec);
    let field = Field::of(object, "spec");
    if !tree::same(&allowed, spec) {
        errors.push(field.forbidden(SPEC_IMMUTABLE));
    }
    let (before, now) = (Quantity::of(storage_request(old)), Quantity::of(storage_request(object)));
    if let (Some(before), Some(now)) = (before, now)
        && now < before
    {
        errors.push(
            field
                .get("resources")
                .get("requests")
                .get("storage")
                .forbidden("field can not be less than status.capacity"),
        );
    }
    errors
}
