//! PodDisruptionBudget in v1beta1, for clients from before 1.21. There an empty selector selects nothing; in v1, everything.

use serde_json::{Value, json};

use super::pod_disruption_budget::POD_DISRUPTION_BUDGET;
use crate::{Conversion, Kind, Subresource, tree};

pub static POD_DISRUPTION_BUDGET_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.policy.v1beta1.PodDisruptionBudget",
    subresources: &[Subresource::status("policy", "PodDisruptionBudget").at("v1beta1")],
    conversion: Some(&Conversion {
        to_stored: |object| swap_empty(object, "Exists", "DoesNotExist"),
        from_stored: |object| swap_empty(object, "DoesNotExist", "Exists"),
        ..Conversion::same(&POD_DISRUPTION_BUDGET)
    }),
    ..POD_DISRUPTION_BUDGET
};

const SELECTOR: &str = "spec.selector";
/// A label that no pod has.
const NOWHERE: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

/// Says an empty selector by the label that no pod has, and one that says so by being empty.
fn swap_empty(object: &mut Value, empty_as: &str, as_empty: &str) {
    let by = |operator: &str| json!({"matchExpressions": [{"key": NOWHERE, "operator": operator}]});
    let selector = tree::get(object, SELECTOR);
    if selector.is_object() && tree::same(selector, &json!({})) {
        tree::set(object, SELECTOR, by(empty_as));
    } else if tree::same(selector, &by(as_empty)) {
        tree::set(object, SELECTOR, json!({}));
    }
}
