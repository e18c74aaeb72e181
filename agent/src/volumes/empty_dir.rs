//! emptyDir: a folder of the pod, on the node's disk or in memory.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use thiserror::Error;

use super::ownership::Ownership;
use super::{make_dir, mounting};
use crate::cgroups::{pod_limits, resource_amount};
use crate::pods::Sources;

#[derive(Debug, Error)]
pub(crate) enum EmptyDirError {
    #[error("unknown storage medium {0:?}")]
    Medium(String),
    #[error("{0}")]
    Files(#[from] io::Error),
}

pub(super) fn prepare(
    dir: &Path,
    source: &EmptyDirVolumeSource,
    sources: &Sources<'_>,
) -> Result<(), EmptyDirError> {
    let in_memory = match source.medium.as_deref().unwrap_or_default() {
        "" => false,
        "Memory" => true,
        other => return Err(EmptyDirError::Medium(other.to_owned())),
    };
    if dir.exists() && (!in_memory || mounting::is_mounted(dir)) {
        return Ok(());
    }
    make_dir(dir, 0o777)?;
    if in_memory {
        mounting::tmpfs(dir, memory_bytes(source, sources))?;
    }
    // mkdir obeys the umask.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
    if let Some(ownership) = Ownership::of(sources.pod) {
        ownership.take(dir)?;
    }
    Ok(())
}

/// The least of what the volume, its pod and the node allow.
fn memory_bytes(source: &EmptyDirVolumeSource, sources: &Sources<'_>) -> Option<i128> {
    let bytes = |text: &str| resource_amount(text).map(|thousandths| thousandths / 1000);
    let of_node = sources.allocatable.get("memory").and_then(|quantity| bytes(&quantity.0));
    let of_pod = pod_limits(sources.pod).memory_bytes.map(i128::from);
    let own = source.size_limit.as_ref().and_then(|limit| bytes(&limit.0));
    [of_node, of_pod, own].into_iter().flatten().filter(|bytes| *bytes > 0).min()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::json;

    use super::*;
    use crate::desired::Desired;
    use crate::tokens::PodTokens;

    #[test]
    fn the_least_of_three_limits_counts() {
        let desired = Desired::default();
        for (size_limit, limit, bytes) in
            [(None, None, 4 << 30), (Some("1Gi"), None, 1 << 30), (Some("1Gi"), Some("64Mi"), 64 << 20)]
        {
            let resources = limit.map(|limit| json!({"limits": {"memory": limit}}));
            let pod: Pod = serde_json::from_value(json!({
                "spec": {"containers": [{"name": "c", "resources": resources}]},
            }))
            .unwrap();
            let sources = Sources {
                pod: &pod,
                desired: &desired,
                node_name: "n",
                node_ip: "",
                pod_ip: "",
                allocatable: &[("memory".to_owned(), Quantity("4Gi".to_owned()))].into(),
                tokens: &PodTokens::new(),
            };
            let source = EmptyDirVolumeSource {
                size_limit: size_limit.map(|limit| Quantity(limit.to_owned())),
                medium: Some("Memory".to_owned()),
            };
            assert_eq!(memory_bytes(&source, &sources), Some(bytes), "{size_limit:?} {limit:?}");
        }
    }
}
