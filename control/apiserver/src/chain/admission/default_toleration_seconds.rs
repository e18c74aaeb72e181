//! DefaultTolerationSeconds: how long a pod stays on a node that is not ready or unreachable, unless it says so.

use kinds::tree;
use serde_json::{Value, json};

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "DefaultTolerationSeconds", admit: Admit::Object(admit) };

const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

fn admit(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    if !attempt.creates("", "Pod") {
        return Ok(());
    }
    let mut tolerations = tree::items(attempt.object, "spec.tolerations").to_vec();
    for taint in TAINTS {
        if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            tolerations.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": attempt.call.server.toleration_seconds,
            }));
        }
    }
    tree::set(attempt.object, "spec.tolerations", tolerations);
    Ok(())
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let key = tree::text(toleration, "key");
    let effect = tree::text(toleration, "effect");
    (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}
