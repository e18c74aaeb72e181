//! The pods of the API that show what nodes run from files. Pure.

use k8s_openapi::api::core::v1::Pod;

/// The annotation that says where a pod comes from.
pub(crate) const SOURCE: &str = "kubernetes.io/config.source";
pub(super) const HASH: &str = "kubernetes.io/config.hash";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is to be made in the API of a static pod.
pub(super) fn of(pod: &Pod) -> Pod {
    let mut mirror = pod.clone();
    let hash = hash(pod).to_owned();
    mirror.metadata.uid = None;
    mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.to_owned(), hash);
    mirror
}

pub(super) fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// True for the mirror of this very pod.
pub(super) fn shows(mirror: &Pod, pod: &Pod) -> bool {
    annotation(mirror, MIRROR) == Some(hash(pod)) && mirror.metadata.deletion_timestamp.is_none()
}

/// Of a static pod or a mirror: what its file was.
pub(super) fn hash(pod: &Pod) -> &str {
    annotation(pod, MIRROR).or_else(|| annotation(pod, HASH)).unwrap_or_default()
}

pub(super) fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
