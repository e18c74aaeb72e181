//! Deletes pods from nodes whose NoExecute taints they do not tolerate, or tolerate only for a while.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::tolerations::tolerates;
use client::{Delete, EventKind, HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use tracing::info;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::node_lifecycle::BY_NODE;
use crate::pods;

pub(crate) struct TaintEvictionController;

/// What is to become of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    GoesIn(Duration),
    Goes,
}

impl Controller for TaintEvictionController {
    type Kind = Pod;
    const NAME: &'static str = "taint-eviction-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<Pod>().add_index(BY_NODE);
        Self
    }

    fn watches() -> Watches {
        Watches::of::<Pod>().maps::<Node>(|informers, change| {
            let taints = |node: &Option<Arc<Node>>| node.as_ref().map(|node| no_execute(node));
            let (before, after) =
                (taints(&change.old).unwrap_or_default(), taints(&change.new).unwrap_or_default());
            if before == after {
                return Vec::new();
            }
            let name = change.latest().map(|node| node.name().to_owned()).unwrap_or_default();
            let pods = informers.cache::<Pod>().by_index(BY_NODE.name, &name);
            pods.iter().map(|pod| pod.key()).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(pod) = cx.cache::<Pod>().get(key) else { return Ok(Next::Done) };
        let node = cx.cache::<Node>().get(&ObjectKey::cluster(pods::node_name(&pod)));
        let Some(node) = node else { return Ok(Next::Done) };
        match plan(&pod, &no_execute(&node), cx.clock.now()) {
            Verdict::Stays => Ok(Next::Done),
            Verdict::GoesIn(delay) => Ok(Next::After(delay)),
            Verdict::Goes => evict(cx, &pod).await,
        }
    }
}

async fn evict(cx: &Context, pod: &Pod) -> Result<Next, ReconcileError> {
    info!(pod = %pod.key(), node = pods::node_name(pod), "the pod's time on a tainted node is over");
    let message = format!("Marking for deletion Pod {}", pod.key());
    cx.recorder.record(pod, EventKind::Normal, "TaintManagerEviction", message);
    match cx.client.delete::<Pod>(&pod.key(), &Delete::exactly(pod)).await {
        Ok(()) => cx.deleted(pod),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Next::Done)
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

/// The shortest of the tolerations in use counts; one taint that is not tolerated at all is enough to go.
fn plan(pod: &Pod, taints: &[Taint], now: Timestamp) -> Verdict {
    if taints.is_empty() || pod.is_terminating() || pods::is_finished(pod) {
        return Verdict::Stays;
    }
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut verdict = Verdict::Stays;
    for taint in taints {
        let mut tolerating = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if tolerating.peek().is_none() {
            return Verdict::Goes;
        }
        let Some(seconds) = tolerating.filter_map(|toleration| toleration.toleration_seconds).min() else {
            continue;
        };
        let Ok(allowed) = u64::try_from(seconds) else { return Verdict::Goes };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let left = Duration::from_secs(allowed).saturating_sub(passed);
        verdict = match verdict {
            _ if left.is_zero() => return Verdict::Goes,
            Verdict::GoesIn(sooner) => Verdict::GoesIn(sooner.min(left)),
            Verdict::Stays | Verdict::Goes => Verdict::GoesIn(left),
        };
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    /// `tolerations` as `key=seconds`, `key` for ever; the taint `key` was added `ago` seconds before now.
    fn check(tolerations: &str, key: &str, ago: u64, expected: &Verdict) {
        let now: Timestamp = NOW.parse().expect("a time");
        let tolerations = tolerations.split_whitespace().map(|word| {
            let (key, seconds) = word.split_once('=').unwrap_or((word, ""));
            let seconds = seconds.parse::<i64>().ok();
            json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds })
        });
        let spec = json!({ "containers": [], "tolerations": tolerations.collect::<Vec<_>>() });
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).expect("a pod");
        let added = (now - Duration::from_secs(ago)).to_string();
        let taint = json!({ "key": key, "effect": "NoExecute", "timeAdded": added });
        let taint = serde_json::from_value(taint).expect("a taint");
        assert_eq!(plan(&pod, &[taint], now), *expected);
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        check("", "dead", 0, &Verdict::Goes);
        check("dead", "dead", 1000, &Verdict::Stays);
        check("dead=300", "dead", 100, &Verdict::GoesIn(Duration::from_secs(200)));
        check("dead=300", "dead", 300, &Verdict::Goes);
        check("other=300", "dead", 0, &Verdict::Goes);
        check("dead=0", "dead", 0, &Verdict::Goes);
    }
}
