//! Ephemeral containers: added to a pod that runs, to look into it; never changed, never taken away.

use serde_json::Value;

use super::{containers, validate, volumes};
use crate::{Field, FieldError, FieldErrors, View, meta, tree};

pub(super) static VIEW: View =
    View { prepare, validate: validate_update, part: "spec.ephemeralContainers", admitted: true };

const NOT_HERE: &str = "cannot be set for an Ephemeral Container";
/// What a container may have and an ephemeral one may not: it is not restarted, probed, sized or reached.
const OTHERS: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
];

/// Only the list changes, nothing of the metadata.
fn prepare(object: &mut Value, old: &Value, _: &str) {
    super::keep_metadata(object, old);
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if meta::annotation(old, super::MIRROR).is_some() {
        errors.push(FieldError::forbidden("", "static pods do not support ephemeral containers"));
        return errors;
    }
    errors.extend(validate::validate_spec(&Field::of(object, "spec")));
    let list = Field::of(object, "spec").get("ephemeralContainers");
    for before in tree::items(old, "spec.ephemeralContainers") {
        let name = tree::text(before, "name");
        match list.list().iter().find(|after| tree::text(after, "name") == name) {
            None => errors
                .push(list.forbidden(format!("existing ephemeral containers {name:?} may not be removed\n"))),
            Some(after) if !tree::same(before, after) => {
                let changes = super::update::difference(before, after);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{changes}");
                errors.push(list.forbidden(detail));
            }
            Some(_) => {}
        }
    }
    errors
}

/// The ephemeral containers of a pod's spec, beside its others.
pub(super) fn validate(spec: &Field<'_>, volumes: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let names = |list: &str| spec.get(list).items().map(|container| container.get("name").text());
    let targets: Vec<&str> = names("containers").chain(names("initContainers")).collect();
    let mut seen = targets.clone();
    for container in spec.get("ephemeralContainers").items() {
        errors.extend(containers::unique_name(&container, &mut seen));
        errors.extend(containers::validate_container(&container, volumes));
        let target = container.get("targetContainerName");
        if !target.text().is_empty() && !targets.contains(&target.text()) {
            errors.push(FieldError::not_found(&target.path, target.text()));
        }
        for name in OTHERS {
            let field = container.get(name);
            if field.is_set() && !is_empty(field.value) {
                errors.push(field.forbidden(NOT_HERE));
            }
        }
        errors.extend(volumes::without_sub_paths(&container.get("volumeMounts"), NOT_HERE));
    }
    errors
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.is_empty()) || value.as_array().is_some_and(Vec::is_empty)
}
