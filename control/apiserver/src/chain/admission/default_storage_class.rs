//! DefaultStorageClass: a claim that names no storage class gets the default one.
//!
//! A claim that names the empty class wants none.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::default_class::{Classes, name_default};
use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "DefaultStorageClass", admit: Admit::Reading(admit) };

const CLASSES: Classes = Classes {
    of: ("", "PersistentVolumeClaim"),
    field: "spec.storageClassName",
    annotation: "volume.beta.kubernetes.io/storage-class",
    resource: ("storage.k8s.io", "storageclasses"),
    marks: &[
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ],
};

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    name_default(attempt, &CLASSES).boxed()
}
