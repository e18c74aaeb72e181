//! Starts one container: images, configuration, create, start, postStart.
//!
//! What can go wrong for a reason of its own (image, configuration, creation) is noted and waited out by the
//! plan; only a runtime that does not answer ends the pass.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use proto::cri::LinuxContainerResources;
use thiserror::Error;

use super::Worker;
use super::images::Wanted;
use super::post_start::Run;
use crate::pods::begun::Begun;
use crate::pods::configuration::{self, Surroundings};
use crate::pods::containers;
use crate::pods::environment::environment;
use crate::pods::memory::{Failure, restart_key};
use crate::pods::plan::Waiting;
use crate::pods::{About, Order};
use crate::runtime::{ImageInfo, NewContainer, PodRuntime, RuntimeError};
use crate::volumes;

/// A container that could not be made is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// What an agent before this one has begun to start is looked at again after this.
const UNDER_WAY: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub(super) enum StartError {
    #[error("Failed to create pod sandbox: {0}")]
    Sandbox(RuntimeError),
    #[error(transparent)]
    Runtime(RuntimeError),
    #[error("cannot write the pod's files")]
    Files(#[source] std::io::Error),
}

/// What the runtime says to a start.
enum Answer {
    Started,
    Refused(String),
    /// An agent before this one has begun it, and the runtime is not done with that.
    UnderWay,
}

/// A container that must wait, and why.
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    fn config(error: impl std::fmt::Display) -> Self {
        Self { reason: "CreateContainerConfigError", message: error.to_string() }
    }
}

impl Worker {
    pub(super) async fn start_container(
        &mut self,
        pod: &Arc<Pod>,
        order: &Order,
        runtime: &PodRuntime,
        name: &str,
        attempt: u32,
    ) -> Result<(), StartError> {
        let Some(spec) = &containers::named(pod, name) else { return Ok(()) };
        let Some(sandbox) = runtime.sandbox().filter(|sandbox| sandbox.ready) else { return Ok(()) };
        self.note_restart(spec, runtime);
        let wanted = Wanted::of(spec);
        let Some(image) = self.ensure_image(pod, order, spec, &wanted).await? else { return Ok(()) };
        if !self.ensure_image_volumes(pod, order, spec).await? {
            return Ok(());
        }
        let config = match self.container_config(pod, order, runtime, spec, attempt, &image).await {
            Ok(config) => config,
            Err(refusal) => {
                self.refuse(pod, spec, refusal).await;
                return Ok(());
            }
        };
        let new = NewContainer {
            sandbox_id: sandbox.id.clone(),
            config,
            sandbox: self.sandbox_config(pod, sandbox.attempt),
        };
        let created = self.node.runtime.create_container(new).await;
        let id = match created {
            Ok(id) => id,
            Err(RuntimeError::Refused { message }) => {
                self.refuse(pod, spec, Refusal { reason: "CreateContainerError", message }).await;
                return Ok(());
            }
            Err(error) => return Err(StartError::Runtime(error)),
        };
        self.memory.failures.remove(name);
        if let Some(host) = &self.node.host {
            // Of a run that this one replaces.
            host.settle(self.run_of(name, attempt), Begun::Start).map_err(StartError::Files)?;
        }
        self.owe_post_start(spec, attempt).map_err(StartError::Files)?;
        let about = About::container(pod, name);
        self.node.normal(pod, about, "Created", format!("Created container: {name}")).await;
        self.begin(pod, runtime, spec, &Run { id: &id, attempt }).await
    }

    /// Starts what an agent before this one has created. If it has also begun to start it, this is refused, and the
    /// next look shows it running.
    pub(super) async fn start_created(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &PodRuntime,
        name: &str,
        run: &Run<'_>,
    ) -> Result<(), StartError> {
        let Some(spec) = &containers::named(pod, name) else { return Ok(()) };
        self.owe_post_start(spec, run.attempt).map_err(StartError::Files)?;
        self.begin(pod, runtime, spec, run).await
    }

    async fn begin(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &PodRuntime,
        spec: &ContainerSpec,
        run: &Run<'_>,
    ) -> Result<(), StartError> {
        let about = About::container(pod, &spec.name);
        match self.start_noted(spec, run).await? {
            Answer::Started => {}
            Answer::UnderWay => {
                tokio::time::sleep(UNDER_WAY).await;
                return Ok(());
            }
            Answer::Refused(message) => {
                // The runtime keeps it as exited with code 128, so the restart policy takes it from here.
                metrics::counter!(crate::metrics::STARTED_CONTAINERS_ERRORS).increment(1);
                self.node.warning(pod, about, "Failed", format!("Error: {message}")).await;
                return Ok(());
            }
        }
        metrics::counter!(crate::metrics::STARTED_CONTAINERS).increment(1);
        self.node.normal(pod, about, "Started", format!("Started container {}", spec.name)).await;
        self.post_start(pod, runtime, spec, run).await
    }

    /// Until the runtime has answered, the next agent must not take what it sees of this run for its end.
    async fn start_noted(&self, spec: &ContainerSpec, run: &Run<'_>) -> Result<Answer, StartError> {
        let this = self.run_of(&spec.name, run.attempt);
        let host = self.node.host.as_ref();
        let before = host.is_some_and(|host| host.is_noted(this, Begun::Start));
        if let Some(host) = host {
            host.note(this, Begun::Start).map_err(StartError::Files)?;
        }
        let answer = match self.node.runtime.start_container(run.id).await {
            Ok(()) => Answer::Started,
            Err(RuntimeError::Refused { .. }) if before => return Ok(Answer::UnderWay),
            Err(RuntimeError::Refused { message }) => Answer::Refused(message),
            Err(error) => return Err(StartError::Runtime(error)),
        };
        if let Some(host) = host {
            host.settle(this, Begun::Start).map_err(StartError::Files)?;
        }
        Ok(answer)
    }

    fn note_restart(&mut self, spec: &ContainerSpec, runtime: &PodRuntime) {
        if let Some(exit) = runtime.newest(&spec.name).and_then(crate::runtime::Container::exit) {
            let now = self.node.clock.now();
            self.memory.restarts.advance(&restart_key(spec), exit.finished_at, now);
        }
    }

    pub(super) async fn refuse(&mut self, pod: &Pod, spec: &ContainerSpec, refusal: Refusal) {
        metrics::counter!(crate::metrics::STARTED_CONTAINERS_ERRORS).increment(1);
        let about = About::container(pod, &spec.name);
        self.node.warning(pod, about, "Failed", format!("Error: {}", refusal.message)).await;
        let retry_at = self.node.clock.now() + RETRY;
        let waiting = Waiting { reason: refusal.reason.to_owned(), message: refusal.message };
        self.memory.failures.insert(spec.name.clone(), Failure { waiting, retry_at });
    }

    pub(super) fn sandbox_config(&self, pod: &Pod, attempt: u32) -> proto::cri::PodSandboxConfig {
        let node = match &self.node.host {
            Some(host) => host.sandbox_files(pod, &self.key, &self.uid),
            None => configuration::NodeFiles::default(),
        };
        configuration::sandbox(pod, attempt, node)
    }

    async fn container_config(
        &self,
        pod: &Pod,
        order: &Order,
        runtime: &PodRuntime,
        spec: &ContainerSpec,
        attempt: u32,
        image: &ImageInfo,
    ) -> Result<proto::cri::ContainerConfig, Refusal> {
        configuration::check_non_root(pod, spec, image).map_err(Refusal::config)?;
        let ip = self.pod_ip(pod, runtime);
        let tokens = self.tokens(pod).await;
        let sources = self.sources(pod, order, &ip, &tokens);
        let environment = environment(spec, &sources).map_err(Refusal::config)?;
        let mut mounts = Vec::new();
        let mut devices = Vec::new();
        let mut data_dir = PathBuf::new();
        let mut resources = LinuxContainerResources::default();
        if let Some(host) = &self.node.host {
            let prepared = host.prepare_volumes(&self.uid, &sources).await.map_err(Refusal::config)?;
            let pod_dir = host.paths.pod_dir(&self.uid);
            devices = volumes::devices(spec, &prepared).map_err(Refusal::config)?;
            mounts = volumes::mounts(&pod_dir, spec, &prepared, &environment).map_err(Refusal::config)?;
            mounts.extend(host.own_mounts(pod, spec, &ip, attempt).map_err(Refusal::config)?);
            data_dir = host.paths.data_dir().to_owned();
            resources = crate::cgroups::container_resources(pod, spec, host.memory_bytes);
        }
        let target = match containers::target(pod, &spec.name) {
            Some(name) => {
                let run = runtime.newest(name).filter(|run| run.is_running());
                let run =
                    run.ok_or_else(|| Refusal::config(format!("unable to find target container {name}")));
                Some(run?.id.clone())
            }
            None => None,
        };
        let around = Surroundings { environment, mounts, devices, data_dir, resources, attempt, target };
        Ok(configuration::container(pod, spec, around))
    }
}
