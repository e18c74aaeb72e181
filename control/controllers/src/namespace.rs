//! Empties a namespace that is to go, kind by kind, then lets it go.

use std::time::Duration;

use client::{ApiResource, ClientError, HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tracing::info;

use crate::Shared;
use crate::context::Context;
use crate::custom_resources::resource_of;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::emptying::empty;

/// The finalizer in a namespace's spec that is ours.
const FINALIZER: &str = "kubernetes";
/// Content that takes its time is looked at again after this, when no pod's end woke us before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct NamespaceController {
    resources: Vec<ApiResource>,
}

impl Controller for NamespaceController {
    type Kind = Namespace;
    const NAME: &'static str = "namespace-controller";

    fn new(_: &Shared) -> Self {
        let resources = crate::resources().into_iter().filter(|resource| resource.namespaced);
        Self { resources: resources.collect() }
    }

    fn watches() -> Watches {
        Watches::of::<Namespace>()
            .maps::<Pod>(|_, change| {
                let gone = change.old.as_ref().filter(|_| change.new.is_none());
                gone.map(|pod| ObjectKey::cluster(pod.namespace())).into_iter().collect()
            })
            .reads::<CustomResourceDefinition>()
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(namespace) = cx.cache::<Namespace>().get(key) else { return Ok(Next::Done) };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref());
        let is_ours = finalizers.unwrap_or_default().iter().any(|finalizer| finalizer == FINALIZER);
        if !namespace.is_terminating() || !is_ours {
            return Ok(Next::Done);
        }
        let mut remaining = 0;
        let definitions = cx.cache::<CustomResourceDefinition>().list();
        let custom = definitions.iter().filter_map(|definition| resource_of(definition));
        for resource in self.resources.iter().cloned().chain(custom.filter(|custom| custom.namespaced)) {
            remaining += empty(cx, &resource, &key.name).await?;
        }
        if remaining > 0 {
            return Ok(Next::After(LOOK_AGAIN));
        }
        finalize(cx, &namespace).await?;
        Ok(Next::Done)
    }
}

async fn finalize(cx: &Context, namespace: &Namespace) -> Result<(), ClientError> {
    let mut object = namespace.clone();
    if let Some(finalizers) = object.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    match cx.client.replace_subresource("finalize", &object).await {
        Ok(written) => {
            cx.wrote(&written);
            info!(namespace = namespace.name(), "the namespace is empty and may go");
            Ok(())
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
