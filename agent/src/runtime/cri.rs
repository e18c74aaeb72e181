//! The runtime behind a CRI socket: containerd 1.6 or newer.
//!
//! Lists are cheap and carry no times or exit codes, so details are asked for once per container and state
//! and kept: an exited container never changes again.

mod convert;
mod streaming;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::cri::image_service_client::ImageServiceClient;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{self, AuthConfig, LinuxContainerResources, PodSandboxConfig};
use tonic::transport::{Channel, Endpoint, Uri};

use super::{
    ContainerState, ContainerUsage, ExecOutcome, ImageInfo, LABEL_POD_UID, NamedImage, NewContainer,
    PodRuntime, Runtime, RuntimeError, Session, Streams, Which,
};

/// A pull may take long; everything else that takes longer than this is stuck.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Lists come from memory: a runtime that takes longer hangs.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
const PULL_TIMEOUT: Duration = Duration::from_secs(600);
/// Lists of a full node are larger than tonic's 4 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A client of one CRI socket. Reconnects by itself after the runtime was restarted.
pub struct CriRuntime {
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    /// What was learnt about containers and sandboxes in a state, by id.
    details: Mutex<Details>,
}

#[derive(Default)]
struct Details {
    containers: HashMap<String, (i32, ContainerState)>,
    addresses: HashMap<String, Vec<String>>,
}

impl CriRuntime {
    /// Does not connect yet: the first call does.
    pub fn new(socket: PathBuf) -> Self {
        let channel = Endpoint::from_static("http://containerd.invalid").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
            }),
        );
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            details: Mutex::default(),
            channel,
        }
    }

    /// The runtime's version, once its CRI service is ready to serve.
    ///
    /// # Errors
    /// When nothing answers yet, or the service is still starting.
    pub async fn version(&self) -> Result<String, RuntimeError> {
        let request = cri::VersionRequest { version: String::new() };
        let version = self.runtime.clone().version(request).await.map_err(refused)?.into_inner();
        // The socket answers before the service does: `server is not initialized yet`.
        self.runtime
            .clone()
            .list_pod_sandbox(cri::ListPodSandboxRequest::default())
            .await
            .map_err(refused)?;
        Ok(format!("{}://{}", version.runtime_name, version.runtime_version))
    }

    async fn container_state(&self, container: &cri::Container) -> Result<ContainerState, RuntimeError> {
        if let Some((state, known)) = self.lock().containers.get(&container.id)
            && *state == container.state
        {
            return Ok(known.clone());
        }
        let request = cri::ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
        let answer = self.runtime.clone().container_status(request).await.map_err(refused)?.into_inner();
        let Some(status) = answer.status else { return Ok(ContainerState::Unknown) };
        let state = convert::container_state(&status);
        // One that ended at once, while it was being started, may still be found to have run.
        if !state.is_without_begin() {
            self.lock().containers.insert(container.id.clone(), (status.state, state.clone()));
        }
        Ok(state)
    }

    async fn addresses(&self, sandbox: &cri::PodSandbox) -> Result<Vec<String>, RuntimeError> {
        if sandbox.state() != cri::PodSandboxState::SandboxReady {
            return Ok(Vec::new());
        }
        if let Some(known) = self.lock().addresses.get(&sandbox.id) {
            return Ok(known.clone());
        }
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id.clone(), verbose: false };
        let answer = self.runtime.clone().pod_sandbox_status(request).await.map_err(refused)?.into_inner();
        let ips = convert::addresses(answer.status.and_then(|status| status.network));
        self.lock().addresses.insert(sandbox.id.clone(), ips.clone());
        Ok(ips)
    }

    /// Forgets what is no longer listed.
    fn keep_details(&self, sandboxes: &[cri::PodSandbox], containers: &[cri::Container]) {
        let mut details = self.lock();
        details.addresses.retain(|id, _| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        details.containers.retain(|id, _| containers.iter().any(|container| container.id == *id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for CriRuntime {
    fn name(&self) -> &'static str {
        "containerd"
    }

    async fn observe(&self, which: Which<'_>) -> Result<BTreeMap<String, PodRuntime>, RuntimeError> {
        let selector: HashMap<String, String> = match which {
            Which::All => HashMap::new(),
            Which::Pod(uid) => HashMap::from([(LABEL_POD_UID.to_owned(), uid.to_owned())]),
        };
        let containers = cri::ListContainersRequest {
            filter: Some(cri::ContainerFilter { label_selector: selector.clone(), ..Default::default() }),
        };
        let sandboxes = cri::ListPodSandboxRequest {
            filter: Some(cri::PodSandboxFilter { label_selector: selector, ..Default::default() }),
        };
        // Containers first: one that is listed has its sandbox in the second list, unless both are gone.
        let containers =
            timed(LIST_TIMEOUT, self.runtime.clone().list_containers(containers)).await?.containers;
        let sandboxes = timed(LIST_TIMEOUT, self.runtime.clone().list_pod_sandbox(sandboxes)).await?.items;
        if matches!(which, Which::All) {
            self.keep_details(&sandboxes, &containers);
        }
        let mut pods = BTreeMap::new();
        for sandbox in &sandboxes {
            let ips = match self.addresses(sandbox).await {
                Ok(ips) => ips,
                Err(RuntimeError::Refused { .. }) => continue, // removed since the list was made
                Err(error) => return Err(error),
            };
            convert::add_sandbox(&mut pods, sandbox, ips);
        }
        for container in &containers {
            let state = match self.container_state(container).await {
                Ok(state) => state,
                Err(RuntimeError::Refused { .. }) => continue,
                Err(error) => return Err(error),
            };
            convert::add_container(&mut pods, container, state);
        }
        pods.values_mut().for_each(PodRuntime::sort);
        Ok(pods)
    }

    async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<String, RuntimeError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let answer = timed(CALL_TIMEOUT, self.runtime.clone().run_pod_sandbox(request)).await?;
        Ok(answer.pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(timed(CALL_TIMEOUT, self.runtime.clone().stop_pod_sandbox(request)).await)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(timed(CALL_TIMEOUT, self.runtime.clone().remove_pod_sandbox(request)).await)
    }

    async fn create_container(&self, new: NewContainer) -> Result<String, RuntimeError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: new.sandbox_id,
            config: Some(new.config),
            sandbox_config: Some(new.sandbox),
        };
        let answer = timed(CALL_TIMEOUT, self.runtime.clone().create_container(request)).await?;
        Ok(answer.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        timed(CALL_TIMEOUT, self.runtime.clone().start_container(request)).await.map(drop)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        gone_is_fine(timed(grace + CALL_TIMEOUT, self.runtime.clone().stop_container(request)).await)
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let remove = || {
            let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
            let mut runtime = self.runtime.clone();
            async move { timed(CALL_TIMEOUT, runtime.remove_container(request)).await }
        };
        let answer = remove().await;
        if !answer.as_ref().is_err_and(task::is_in_the_way) {
            return gone_is_fine(answer);
        }
        if let Err(error) = timed(CALL_TIMEOUT, task::delete(self.channel.clone(), id)).await {
            tracing::debug!(container = id, %error, "its task stays");
            return gone_is_fine(answer);
        }
        gone_is_fine(remove().await)
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
        let request =
            cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: seconds };
        match self.runtime.clone().exec_sync(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(ExecOutcome { code: answer.exit_code, stdout: answer.stdout, stderr: answer.stderr })
            }
            Err(status) if status.code() == tonic::Code::DeadlineExceeded => {
                Err(RuntimeError::ExecTimeout(timeout))
            }
            Err(status) => Err(refused(status)),
        }
    }

    async fn open_exec(
        &self,
        id: &str,
        command: &[String],
        streams: Streams,
    ) -> Result<Session, RuntimeError> {
        let request = cri::ExecRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let answer = timed(CALL_TIMEOUT, self.runtime.clone().exec(request)).await?;
        streaming::open(&answer.url, streams).await
    }

    async fn open_attach(&self, id: &str, streams: Streams) -> Result<Session, RuntimeError> {
        let request = cri::AttachRequest {
            container_id: id.to_owned(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let answer = timed(CALL_TIMEOUT, self.runtime.clone().attach(request)).await?;
        streaming::open(&answer.url, streams).await
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        timed(CALL_TIMEOUT, self.runtime.clone().reopen_container_log(request)).await.map(drop)
    }

    async fn network_namespace(&self, sandbox_id: &str) -> Result<Option<PathBuf>, RuntimeError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox_id.to_owned(), verbose: true };
        let answer = timed(CALL_TIMEOUT, self.runtime.clone().pod_sandbox_status(request)).await?;
        let path = answer.info.get("info").and_then(|info| convert::network_namespace(info));
        path.ok_or_else(|| RuntimeError::Refused {
            message: "the runtime does not tell the sandbox's network".to_owned(),
        })
    }

    async fn image(&self, name: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let request = cri::ImageStatusRequest { image: Some(image_spec(name)), verbose: false };
        let answer = timed(CALL_TIMEOUT, self.images.clone().image_status(request)).await?;
        Ok(answer.image.map(convert::image))
    }

    async fn images(&self) -> Result<Vec<NamedImage>, RuntimeError> {
        let answer =
            timed(CALL_TIMEOUT, self.images.clone().list_images(cri::ListImagesRequest { filter: None }))
                .await?;
        let named = answer.images.into_iter().map(|image| NamedImage {
            id: image.id,
            names: image.repo_digests.into_iter().chain(image.repo_tags).collect(),
            size: image.size,
        });
        Ok(named.collect())
    }

    async fn pull(&self, name: &str, auth: Option<AuthConfig>) -> Result<(), RuntimeError> {
        let request = cri::PullImageRequest { image: Some(image_spec(name)), auth, sandbox_config: None };
        timed(PULL_TIMEOUT, self.images.clone().pull_image(request)).await.map(drop)
    }

    fn refuses_image_volumes(&self) -> Option<String> {
        Some(
            "this agent gives containerd no image volumes; start it with --runtime builtin, or have an init \
             container of that image copy its files into an emptyDir"
                .to_owned(),
        )
    }

    async fn mount_image(&self, _: &str, _: &Path) -> Result<(), RuntimeError> {
        let message = self.refuses_image_volumes().unwrap_or_default();
        Err(RuntimeError::Refused { message })
    }

    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::RemoveImageRequest { image: Some(image_spec(id)) };
        gone_is_fine(timed(CALL_TIMEOUT, self.images.clone().remove_image(request)).await)
    }

    async fn usage(&self) -> Result<BTreeMap<String, ContainerUsage>, RuntimeError> {
        let request = cri::ListContainerStatsRequest { filter: None };
        let answer = timed(LIST_TIMEOUT, self.runtime.clone().list_container_stats(request)).await?;
        Ok(answer.stats.into_iter().map(convert::usage).collect())
    }

    async fn update_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result<(), RuntimeError> {
        let request =
            cri::UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(resources) };
        timed(CALL_TIMEOUT, self.runtime.clone().update_container_resources(request)).await.map(drop)
    }
}

fn image_spec(name: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: name.to_owned(), annotations: HashMap::new() }
}

async fn timed<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, RuntimeError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner).map_err(refused),
        Err(_elapsed) => {
            Err(RuntimeError::Unreachable { message: format!("no answer in {} s", limit.as_secs()) })
        }
    }
}

/// The text is what Kubernetes shows to users: `rpc error: code = … desc = …`.
fn refused(status: tonic::Status) -> RuntimeError {
    if status.code() == tonic::Code::Unavailable {
        return RuntimeError::Unreachable { message: status.message().to_owned() };
    }
    RuntimeError::Refused {
        message: format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
    }
}

fn gone_is_fine<T>(answer: Result<T, RuntimeError>) -> Result<(), RuntimeError> {
    match answer {
        Ok(_) => Ok(()),
        Err(RuntimeError::Refused { message }) if message.contains("not found") => Ok(()),
        Err(error) => Err(error),
    }
}
