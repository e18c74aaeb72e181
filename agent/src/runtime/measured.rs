//! A container runtime whose calls are counted, timed and told: the kubelet's metrics of runtime operations by their
//! names there, and a line of the log when something that changes the node begins and ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proto::cri::{AuthConfig, LinuxContainerResources, PodSandboxConfig};
use tokio::time::Instant;
use tracing::debug;

use super::{
    ContainerUsage, ExecOutcome, ImageInfo, NamedImage, NewContainer, PodRuntime, Runtime, RuntimeError,
    Session, Streams, Which,
};
use crate::metrics::{RUNTIME_OPERATIONS, RUNTIME_OPERATIONS_DURATION, RUNTIME_OPERATIONS_ERRORS};

pub(crate) struct Measured {
    runtime: Arc<dyn Runtime>,
}

impl Measured {
    pub(crate) fn over(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime }
    }
}

type Done<T> = Result<T, RuntimeError>;

/// What is broken off is not counted, as nobody knows how it went.
async fn measured<T>(operation: &'static str, call: impl Future<Output = Done<T>>) -> Done<T> {
    let began = Instant::now();
    let done = call.await;
    metrics::counter!(RUNTIME_OPERATIONS, "operation_type" => operation).increment(1);
    metrics::histogram!(RUNTIME_OPERATIONS_DURATION, "operation_type" => operation).record(began.elapsed());
    if done.is_err() {
        metrics::counter!(RUNTIME_OPERATIONS_ERRORS, "operation_type" => operation).increment(1);
    }
    done
}

async fn told<T>(operation: &'static str, of: &str, call: impl Future<Output = Done<T>>) -> Done<T> {
    debug!(operation, of, "a runtime operation begins");
    let done = measured(operation, call).await;
    debug!(operation, of, failed = done.is_err(), "a runtime operation has ended");
    done
}

#[async_trait]
impl Runtime for Measured {
    fn name(&self) -> &'static str {
        self.runtime.name()
    }

    async fn observe(&self, which: Which<'_>) -> Done<BTreeMap<String, PodRuntime>> {
        measured("list_podsandbox", self.runtime.observe(which)).await
    }

    async fn run_sandbox(&self, config: PodSandboxConfig) -> Done<String> {
        let pod = config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        told("run_podsandbox", &pod, self.runtime.run_sandbox(config)).await
    }

    async fn stop_sandbox(&self, id: &str) -> Done<()> {
        told("stop_podsandbox", id, self.runtime.stop_sandbox(id)).await
    }

    async fn remove_sandbox(&self, id: &str) -> Done<()> {
        told("remove_podsandbox", id, self.runtime.remove_sandbox(id)).await
    }

    async fn create_container(&self, request: NewContainer) -> Done<String> {
        let container = request.config.metadata.as_ref().map(|metadata| metadata.name.clone());
        told("create_container", &container.unwrap_or_default(), self.runtime.create_container(request)).await
    }

    async fn start_container(&self, id: &str) -> Done<()> {
        told("start_container", id, self.runtime.start_container(id)).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Done<()> {
        told("stop_container", id, self.runtime.stop_container(id, grace)).await
    }

    async fn remove_container(&self, id: &str) -> Done<()> {
        told("remove_container", id, self.runtime.remove_container(id)).await
    }

    async fn exec(&self, id: &str, command: &[String], timeout: Duration) -> Done<ExecOutcome> {
        told("exec_sync", id, self.runtime.exec(id, command, timeout)).await
    }

    async fn reopen_log(&self, id: &str) -> Done<()> {
        told("reopen_container_log", id, self.runtime.reopen_log(id)).await
    }

    async fn open_exec(&self, id: &str, command: &[String], streams: Streams) -> Done<Session> {
        told("exec", id, self.runtime.open_exec(id, command, streams)).await
    }

    async fn open_attach(&self, id: &str, streams: Streams) -> Done<Session> {
        told("attach", id, self.runtime.open_attach(id, streams)).await
    }

    async fn network_namespace(&self, sandbox_id: &str) -> Done<Option<PathBuf>> {
        measured("podsandbox_status", self.runtime.network_namespace(sandbox_id)).await
    }

    async fn image(&self, name: &str) -> Done<Option<ImageInfo>> {
        measured("image_status", self.runtime.image(name)).await
    }

    async fn images(&self) -> Done<Vec<NamedImage>> {
        measured("list_images", self.runtime.images()).await
    }

    async fn pull(&self, name: &str, auth: Option<AuthConfig>) -> Done<()> {
        told("pull_image", name, self.runtime.pull(name, auth)).await
    }

    async fn remove_image(&self, id: &str) -> Done<()> {
        told("remove_image", id, self.runtime.remove_image(id)).await
    }

    fn refuses_image_volumes(&self) -> Option<String> {
        self.runtime.refuses_image_volumes()
    }

    async fn mount_image(&self, name: &str, target: &Path) -> Done<()> {
        told("mount_image", name, self.runtime.mount_image(name, target)).await
    }

    async fn usage(&self) -> Done<BTreeMap<String, ContainerUsage>> {
        measured("list_container_stats", self.runtime.usage()).await
    }

    async fn update_resources(&self, id: &str, resources: LinuxContainerResources) -> Done<()> {
        told("update_container", id, self.runtime.update_resources(id, resources)).await
    }
}
