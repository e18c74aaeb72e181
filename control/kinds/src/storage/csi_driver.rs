//! CSIDriver: a driver of volumes, and what it needs.

use serde_json::{Value, json};

use super::GROUP;
use crate::columns::none_if_empty;
use crate::{Column, Field, FieldError, FieldErrors, Generation, Kind, Strategy, meta, tree};

pub static CSI_DRIVER: Kind = Kind {
    group: GROUP,
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    definition: "io.k8s.api.storage.v1.CSIDriver",
    columns: &[
        Column::NAME,
        Column::new("AttachRequired", "Whether volumes are attached to nodes.", |object, _| {
            tree::flag(object, "spec.attachRequired").into()
        })
        .boolean(),
        Column::new("PodInfoOnMount", "Whether a mount is told its pod.", |object, _| {
            tree::flag(object, "spec.podInfoOnMount").into()
        })
        .boolean(),
        Column::new("StorageCapacity", "Whether the scheduler looks at its room.", |object, _| {
            tree::flag(object, "spec.storageCapacity").into()
        })
        .boolean(),
        Column::new("TokenRequests", "Whose tokens it wants.", |object, _| audiences(object).into()),
        Column::new("RequiresRepublish", "Whether mounts are told again.", |object, _| {
            tree::flag(object, "spec.requiresRepublish").into()
        })
        .boolean(),
        Column::new("Modes", "How long its volumes live.", |object, _| modes(object).into()),
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

/// The longest name that a socket's path has room for.
const NAME_BYTES_MAX: usize = 63;

fn audiences(object: &Value) -> String {
    match tree::get(object, "spec.tokenRequests") {
        Value::Null => "<unset>".to_owned(),
        requests => {
            let requests = requests.as_array().map(Vec::as_slice).unwrap_or_default();
            let audiences: Vec<&str> =
                requests.iter().map(|request| tree::text(request, "audience")).collect();
            none_if_empty(audiences.join(","))
        }
    }
}

fn modes(object: &Value) -> String {
    let modes = tree::items(object, "spec.volumeLifecycleModes").iter().filter_map(Value::as_str);
    none_if_empty(modes.collect::<Vec<_>>().join(","))
}

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.attachRequired", true);
    for off in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        tree::set_default(object, &format!("spec.{off}"), false);
    }
    if tree::items(object, "spec.volumeLifecycleModes").is_empty() {
        tree::set(object, "spec.volumeLifecycleModes", json!(["Persistent"]));
    }
    tree::set_default_text(object, "spec.fsGroupPolicy", "ReadWriteOnceWithFSType");
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if meta::name(object).len() > NAME_BYTES_MAX {
        errors.push(FieldError::too_long("metadata.name", NAME_BYTES_MAX));
    }
    let spec = Field::of(object, "spec");
    errors.extend(spec.get("fsGroupPolicy").one_of(&["File", "None", "ReadWriteOnceWithFSType"]));
    for mode in spec.get("volumeLifecycleModes").items() {
        errors.extend(mode.one_of(&["Ephemeral", "Persistent"]));
    }
    let mut seen: Vec<&str> = Vec::new();
    for request in spec.get("tokenRequests").items() {
        let audience = request.get("audience");
        if seen.contains(&audience.text()) {
            errors.push(audience.duplicate());
        }
        seen.push(audience.text());
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let spec = Field::of(object, "spec");
    for name in ["attachRequired", "volumeLifecycleModes"] {
        errors.extend(spec.get(name).immutable(tree::get(old, &format!("spec.{name}"))));
    }
    errors
}
