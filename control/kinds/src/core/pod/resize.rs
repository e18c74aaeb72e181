//! Resizing a pod in place: what its containers request and may use of cpu and memory changes, and nothing else.

use serde_json::Value;

use super::{quality_of_service, validate};
use crate::quantity::Quantity;
use crate::{Field, FieldError, FieldErrors, View, meta, tree};

pub(super) static VIEW: View = View { prepare, validate: validate_update, part: "spec", admitted: true };

const LISTS: [&str; 2] = ["containers", "initContainers"];
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const ONLY: &str = "only cpu and memory resources are mutable";

/// Takes from what was sent the resources of each container and how it is resized. Containers that are others than
/// before are left for the validation to see.
fn prepare(object: &mut Value, old: &Value, _: &str) {
    super::keep_metadata(object, old);
    if !has_same_containers(object, old) {
        return;
    }
    let sent = tree::get(object, "spec").clone();
    tree::copy(object, "spec", old);
    for list in LISTS {
        let ours = tree::items_mut(object, &format!("spec.{list}"));
        for (container, sent) in ours.zip(tree::items(&sent, list)) {
            tree::copy(container, "resources", sent);
            tree::copy(container, "resizePolicy", sent);
        }
    }
}

fn has_same_containers(object: &Value, old: &Value) -> bool {
    let names = |pod: &Value| {
        LISTS.map(|list| {
            let containers = tree::items(pod, &format!("spec.{list}")).iter();
            containers.map(|container| tree::text(container, "name").to_owned()).collect::<Vec<_>>()
        })
    };
    names(object) == names(old)
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if let Some(never) = never(object, old) {
        errors.push(FieldError::forbidden("", never));
        return errors;
    }
    let spec = Field::of(object, "spec");
    if !has_same_containers(object, old) {
        errors.push(spec.forbidden(ONLY));
        return errors;
    }
    errors.extend(validate::validate_spec(&spec));
    let class = tree::text(old, "status.qosClass");
    if class != quality_of_service(object) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, detail));
    }
    if !node_resizes(old) {
        errors.push(spec.forbidden("Pod running on node without support for resize"));
    }
    for list in LISTS {
        let before = tree::items(old, &format!("spec.{list}"));
        for (container, before) in spec.get(list).items().zip(before) {
            let is_sidecar = tree::text(before, "restartPolicy") == "Always";
            let unchanged = match list {
                "initContainers" if !is_sidecar => tree::same(container.value, before),
                _ => {
                    errors.extend(validate_container(&container, before));
                    !changes_others(container.value, before)
                }
            };
            if !unchanged {
                errors.push(spec.forbidden(match (list, is_sidecar) {
                    ("initContainers", false) => "resources for non-sidecar init containers are immutable",
                    ("initContainers", true) => {
                        "only cpu and memory resources for sidecar containers are mutable"
                    }
                    _ => ONLY,
                }));
            }
        }
    }
    errors
}

/// Why no container of the pod can be resized at all.
fn never(object: &Value, old: &Value) -> Option<&'static str> {
    let has_own = |pod: &Value| {
        let amounts = |list: &str| tree::map(pod, &format!("spec.resources.{list}"));
        ["requests", "limits"].into_iter().filter_map(amounts).any(|amounts| !amounts.is_empty())
    };
    if has_own(object) || has_own(old) {
        Some("pods with pod-level resources cannot be resized")
    } else if meta::annotation(old, super::MIRROR).is_some() {
        Some("static pods cannot be resized")
    } else if tree::text(old, "spec.os.name") == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    }
}

/// Whether the pod's node tells what its containers have, and so can give them something else. True while none runs.
fn node_resizes(pod: &Value) -> bool {
    let mut running = tree::items(pod, "status.containerStatuses")
        .iter()
        .filter(|container| !tree::get(container, "state.running").is_null());
    running.next().is_none_or(|container| !tree::get(container, "resources").is_null())
}

fn validate_container(container: &Field<'_>, before: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let resources = container.get("resources");
    for (list, word) in [("requests", "resource requests"), ("limits", "resource limits")] {
        let had = tree::map(before, &format!("resources.{list}"));
        let field = resources.get(list);
        if had.into_iter().flatten().any(|(name, _)| !field.get(name).is_set()) {
            errors.push(field.forbidden(format!("{word} cannot be removed")));
        }
    }
    let restarts = container.get("resizePolicy").items().any(|policy| {
        policy.get("resourceName").text() == "memory"
            && policy.get("restartPolicy").text() == "RestartContainer"
    });
    let limit = |container: &Value| tree::get(container, "resources.limits.memory").clone();
    let (new, old) = (Quantity::of(&limit(container.value)), Quantity::of(&limit(before)));
    let lowered = match (&new, &old) {
        (Some(new), Some(old)) if new < old => Some("decreased"),
        (Some(_), None) => Some("added"),
        _ => None,
    };
    if let Some(word) = lowered.filter(|_| !restarts) {
        let path = format!("{}[memory]", resources.get("limits").path);
        let detail = format!("memory limits cannot be {word} unless resizePolicy is RestartContainer");
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// Whether anything but amounts of cpu and memory differs. How a container is resized counts as something else.
fn changes_others(container: &Value, before: &Value) -> bool {
    let rest = |container: &Value| {
        let mut rest = container.clone();
        for list in ["requests", "limits"] {
            for name in RESIZABLE {
                tree::remove(&mut rest, &format!("resources.{list}.{name}"));
            }
            let path = format!("resources.{list}");
            if tree::map(&rest, &path).is_some_and(serde_json::Map::is_empty) {
                tree::remove(&mut rest, &path);
            }
        }
        rest
    };
    !tree::same(&rest(container), &rest(before))
}
