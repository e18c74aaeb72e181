//! What must hold for the metadata of every object, whatever its kind.

use serde_json::Value;

use crate::{Field, FieldError, FieldErrors, Kind, NameRule, meta, names};

const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Kinds that own nothing, however they are named.
const NEVER_OWNERS: &[(&str, &str)] = &[("v1", "Event")];

/// The metadata of a new object of `kind`.
pub(crate) fn validate(object: &Value, kind: &Kind) -> FieldErrors {
    let metadata = Field::of(object, "metadata");
    let mut errors = FieldErrors::new();
    let generate_name = metadata.get("generateName");
    if !generate_name.text().is_empty() {
        errors.extend(
            kind.name_rule.check_prefix(generate_name.text()).map(|text| generate_name.invalid(text)),
        );
    }
    let name = metadata.get("name");
    match name.text() {
        "" => errors.push(name.required("name or generateName is required")),
        text => errors.extend(kind.name_rule.check(text).map(|text| name.invalid(text))),
    }
    let namespace = metadata.get("namespace");
    match (kind.namespaced, namespace.text()) {
        (true, "") => errors.push(namespace.required("")),
        (true, text) => errors.extend(names::label(text).map(|text| namespace.invalid(text))),
        (false, "") => {}
        (false, _) => errors.push(namespace.forbidden("not allowed on this type")),
    }
    errors.extend(metadata.get("generation").not_negative());
    validate_maps(&metadata, &mut errors);
    errors.extend(validate_finalizers(&metadata.get("finalizers")));
    errors
}

/// The metadata of a changed object.
pub(crate) fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let metadata = Field::of(object, "metadata");
    let before = Field::of(old, "metadata");
    let mut errors = FieldErrors::new();
    if meta::deletion_timestamp(old).is_some() {
        errors.extend(no_new_finalizers(object, old));
    }
    if meta::generation(object) < meta::generation(old) {
        errors.push(metadata.get("generation").invalid("must not be decremented"));
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        errors.extend(metadata.get(field).immutable(before.get(field).value));
    }
    validate_maps(&metadata, &mut errors);
    errors.extend(validate_finalizers(&metadata.get("finalizers")));
    errors
}

/// A name by `rule`: each message becomes one error.
pub fn validate_name(name: &Field<'_>, rule: NameRule) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(rule.check(name.text()).map(|text| name.invalid(text)));
    errors
}

/// Labels: keys are qualified names, values label values. Errors name the map, as Kubernetes' do.
pub fn validate_labels(labels: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (key, value) in labels.entries() {
        errors.extend(key_errors(labels, key));
        let text = value.text();
        errors.extend(
            names::label_value(text).into_iter().map(|wrong| FieldError::invalid(&labels.path, text, wrong)),
        );
    }
    errors
}

/// Annotations: keys are qualified names; all together are bounded.
pub fn validate_annotations(annotations: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut bytes = 0;
    for (key, value) in annotations.entries() {
        errors.extend(
            names::qualified(&key.to_lowercase())
                .into_iter()
                .map(|wrong| FieldError::invalid(&annotations.path, key, wrong)),
        );
        bytes += key.len() + value.text().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(&annotations.path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

fn key_errors(map: &Field<'_>, key: &str) -> impl Iterator<Item = FieldError> {
    names::qualified(key).into_iter().map(move |wrong| FieldError::invalid(&map.path, key, wrong))
}

fn validate_maps(metadata: &Field<'_>, errors: &mut FieldErrors) {
    errors.extend(validate_labels(&metadata.get("labels")));
    errors.extend(validate_annotations(&metadata.get("annotations")));
    errors.extend(validate_owners(&metadata.get("ownerReferences")));
}

fn validate_owners(owners: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut controller: Option<&str> = None;
    for owner in owners.items() {
        let version = owner.get("apiVersion");
        if version.text().is_empty() {
            errors.push(FieldError::invalid(&version.path, "", "version must not be empty"));
        }
        for required in ["kind", "name", "uid"] {
            let field = owner.get(required);
            if field.text().is_empty() {
                errors.push(FieldError::invalid(&field.path, "", "must not be empty"));
            }
        }
        if NEVER_OWNERS.contains(&(version.text(), owner.get("kind").text())) {
            let what = format!("{} is disallowed from being an owner", version.text());
            errors.push(owner.invalid(what));
        }
        if owner.get("controller").flag() {
            let kind = owner.get("kind").text();
            match controller {
                None => controller = Some(kind),
                Some(first) => errors.push(owners.invalid(format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {kind}"
                ))),
            }
        }
    }
    errors
}

fn validate_finalizers(finalizers: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut orphan = false;
    let mut foreground = false;
    for finalizer in finalizers.items() {
        let text = finalizer.text();
        errors.extend(
            names::qualified(text)
                .into_iter()
                .map(|wrong| FieldError::invalid(&finalizers.path, text, wrong)),
        );
        orphan |= text == "orphan";
        foreground |= text == "foregroundDeletion";
    }
    if orphan && foreground {
        errors.push(finalizers.invalid("finalizer orphan and foregroundDeletion cannot be both set"));
    }
    errors
}

fn no_new_finalizers(object: &Value, old: &Value) -> Option<FieldError> {
    let before = meta::finalizers(old);
    let extra: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|name| !before.contains(name))
        .map(|name| format!("{name:?}"))
        .collect();
    (!extra.is_empty()).then(|| {
        let extra = extra.join(", ");
        FieldError::forbidden(
            "metadata.finalizers",
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{extra}}}"
            ),
        )
    })
}
