//! Sees to it that each namespace has the ServiceAccount `default`, under which its pods run.

use client::{HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};

const DEFAULT: &str = "default";

pub(crate) struct ServiceAccountController;

impl Controller for ServiceAccountController {
    type Kind = Namespace;
    const NAME: &'static str = "service-account-controller";

    fn new(_: &Shared) -> Self {
        Self
    }

    fn watches() -> Watches {
        Watches::of::<Namespace>().maps::<ServiceAccount>(|_, change| {
            let gone = change.old.as_ref().filter(|_| change.new.is_none());
            gone.map(|account| ObjectKey::cluster(account.namespace())).into_iter().collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(namespace) = cx.cache::<Namespace>().get(key) else { return Ok(Next::Done) };
        let wanted = ObjectKey::namespaced(&key.name, DEFAULT);
        if namespace.is_terminating() || cx.cache::<ServiceAccount>().get(&wanted).is_some() {
            return Ok(Next::Done);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(wanted.name),
                namespace: Some(wanted.namespace),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match cx.client.create(&account).await {
            Ok(created) => cx.wrote(&created),
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Next::Done)
    }
}
