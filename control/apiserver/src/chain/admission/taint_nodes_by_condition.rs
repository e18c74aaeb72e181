//! TaintNodesByCondition: a new node is tainted not-ready, so that no pod lands on it before it said that it is.

use kinds::tree;
use serde_json::json;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "TaintNodesByCondition", admit: Admit::Object(admit) };

const NOT_READY: &str = "node.kubernetes.io/not-ready";

fn admit(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    if !attempt.creates("", "Node") {
        return Ok(());
    }
    let mut taints = tree::items(attempt.object, "spec.taints").to_vec();
    if !taints.iter().any(|taint| tree::text(taint, "key") == NOT_READY) {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    tree::set(attempt.object, "spec.taints", taints);
    Ok(())
}
