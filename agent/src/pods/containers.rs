//! The containers that a pod's specification names: main ones, init containers, ephemeral ones.

use k8s_openapi::api::core::v1::{Container as ContainerSpec, EphemeralContainer, Pod};

/// Main and init containers.
pub(crate) fn lasting(pod: &Pod) -> impl Iterator<Item = &ContainerSpec> {
    pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
}

/// Ephemeral containers, as containers: they have some of the same fields.
pub(crate) fn ephemeral(pod: &Pod) -> Vec<ContainerSpec> {
    let as_container = |container: &EphemeralContainer| {
        serde_json::to_value(container).and_then(serde_json::from_value::<ContainerSpec>).ok()
    };
    ephemeral_specs(pod).filter_map(as_container).collect()
}

/// The container of this name, whatever it is.
pub(crate) fn named(pod: &Pod, name: &str) -> Option<ContainerSpec> {
    let lasting = lasting(pod).find(|container| container.name == name).cloned();
    lasting.or_else(|| ephemeral(pod).into_iter().find(|container| container.name == name))
}

/// A volume that is an image.
pub(crate) struct VolumeImage<'a> {
    pub(crate) name: &'a str,
    pub(crate) reference: &'a str,
    pub(crate) pull_policy: Option<&'a str>,
}

/// Those that the container mounts.
pub(crate) fn image_volumes<'a>(
    pod: &'a Pod,
    spec: &'a ContainerSpec,
) -> impl Iterator<Item = VolumeImage<'a>> {
    let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let is_mounted = |name: &str| spec.volume_mounts.iter().flatten().any(|mount| mount.name == name);
    all.filter(move |volume| is_mounted(&volume.name)).filter_map(|volume| {
        let image = volume.image.as_ref()?;
        let (reference, pull_policy) = (image.reference.as_deref()?, image.pull_policy.as_deref());
        Some(VolumeImage { name: &volume.name, reference, pull_policy })
    })
}

/// Whose processes the ephemeral container of this name is to see.
pub(crate) fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let container = ephemeral_specs(pod).find(|container| container.name == name)?;
    container.target_container_name.as_deref().filter(|target| !target.is_empty())
}

fn ephemeral_specs(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}
