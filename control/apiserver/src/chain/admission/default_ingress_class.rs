//! DefaultIngressClass: an ingress that names no class gets the default one.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::default_class::{Classes, name_default};
use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "DefaultIngressClass", admit: Admit::Reading(admit) };

const CLASSES: Classes = Classes {
    of: ("networking.k8s.io", "Ingress"),
    field: "spec.ingressClassName",
    annotation: "kubernetes.io/ingress.class",
    resource: ("networking.k8s.io", "ingressclasses"),
    marks: &["ingressclass.kubernetes.io/is-default-class"],
};

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    name_default(attempt, &CLASSES).boxed()
}
