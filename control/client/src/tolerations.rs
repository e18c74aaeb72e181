//! Whether a pod's toleration covers a node's taint.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// By key, value and effect, empty meaning any.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let key = set(&toleration.key);
    set(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && key.as_ref().is_none_or(|key| *key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => key.is_some() && set(&toleration.value) == set(&taint.value),
        }
}
