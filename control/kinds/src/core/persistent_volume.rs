//! PersistentVolume: a volume that outlives pods.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::{Column, Field, FieldErrors, Kind, Strategy, Subresource, meta, names, tree};

pub static PERSISTENT_VOLUME: Kind = Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    definition: "io.k8s.api.core.v1.PersistentVolume",
    subresources: &[Subresource::status("", "PersistentVolume")],
    columns: &[
        Column::NAME,
        Column::new("Capacity", "How large it is.", |object, _| {
            tree::text(object, "spec.capacity.storage").into()
        }),
        Column::new("Access Modes", "How it can be mounted.", |object, _| {
            access_modes_text(tree::items(object, "spec.accessModes")).into()
        }),
        Column::new("Reclaim Policy", "What becomes of it when it is released.", |object, _| {
            tree::text(object, "spec.persistentVolumeReclaimPolicy").into()
        }),
        Column::new("Status", "Whether a claim has it.", |object, _| phase(object).into()),
        Column::new("Claim", "Which claim.", |object, _| claim(object).into()),
        Column::new("StorageClass", "Who made it.", |object, _| class(object).into()),
        Column::new("VolumeAttributesClass", "Its settings.", |object, _| {
            or_unset(object, "spec.volumeAttributesClassName")
        }),
        Column::new("Reason", "Why it is in that state.", |object, _| {
            tree::text(object, "status.reason").into()
        }),
        Column::AGE,
        Column::new("VolumeMode", "File system or block device.", |object, _| {
            or_unset(object, "spec.volumeMode")
        })
        .wide(),
    ],
    strategy: &Strategy {
        defaults,
        prepare_create: |object| tree::set(object, "status.phase", "Pending"),
        validate_create: validate,
        validate_update,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const MODES: &[(&str, &str)] = &[
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];
/// Fields of the spec that say how the volume is used, not where its bytes are.
const NO_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

pub(super) fn or_unset(object: &Value, path: &str) -> Value {
    match tree::text(object, path) {
        "" => "<unset>".into(),
        text => text.into(),
    }
}

/// Of a volume or a claim.
pub(super) fn phase(object: &Value) -> &str {
    if meta::deletion_timestamp(object).is_some() {
        return "Terminating";
    }
    tree::text(object, "status.phase")
}

fn claim(object: &Value) -> String {
    match tree::get(object, "spec.claimRef") {
        Value::Null => String::new(),
        claim => format!("{}/{}", tree::text(claim, "namespace"), tree::text(claim, "name")),
    }
}

/// The class of a claim or a volume, by its old name or its new one.
pub(super) fn class(object: &Value) -> &str {
    meta::annotation(object, CLASS_ANNOTATION).unwrap_or_else(|| tree::text(object, "spec.storageClassName"))
}

/// Each mode once, in their customary order: `RWO,ROX`.
pub(super) fn access_modes_text(modes: &[Value]) -> String {
    let shown = MODES.iter().filter(|(mode, _)| modes.iter().any(|given| given == mode));
    shown.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "status.phase", "Pending");
    tree::set_default_text(object, "spec.persistentVolumeReclaimPolicy", "Retain");
    tree::set_default_text(object, "spec.volumeMode", "Filesystem");
    if tree::get(object, "spec.hostPath").is_object() {
        tree::set_default(object, "spec.hostPath.type", "");
    }
}

pub(super) fn validate_access_modes(modes: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if modes.list().is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    let known: Vec<&str> = MODES.iter().map(|(mode, _)| *mode).collect();
    for mode in modes.list().iter().filter_map(Value::as_str).filter(|mode| !known.contains(mode)) {
        errors.push(crate::FieldError::not_supported(&modes.path, mode, &known));
    }
    let once_pod = modes.list().iter().any(|mode| mode == "ReadWriteOncePod");
    if once_pod && modes.list().len() > 1 {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = validate_access_modes(&spec.get("accessModes"));
    let capacity = spec.get("capacity");
    match capacity.value.get("storage") {
        None if capacity.entries().next().is_none() => errors.push(capacity.required("")),
        None => errors.push(capacity.not_supported(&["storage"])),
        Some(amount) => {
            let amount = Field { value: amount, path: format!("{}[storage]", capacity.path) };
            if Quantity::of(amount.value).is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
                errors.push(amount.invalid("must be greater than zero"));
            }
        }
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    errors.extend(policy.one_of(&["Delete", "Recycle", "Retain"]));
    match sources(spec.value).len() {
        0 => errors.push(spec.required("must specify a volume type")),
        1 => {}
        _ => errors.push(spec.forbidden("may not specify more than 1 volume type")),
    }
    let class = spec.get("storageClassName");
    if !class.text().is_empty() {
        errors.extend(names::subdomain(class.text()).map(|wrong| class.invalid(wrong)));
    }
    errors.extend(spec.get("volumeMode").one_of(&["Block", "Filesystem"]));
    errors
}

/// Where the bytes are: one field of the spec, named after the kind of volume.
fn sources(spec: &Value) -> Vec<&str> {
    let fields = spec.as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| !value.is_null())
        .map(|(name, _)| name.as_str())
        .filter(|name| !NO_SOURCES.contains(name))
        .collect()
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let (spec, old_spec) = (Field::of(object, "spec"), tree::get(old, "spec"));
    let source = |spec: &Value| -> Vec<(String, Value)> {
        sources(spec).into_iter().map(|name| (name.to_owned(), tree::get(spec, name).clone())).collect()
    };
    if source(spec.value) != source(old_spec) {
        errors.push(
            spec.get("persistentvolumesource")
                .forbidden("spec.persistentvolumesource is immutable after creation"),
        );
    }
    errors.extend(spec.get("volumeMode").immutable(tree::get(old_spec, "volumeMode")));
    errors
}
