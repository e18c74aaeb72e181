//! VolumeAttachment: that a volume is to be attached to a node.

use serde_json::Value;

use super::GROUP;
use crate::{Column, Field, FieldErrors, Kind, Strategy, Subresource, tree};

pub static VOLUME_ATTACHMENT: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    definition: "io.k8s.api.storage.v1.VolumeAttachment",
    subresources: &[Subresource::status(GROUP, "VolumeAttachment")],
    columns: &[
        Column::NAME,
        Column::new("Attacher", "Which driver attaches it.", |object, _| {
            tree::text(object, "spec.attacher").into()
        }),
        Column::new("PV", "Which volume.", |object, _| {
            tree::text(object, "spec.source.persistentVolumeName").into()
        }),
        Column::new("Node", "To which node.", |object, _| tree::text(object, "spec.nodeName").into()),
        Column::new("Attached", "Whether it is.", |object, _| tree::flag(object, "status.attached").into())
            .boolean(),
        Column::AGE,
    ],
    strategy: &Strategy { validate_create: validate, validate_update, ..Strategy::PLAIN },
    ..Kind::PLAIN
};

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    for name in ["attacher", "nodeName"] {
        if spec.get(name).text().is_empty() {
            errors.push(spec.get(name).required(""));
        }
    }
    let source = spec.get("source");
    let (volume, inline) = (source.get("persistentVolumeName"), source.get("inlineVolumeSpec"));
    match (volume.is_set(), inline.is_set()) {
        (false, false) => {
            errors.push(
                source.required("must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
            );
        }
        (true, true) => {
            errors.push(
                source.forbidden("must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
            );
        }
        (true, false) if volume.text().is_empty() => {
            errors.push(volume.required("must specify non empty persistentVolumeName"));
        }
        _ => {}
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(Field::of(object, "spec").immutable(tree::get(old, "spec")));
    errors
}
