//! StatefulSet: pods with names and volumes of their own, one after the other.

use serde_json::Value;

use super::template;
use crate::{
    Column, Field, FieldError, FieldErrors, Generation, Kind, Scale, Strategy, Subresource, int_or_percent,
    tree,
};

pub static STATEFUL_SET: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    definition: "io.k8s.api.apps.v1.StatefulSet",
    subresources: &[Subresource::scale(Scale::REPLICAS), Subresource::status("apps", "StatefulSet")],
    columns: &[
        Column::NAME,
        Column::new("Ready", "Pods ready, of those wanted.", |object, _| {
            let count = |path| tree::int(object, path).unwrap_or_default();
            format!("{}/{}", count("status.readyReplicas"), count("spec.replicas")).into()
        }),
        Column::AGE,
        Column::CONTAINERS,
        Column::IMAGES,
    ],
    strategy: &Strategy {
        defaults,
        prepare_create: |object| tree::set(object, "status", serde_json::json!({"replicas": 0})),
        validate_create: validate,
        validate_update,
        validate_status_update: validate_status,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

/// What of the spec may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
];
const FORBIDDEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                         'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                         'minReadySeconds' are forbidden";

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "spec.podManagementPolicy", "OrderedReady");
    tree::set_default_text(object, "spec.updateStrategy.type", "RollingUpdate");
    if tree::text(object, "spec.updateStrategy.type") == "RollingUpdate" {
        tree::set_default(object, "spec.updateStrategy.rollingUpdate.partition", 0);
    }
    for when in ["whenDeleted", "whenScaled"] {
        let path = format!("spec.persistentVolumeClaimRetentionPolicy.{when}");
        tree::set_default_text(object, &path, "Retain");
    }
    tree::set_default(object, "spec.replicas", 1);
    tree::set_default(object, "spec.revisionHistoryLimit", 10);
    for claim in tree::items_mut(object, "spec.volumeClaimTemplates") {
        tree::set_default_text(claim, "apiVersion", "v1");
        tree::set_default_text(claim, "kind", "PersistentVolumeClaim");
        crate::core::persistent_volume_claim::defaults(claim);
    }
    template::defaults(object);
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    let policy = spec.get("podManagementPolicy");
    match policy.text() {
        "" => errors.push(policy.required("")),
        "OrderedReady" | "Parallel" => {}
        _ => errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    errors.extend(validate_strategy(&spec.get("updateStrategy")));
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for when in ["whenDeleted", "whenScaled"] {
        errors.extend(retention.get(when).one_of(&["Delete", "Retain"]));
    }
    errors.extend(spec.negatives(&["replicas", "minReadySeconds", "revisionHistoryLimit"]));
    errors.extend(spec.get("ordinals").get("start").not_negative());
    errors.extend(template::validate(&spec, "statefulset", "StatefulSet"));
    errors
}

fn validate_strategy(strategy: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (kind, rolling) = (strategy.get("type"), strategy.get("rollingUpdate"));
    match kind.text() {
        "" => errors.push(kind.required("")),
        "OnDelete" if rolling.is_set() => {
            errors.push(rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"))
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            errors.extend(rolling.get("partition").not_negative());
            let unavailable = rolling.get("maxUnavailable");
            errors.extend(int_or_percent::validate(&unavailable));
            errors.extend(int_or_percent::not_above_all(&unavailable));
            if unavailable.is_set() && int_or_percent::is_zero(&unavailable) {
                errors.push(unavailable.invalid("cannot be 0"));
            }
        }
        _ => errors.push(kind.invalid("must be 'RollingUpdate' or 'OnDelete'")),
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let mut allowed = tree::get(old, "spec").clone();
    for field in MUTABLE {
        tree::copy(&mut allowed, field, tree::get(object, "spec"));
    }
    if !tree::same(&allowed, tree::get(object, "spec")) {
        errors.push(FieldError::forbidden("spec", FORBIDDEN));
    }
    errors
}

fn validate_status(object: &Value, _: &Value) -> FieldErrors {
    let status = Field::of(object, "status");
    let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    let mut errors = FieldErrors::new();
    errors.extend(status.negatives(&counts));
    errors.extend(template::validate_counts(&status, &counts[1..]));
    errors
}
