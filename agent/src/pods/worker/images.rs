//! Has the images that a container needs on the node: its own, and those that it mounts.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, Secret};
use proto::cri::AuthConfig;

use super::Worker;
use super::start::{Refusal, StartError};
use crate::desired::ObjectKey;
use crate::images::credentials::credentials;
use crate::images::policy::{Pull, decide, is_valid_name};
use crate::pods::containers;
use crate::pods::memory::ImageProblem;
use crate::pods::plan::Waiting;
use crate::pods::{About, Order};
use crate::runtime::{ImageInfo, RuntimeError};
use crate::volumes;

/// An image, and when to pull it.
pub(super) struct Wanted<'a> {
    name: &'a str,
    policy: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// The container's own.
    pub(super) fn of(spec: &'a ContainerSpec) -> Self {
        Self { name: spec.image.as_deref().unwrap_or_default(), policy: spec.image_pull_policy.as_deref() }
    }
}

impl Worker {
    /// The volumes that are images and that the container mounts, present; false when one is not to be had now, which
    /// is noted.
    pub(super) async fn ensure_image_volumes(
        &mut self,
        pod: &Arc<Pod>,
        order: &Order,
        spec: &ContainerSpec,
    ) -> Result<bool, StartError> {
        for volume in containers::image_volumes(pod, spec) {
            let wanted = Wanted { name: volume.reference, policy: volume.pull_policy };
            if let Some(why) = self.node.runtime.refuses_image_volumes() {
                let message = format!("volume {:?} is an image: {why}", volume.name);
                self.refuse(pod, spec, Refusal { reason: "CreateContainerError", message }).await;
                return Ok(false);
            }
            if self.ensure_image(pod, order, spec, &wanted).await?.is_none() {
                return Ok(false);
            }
            let Some(host) = &self.node.host else { continue };
            let target = volumes::image_folder(&host.paths.pod_dir(&self.uid), volume.name);
            match self.node.runtime.mount_image(wanted.name, &target).await {
                Ok(()) => {}
                Err(RuntimeError::Refused { message }) => {
                    let message = format!("cannot mount image volume {:?}: {message}", volume.name);
                    self.refuse(pod, spec, Refusal { reason: "CreateContainerError", message }).await;
                    return Ok(false);
                }
                Err(error) => return Err(StartError::Runtime(error)),
            }
        }
        Ok(true)
    }

    /// The image, present; `None` when it is not to be had now, which is noted.
    pub(super) async fn ensure_image(
        &mut self,
        pod: &Arc<Pod>,
        order: &Order,
        spec: &ContainerSpec,
        wanted: &Wanted<'_>,
    ) -> Result<Option<ImageInfo>, StartError> {
        let name = wanted.name.to_owned();
        let about = About::container(pod, &spec.name);
        if !is_valid_name(&name) {
            let message = format!(
                "Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": invalid reference format"
            );
            self.node.warning(pod, about, "InspectFailed", message.clone()).await;
            self.image_problem(pod, spec, &name, "InvalidImageName", message).await;
            return Ok(None);
        }
        let present = self.node.runtime.image(&name).await.map_err(StartError::Runtime)?;
        match (decide(wanted.policy, &name, present.is_some()), present) {
            (Pull::Present, Some(image)) => {
                self.memory.images.remove(&spec.name);
                let message = format!("Container image \"{name}\" already present on machine");
                self.node.normal(pod, about, "Pulled", message).await;
                Ok(Some(image))
            }
            (Pull::Forbidden, _) => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                self.node.warning(pod, about, "ErrImageNeverPull", message.clone()).await;
                self.image_problem(pod, spec, &name, "ErrImageNeverPull", message).await;
                Ok(None)
            }
            (Pull::Present | Pull::Needed, _) => self.pull(pod, order, spec, &name).await,
        }
    }

    async fn pull(
        &mut self,
        pod: &Arc<Pod>,
        order: &Order,
        spec: &ContainerSpec,
        name: &str,
    ) -> Result<Option<ImageInfo>, StartError> {
        let about = About::container(pod, &spec.name);
        self.node.normal(pod, about, "Pulling", format!("Pulling image \"{name}\"")).await;
        let secrets = pull_secrets(pod, order);
        if !secrets.missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                secrets.missing.join(", ")
            );
            self.node.warning(pod, About::Pod, "FailedToRetrieveImagePullSecret", message).await;
        }
        let begin = tokio::time::Instant::now();
        let pulled = self.pull_with(name, credentials(secrets.found, name)).await;
        match pulled {
            Ok(()) => {
                let image = self.node.runtime.image(name).await.map_err(StartError::Runtime)?;
                let took = begin.elapsed().as_millis();
                let size = image.as_ref().map_or(0, |image| image.size);
                let message = format!(
                    "Successfully pulled image \"{name}\" in {took}ms ({took}ms including waiting). Image size: {size} bytes."
                );
                self.node.normal(pod, about, "Pulled", message).await;
                self.memory.pulls.forget(name);
                self.memory.images.remove(&spec.name);
                Ok(image)
            }
            Err(error) => {
                let message = match &error {
                    RuntimeError::Refused { message } | RuntimeError::Unreachable { message } => {
                        message.clone()
                    }
                    RuntimeError::ExecTimeout(_) => error.to_string(),
                };
                let event = format!("Failed to pull image \"{name}\": {message}");
                self.node.warning(pod, about, "Failed", event).await;
                self.image_problem(pod, spec, name, "ErrImagePull", message).await;
                Ok(None)
            }
        }
    }

    /// With the first credentials that the registry takes; without any, if there are none.
    async fn pull_with(&self, name: &str, credentials: Vec<AuthConfig>) -> Result<(), RuntimeError> {
        let Some((last, others)) = credentials.split_last() else {
            return self.node.runtime.pull(name, None).await;
        };
        for credential in others {
            if self.node.runtime.pull(name, Some(credential.clone())).await.is_ok() {
                return Ok(());
            }
        }
        self.node.runtime.pull(name, Some(last.clone())).await
    }

    async fn image_problem(
        &mut self,
        pod: &Pod,
        spec: &ContainerSpec,
        image: &str,
        reason: &str,
        message: String,
    ) {
        let (image, now) = (image.to_owned(), self.node.clock.now());
        self.memory.pulls.advance(&image, now, now);
        let waiting = Waiting { reason: reason.to_owned(), message };
        self.memory.images.insert(spec.name.clone(), ImageProblem { image, at: now, waiting });
        let about = About::container(pod, &spec.name);
        self.node.warning(pod, about, "Failed", format!("Error: {reason}")).await;
    }
}

/// The pod's imagePullSecrets.
#[derive(Default)]
struct PullSecrets<'a> {
    found: Vec<&'a Secret>,
    missing: Vec<&'a str>,
}

fn pull_secrets<'a>(pod: &'a Pod, order: &'a Order) -> PullSecrets<'a> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut secrets = PullSecrets::default();
    for reference in pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
        match order.desired.secrets.get(&ObjectKey::new(namespace, &reference.name)) {
            Some(secret) => secrets.found.push(secret),
            None => secrets.missing.push(&reference.name),
        }
    }
    secrets
}
