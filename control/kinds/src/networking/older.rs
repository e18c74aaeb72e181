//! Ingress and IngressClass in v1beta1, for clients from before 1.19.

use serde_json::Value;

use super::GROUP;
use super::ingress::INGRESS;
use super::ingress_class::INGRESS_CLASS;
use crate::conversion::relocate;
use crate::{Conversion, Kind, Subresource, tree};

pub static INGRESS_CLASS_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.networking.v1beta1.IngressClass",
    conversion: Some(&Conversion::same(&INGRESS_CLASS)),
    ..INGRESS_CLASS
};

pub static INGRESS_V1BETA1: Kind = Kind {
    version: "v1beta1",
    definition: "io.k8s.api.networking.v1beta1.Ingress",
    subresources: &[Subresource::status(GROUP, "Ingress").at("v1beta1")],
    conversion: Some(&Conversion {
        moves: &[("spec.backend", "spec.defaultBackend")],
        to_stored: |object| {
            each_path(object, |path| tree::set_default_text(path, "pathType", "ImplementationSpecific"));
            each_backend(object, backend_to_stored);
        },
        from_stored: |object| each_backend(object, backend_from_stored),
        ..Conversion::same(&INGRESS)
    }),
    ..INGRESS
};

fn each_path(object: &mut Value, mut change: impl FnMut(&mut Value)) {
    for rule in tree::items_mut(object, "spec.rules") {
        tree::items_mut(rule, "http.paths").for_each(&mut change);
    }
}

fn each_backend(object: &mut Value, change: fn(&mut Value)) {
    tree::get_mut(object, "spec.defaultBackend").into_iter().for_each(change);
    each_path(object, |path| tree::get_mut(path, "backend").into_iter().for_each(change));
}

fn backend_to_stored(backend: &mut Value) {
    relocate(backend, "serviceName", "service.name");
    match tree::remove(backend, "servicePort") {
        Some(Value::Number(number)) => tree::set(backend, "service.port.number", number),
        Some(Value::String(name)) => tree::set(backend, "service.port.name", name),
        _ => {}
    }
}

fn backend_from_stored(backend: &mut Value) {
    relocate(backend, "service.name", "serviceName");
    relocate(backend, "service.port.number", "servicePort");
    relocate(backend, "service.port.name", "servicePort");
    tree::remove(backend, "service");
}
