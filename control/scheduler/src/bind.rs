//! The writes of the scheduler: a pod's binding, or why it has none.

use base::Timestamp;
use client::{Client, EventKind, HasMetadata, Recorder};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tracing::{debug, info, warn};

/// How a bind ended.
pub(crate) enum Bound {
    Yes,
    /// The pod does not exist any more.
    Gone,
    Refused,
}

pub(crate) async fn bind(client: &Client, recorder: &Recorder, pod: &Pod, node: &str) -> Bound {
    match client.bind(pod, node).await {
        Ok(()) => {
            info!(pod = %pod.key(), node, "bound the pod");
            let message = format!("Successfully assigned {} to {node}", pod.key());
            recorder.record(pod, EventKind::Normal, "Scheduled", message);
            Bound::Yes
        }
        Err(error) if error.is_not_found() => Bound::Gone,
        Err(error) if error.is_conflict() || error.is_fenced() => {
            debug!(pod = %pod.key(), node, %error, "somebody else was faster");
            Bound::Refused
        }
        Err(error) => {
            warn!(pod = %pod.key(), node, %error, source = ?std::error::Error::source(&error), "cannot bind the pod");
            let message = format!("binding rejected: {error}");
            recorder.record(pod, EventKind::Warning, "FailedScheduling", message);
            Bound::Refused
        }
    }
}

/// Says in an event, and in the pod's condition, that it fits nowhere. Best effort: the next attempt says it again.
pub(crate) async fn tell_nowhere(client: &Client, recorder: &Recorder, pod: &Pod, told: (&str, Timestamp)) {
    let (message, now) = told;
    recorder.record(pod, EventKind::Warning, "FailedScheduling", message);
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let known = conditions.into_iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    let is_told =
        known.is_some_and(|known| known.status == "False" && known.message.as_deref() == Some(message));
    if is_told {
        return;
    }
    let since =
        known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since.or(Some(Time(now))),
        ..PodCondition::default()
    };
    let patch = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
    if let Err(error) = client.strategic_patch_status::<Pod>(&pod.key(), &patch).await {
        debug!(pod = %pod.key(), %error, "cannot tell in the status that the pod fits nowhere");
    }
}
