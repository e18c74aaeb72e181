//! Lets a claim go that is being deleted when no pod uses it any more.

use client::{Cache, HasMetadata, ListOptions, ObjectKey};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kinds::storage::protection::CLAIM_FINALIZER;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::finalizers::take_off;

pub(crate) struct ClaimProtectionController;

impl Controller for ClaimProtectionController {
    type Kind = PersistentVolumeClaim;
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";

    fn new(_: &Shared) -> Self {
        Self
    }

    fn watches() -> Watches {
        // What a pod used may go when the pod is gone.
        Watches::of::<PersistentVolumeClaim>().maps::<Pod>(|_, change| {
            let gone = change.old.as_ref().filter(|_| change.new.is_none());
            gone.map(|pod| claims(pod).map(|name| ObjectKey::namespaced(pod.namespace(), name)).collect())
                .unwrap_or_default()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(claim) = cx.cache::<PersistentVolumeClaim>().get(key) else { return Ok(Next::Done) };
        if !claim.is_terminating() || !claim.has_finalizer(CLAIM_FINALIZER) {
            return Ok(Next::Done);
        }
        let pods: Cache<Pod> = cx.cache();
        let uses = |pod: &Pod| pod.namespace() == key.namespace && is_used(pod, &key.name);
        if pods.list().iter().any(|pod| uses(pod)) {
            return Ok(Next::Done);
        }
        // The cache may be behind: that nobody uses it is the server's to say.
        let options = ListOptions { namespace: key.namespace.clone(), ..ListOptions::default() };
        if cx.client.list::<Pod>(&options).await?.items.iter().any(uses) {
            return Ok(Next::Done);
        }
        take_off(cx, &*claim, CLAIM_FINALIZER).await
    }
}

/// A pod that no node has does not start any more once the claim is being deleted.
fn is_used(pod: &Pod, claim: &str) -> bool {
    let is_bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    is_bound && claims(pod).any(|name| name == claim)
}

/// The claims that a pod names, and those that were made for it alone.
fn claims(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.name(), volume.name)),
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_uses_what_it_names_and_what_is_made_for_it() {
        let pod = |node: Option<&str>| -> Pod {
            let volumes = json!([
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {}},
                {"name": "c", "emptyDir": {}},
            ]);
            let spec = json!({"containers": [], "nodeName": node, "volumes": volumes});
            serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).expect("a pod")
        };
        assert_eq!(claims(&pod(None)).collect::<Vec<_>>(), ["data", "web-b"]);
        assert!(is_used(&pod(Some("n")), "data") && is_used(&pod(Some("n")), "web-b"));
        assert!(!is_used(&pod(Some("n")), "web-c") && !is_used(&pod(None), "data"));
    }
}
