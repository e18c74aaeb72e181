//! The downward API: fields of the pod and resources of a container, as text. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use thiserror::Error;

use super::environment::Sources;
use crate::cgroups::resource_amount;

#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum FieldPathError {
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// What the node can give to pods, by resource: what a container without a limit may use.
pub(crate) type Allocatable = BTreeMap<String, Quantity>;

/// `fieldRef` of an environment variable or a downward API volume.
pub(crate) fn pod_field(path: &str, sources: &Sources<'_>) -> Result<String, FieldPathError> {
    let pod = sources.pod;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(pod.metadata.name.as_ref()),
        "metadata.namespace" => text(pod.metadata.namespace.as_ref()),
        "metadata.uid" => text(pod.metadata.uid.as_ref()),
        "metadata.labels" => listed(pod.metadata.labels.as_ref()),
        "metadata.annotations" => listed(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => sources.node_name.to_owned(),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => sources.node_ip.to_owned(),
        "status.podIP" | "status.podIPs" => sources.pod_ip.to_owned(),
        _ => {
            let entry = |map: Option<&BTreeMap<String, String>>, key: &str| {
                map.and_then(|map| map.get(key)).cloned().unwrap_or_default()
            };
            if let Some(key) = quoted(path, "metadata.labels") {
                entry(pod.metadata.labels.as_ref(), key)
            } else if let Some(key) = quoted(path, "metadata.annotations") {
                entry(pod.metadata.annotations.as_ref(), key)
            } else {
                return Err(FieldPathError::Field(path.to_owned()));
            }
        }
    })
}

/// `resourceFieldRef`: an amount divided by `divisor`, rounded up. Without a limit it is the node's.
pub(crate) fn resource_field(
    selector: &ResourceFieldSelector,
    spec: &ContainerSpec,
    allocatable: &Allocatable,
) -> Result<String, FieldPathError> {
    let resource = &selector.resource;
    let unsupported = || FieldPathError::Resource(resource.clone());
    let (side, name) = resource.split_once('.').ok_or_else(unsupported)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let resources = spec.resources.as_ref();
    let quantity = match side {
        "limits" => {
            let own = resources.and_then(|resources| resources.limits.as_ref()?.get(name));
            own.or_else(|| allocatable.get(name))
        }
        "requests" => resources.and_then(|resources| resources.requests.as_ref()?.get(name)),
        _ => return Err(unsupported()),
    };
    let amount = quantity.and_then(|quantity| resource_amount(&quantity.0)).unwrap_or(0);
    let divisor = selector.divisor.as_ref().and_then(|divisor| resource_amount(&divisor.0));
    let divisor = divisor.filter(|divisor| *divisor > 0).unwrap_or(1000);
    Ok(((amount + divisor - 1) / divisor).to_string())
}

/// The key in `map['key']`.
fn quoted<'a>(path: &'a str, map: &str) -> Option<&'a str> {
    path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")
}

/// One `key="value"` a line, sorted, as the kubelet writes maps.
fn listed(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}
