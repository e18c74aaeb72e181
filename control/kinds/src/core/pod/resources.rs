//! Requests and limits: their grammar, and the class of service that follows from them.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::{Field, FieldError, FieldErrors, names, tree};

const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// `Guaranteed`, `Burstable` or `BestEffort`, from what containers request of cpu and memory.
pub fn quality_of_service(pod: &Value) -> &'static str {
    let containers: Vec<&Value> =
        ["spec.initContainers", "spec.containers"].iter().flat_map(|list| tree::items(pod, list)).collect();
    let amount = |container: &Value, list: &str, resource: &str| {
        let quantity =
            tree::get(tree::get(container, "resources"), list).get(resource).and_then(Quantity::of);
        quantity.filter(|quantity| !quantity.is_zero())
    };
    let asks = |container: &&Value| {
        ["requests", "limits"]
            .iter()
            .any(|list| ["cpu", "memory"].iter().any(|resource| amount(container, list, resource).is_some()))
    };
    let pinned = |container: &&Value| {
        ["cpu", "memory"].iter().all(|resource| {
            let limit = amount(container, "limits", resource);
            limit.is_some()
                && amount(container, "requests", resource).is_none_or(|request| Some(request) == limit)
        })
    };
    if !containers.iter().any(asks) {
        "BestEffort"
    } else if containers.iter().all(pinned) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

pub(super) fn validate(resources: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (resource, amount) in limits.entries().chain(requests.entries()) {
        errors.extend(validate_name(resource, &amount));
        errors.extend(validate_amount(resource, &amount));
    }
    for (resource, amount) in requests.entries() {
        let (limit, request) =
            (limits.value.get(resource).and_then(Quantity::of), Quantity::of(amount.value));
        let (Some(limit), Some(request)) = (limit, request) else { continue };
        let shown = request.to_string();
        if is_extended(resource) && request != limit {
            let detail = format!("must be equal to {resource} limit of {limit}");
            errors.push(FieldError::invalid(&requests.path, shown, detail));
        } else if request > limit {
            let detail = format!("must be less than or equal to {resource} limit of {limit}");
            errors.push(FieldError::invalid(&requests.path, shown, detail));
        }
    }
    errors
}

fn validate_name(resource: &str, amount: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(
        names::qualified(resource)
            .into_iter()
            .map(|wrong| FieldError::invalid(&amount.path, resource, wrong)),
    );
    let standard = STANDARD.contains(&resource) || resource.starts_with("hugepages-");
    if errors.is_empty() && !standard && !resource.contains('/') {
        for detail in [
            "must be a standard resource type or fully qualified",
            "must be a standard resource for containers",
        ] {
            errors.push(FieldError::invalid(&amount.path, resource, detail));
        }
    }
    errors
}

fn validate_amount(resource: &str, amount: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let Some(quantity) = Quantity::of(amount.value) else {
        errors.push(amount.invalid(crate::quantity::QuantityError::Format.to_string()));
        return errors;
    };
    let shown = quantity.to_string();
    if quantity.is_negative() {
        errors.push(FieldError::invalid(&amount.path, shown.clone(), "must be greater than or equal to 0"));
    }
    if is_extended(resource) && !quantity.is_whole() {
        errors.push(FieldError::invalid(&amount.path, shown, "must be an integer"));
    }
    errors
}

/// Whether the resource is somebody else's, counted in whole pieces.
fn is_extended(resource: &str) -> bool {
    resource
        .split_once('/')
        .is_some_and(|(prefix, _)| prefix != "kubernetes.io" && !prefix.ends_with(".kubernetes.io"))
}
