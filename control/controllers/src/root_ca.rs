//! Sees to it that each namespace has the ConfigMap `kube-root-ca.crt`, by which its pods know the API server.

use std::collections::BTreeMap;

use client::{HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub(crate) struct RootCaController {
    certificate: String,
}

impl Controller for RootCaController {
    type Kind = Namespace;
    const NAME: &'static str = "root-ca-certificate-publisher-controller";

    fn new(shared: &Shared) -> Self {
        Self { certificate: shared.config.root_ca.clone().unwrap_or_default() }
    }

    fn is_wanted(shared: &Shared) -> bool {
        shared.config.root_ca.is_some()
    }

    fn watches() -> Watches {
        Watches::of::<Namespace>().maps_named::<ConfigMap>(NAME, |_, change| {
            change.latest().map(|map| ObjectKey::cluster(map.namespace())).into_iter().collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(namespace) = cx.cache::<Namespace>().get(key) else { return Ok(Next::Done) };
        if namespace.is_terminating() {
            return Ok(Next::Done);
        }
        let wanted = ObjectKey::namespaced(&key.name, NAME);
        let written = match cx.named::<ConfigMap>(NAME).get(&wanted) {
            None => cx.client.create(&self.config_map(wanted)).await,
            Some(map) if map.data != Some(self.data()) => {
                // What others have put beside the certificate goes.
                let gone = map.data.iter().flatten().filter(|(name, _)| *name != KEY);
                let mut data: serde_json::Map<_, _> =
                    gone.map(|(name, _)| (name.clone(), json!(null))).collect();
                data.insert(KEY.to_owned(), json!(self.certificate));
                cx.client.merge_patch::<ConfigMap>(&wanted, &json!({ "data": data })).await
            }
            Some(_) => return Ok(Next::Done),
        };
        match written {
            Ok(written) => cx.wrote_into(cx.named(NAME), &written),
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Next::Done)
    }
}

impl RootCaController {
    fn data(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(KEY.to_owned(), self.certificate.clone())])
    }

    fn config_map(&self, key: ObjectKey) -> ConfigMap {
        let annotations = BTreeMap::from([("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned())]);
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(key.name),
                namespace: Some(key.namespace),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data: Some(self.data()),
            ..ConfigMap::default()
        }
    }
}
