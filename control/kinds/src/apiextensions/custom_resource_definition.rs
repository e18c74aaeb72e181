//! CustomResourceDefinition: a kind that users add. It is served when its names are accepted, and goes after its objects.
//!
//! A definition that this program could not honour is refused: conversion by webhook, patterns, paths and rules beyond
//! what [`crate::custom`] understands.

mod names;
mod rules;
mod structural;
mod version;

use serde_json::{Value, json};

use super::{GROUP, condition};
use crate::{Column, Deletion, Field, FieldErrors, Generation, Kind, Strategy, Subresource, meta, tree};

pub static CUSTOM_RESOURCE_DEFINITION: Kind = Kind {
    group: GROUP,
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    definition: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    subresources: &[Subresource::status(GROUP, "CustomResourceDefinition")],
    columns: &[Column::NAME, Column::CREATED_AT],
    strategy: &Strategy {
        defaults,
        prepare_create: note_stored_version,
        prepare_update: |object, _| note_stored_version(object),
        validate_create: validate,
        validate_update,
        validate_status_update: |object, _| validate_stored_versions(object),
        deletion: Deletion::Marked(begin_to_go),
        generation: Generation::Spec,
        unconditional_update: false,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

/// Held by a definition that goes until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "spec.conversion.strategy", "None");
    let kind = tree::text(object, "spec.names.kind").to_owned();
    if !kind.is_empty() {
        tree::set_default_text(object, "spec.names.singular", &kind.to_lowercase());
        tree::set_default_text(object, "spec.names.listKind", &format!("{kind}List"));
    }
}

/// Objects may have been stored in every version that ever was the storage version.
fn note_stored_version(object: &mut Value) {
    let versions = tree::items(object, "spec.versions");
    let storage = versions.iter().find(|version| tree::flag(version, "storage"));
    let Some(storage) = storage.and_then(|version| version.get("name")).cloned() else { return };
    if tree::get(object, "status").is_null() {
        let status = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}});
        tree::set(object, "status", status);
    }
    let mut stored = tree::items(object, "status.storedVersions").to_vec();
    if !stored.contains(&storage) {
        stored.push(storage);
        tree::set(object, "status.storedVersions", stored);
    }
}

fn begin_to_go(object: &mut Value) {
    let mut finalizers = meta::finalizers(object).into_iter().map(str::to_owned).collect::<Vec<_>>();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    meta::set(object, "finalizers", finalizers);
    let mut conditions = tree::items(object, "status.conditions").to_vec();
    conditions.retain(|condition| tree::text(condition, "type") != "Terminating");
    conditions.push(json!({
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": meta::deletion_timestamp(object),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }));
    tree::set(object, "status.conditions", conditions);
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = FieldErrors::new();
    let (group, plural) = (spec.get("group"), spec.get("names").get("plural"));
    if meta::name(object) != format!("{}.{}", plural.text(), group.text()) {
        let name = Field::of(object, "metadata").get("name");
        errors.push(name.invalid("must be spec.names.plural+\".\"+spec.group"));
    }
    errors.extend(names::validate_group(&group, object));
    errors.extend(spec.get("scope").one_of(&["Cluster", "Namespaced"]));
    errors.extend(names::validate(&spec.get("names")));
    errors.extend(version::validate_all(&spec));
    errors.extend(validate_conversion(&spec));
    if spec.get("preserveUnknownFields").flag() {
        errors.push(spec.get("preserveUnknownFields").invalid(
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    errors.extend(validate_stored_versions(object));
    errors
}

fn validate_conversion(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let strategy = spec.get("conversion").get("strategy");
    // Webhooks are not called here: better no definition than objects in a shape that nobody asked for.
    errors.extend(strategy.one_of(&["None"]));
    let webhook = spec.get("conversion").get("webhook");
    if strategy.text() == "None" && webhook.is_set() {
        errors.push(webhook.forbidden("should not be set when strategy is not set to Webhook"));
    }
    errors
}

fn validate_stored_versions(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let stored = Field::of(object, "status").get("storedVersions");
    let versions = tree::items(object, "spec.versions");
    let named = |name: &str| versions.iter().find(|version| tree::text(version, "name") == name);
    if stored.list().is_empty() {
        errors.push(stored.invalid("must have at least one stored version"));
    }
    for version in stored.items() {
        let name = version.text();
        if named(name).is_none() {
            errors.push(version.invalid(format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )));
        }
    }
    let storage = versions.iter().find(|version| tree::flag(version, "storage"));
    if let Some(storage) = storage.map(|version| tree::text(version, "name"))
        && !stored.list().iter().any(|version| version == storage)
    {
        errors.push(stored.invalid(format!("must have the storage version {storage}")));
    }
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(object);
    let (spec, before) = (Field::of(object, "spec"), Field::of(old, "spec"));
    let (names, old_names) = (spec.get("names"), before.get("names"));
    errors.extend(spec.get("group").immutable(before.get("group").value));
    errors.extend(names.get("plural").immutable(old_names.get("plural").value));
    if condition(old, "Established") {
        errors.extend(spec.get("scope").immutable(before.get("scope").value));
        errors.extend(names.get("kind").immutable(old_names.get("kind").value));
    }
    errors
}
