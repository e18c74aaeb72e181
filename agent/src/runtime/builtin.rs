//! The built-in runtime: containers of our own, for machines with no other runtime.
//!
//! This side makes what must exist before a process does (images, folders, networks, cgroups) and remembers it on
//! disk. A shim per pod starts the processes and outlives the agent; how they fare is read from what it notes.

mod image_mounts;
mod network;
mod records;
mod sandboxes;
mod shim;
mod specification;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{Clock, Entropy};
use bytes::BytesMut;
use proto::cri::{AuthConfig, LinuxContainerResources, PodSandboxConfig};
use thiserror::Error;
use tracing::warn;

use super::{
    ANNOTATION_HASH, ContainerUsage, Ending, ExecOutcome, ImageInfo, LABEL_CONTAINER_NAME, NamedImage,
    NewContainer, Output, PodRuntime, Runtime, RuntimeError, Session, Streams, Which,
};
use crate::causes::in_full;
use crate::cgroups::{Cgroups, ContainerCgroup, DeviceAccess};
use crate::config::Paths;
use crate::container::spec::ContainerSpec;
use crate::images::{ImageStore, StoredImage};
use crate::shim::protocol::{Request, WhenLeft};
use crate::shim::records::ContainerDir;
use network::Plugins;
use records::{ContainerRecord, Places};
use sandboxes::{blocking, remove_tree};
use shim::ShimSocket;
use state::{KnownContainer, State};

/// As a node's status tells it.
pub(crate) const VERSION: &str = concat!("navarch://", env!("CARGO_PKG_VERSION"));

/// What the output of a probe or a hook may come to.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Why the runtime cannot begin.
#[derive(Debug, Error)]
pub enum BuiltinError {
    #[error("cannot open the images")]
    Images(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot read what runs")]
    State(#[source] std::io::Error),
    #[error("opening it panicked")]
    Panicked,
}

pub(crate) struct BuiltinRuntime {
    places: Places,
    plugins: Plugins,
    cgroups: Cgroups,
    images: ImageStore,
    /// What shims are started as.
    program: PathBuf,
    node_name: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

impl BuiltinRuntime {
    /// Takes up what an agent of before has left running. Blocks.
    pub(crate) fn open(
        paths: &Paths,
        cgroups: Cgroups,
        executable: &Path,
        hosts_dirs: Vec<PathBuf>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
    ) -> Result<Self, BuiltinError> {
        let images = ImageStore::open(paths.builtin_dir().join("images"), hosts_dirs);
        let places = Places::new(paths);
        let state = State::load(&places).map_err(BuiltinError::State)?;
        std::fs::create_dir_all(places.run()).map_err(BuiltinError::State)?;
        Ok(Self {
            plugins: Plugins { conf_dir: paths.cni_conf_dir(), bin_dir: paths.cni_bin_dir() },
            cgroups,
            images: images.map_err(|error| BuiltinError::Images(error.into()))?,
            program: executable.to_owned(),
            node_name: nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
            clock,
            entropy,
            state: Mutex::new(state),
            places,
        })
    }

    pub(crate) fn image_store(&self) -> &ImageStore {
        &self.images
    }

    /// As containerd's: 64 hexadecimal digits.
    fn id(&self) -> String {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self, image: &str) -> Result<Arc<StoredImage>, RuntimeError> {
        let found = self.images.image(image);
        found.ok_or_else(|| RuntimeError::Refused { message: format!("image {image:?} not found") })
    }

    /// Its sandbox's shim, and what it is.
    fn find(&self, id: &str) -> Result<(ShimSocket, Arc<ContainerSpec>), RuntimeError> {
        let mut state = self.lock();
        let (sandbox, container) = state.container(id).ok_or_else(|| not_found(id))?;
        let socket = self.places.socket(sandbox);
        Ok((ShimSocket(socket), container.spec.clone()))
    }

    /// Ends what runs without a shim.
    async fn end_lost(&self, which: Which<'_>) {
        let lost = self.lock().lost(which);
        for spec in lost {
            warn!(id = %spec.id, "ending a container whose shim is gone");
            if ContainerCgroup::of(&spec.cgroups).kill().await {
                self.lock().note_lost(&spec.id, self.clock.now());
            }
        }
    }

    fn is_running(&self, id: &str) -> bool {
        self.lock().container(id).is_some_and(|(_, container)| container.is_running())
    }

    fn make_container(&self, request: &NewContainer, image: &StoredImage) -> Result<String, RuntimeError> {
        let id = self.id();
        let (config, sandbox_id) = (&request.config, &request.sandbox_id);
        let sandbox = match self.lock().sandboxes.get(sandbox_id) {
            Some(sandbox) => sandbox.record.clone(),
            None => return Err(RuntimeError::Refused { message: format!("sandbox {sandbox_id} not found") }),
        };
        let linux = config.linux.clone().unwrap_or_default();
        let parent = request.sandbox.linux.clone().unwrap_or_default().cgroup_parent;
        let is_privileged = linux.security_context.is_some_and(|security| security.privileged);
        let dir = ContainerDir::new(&self.places.sandbox(sandbox_id), &id);
        let cgroup = self.cgroups.container(&parent, &id);
        let spec = specification::container(
            config,
            specification::Parts {
                id: &id,
                dir: &dir,
                image,
                sandbox: &request.sandbox,
                cgroups: cgroup.folders().to_vec(),
                etc: ["resolv.conf", "hostname"].map(|name| (name, self.places.etc(sandbox_id, name))).into(),
                shared_memory: &Self::shared_memory_of(&sandbox),
                node_name: &self.node_name,
            },
        )
        .map_err(|message| RuntimeError::Refused { message })?;
        let record = ContainerRecord {
            id: id.clone(),
            name: config.labels.get(LABEL_CONTAINER_NAME).cloned().unwrap_or_default(),
            attempt: config.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            hash: config.annotations.get(ANNOTATION_HASH).cloned().unwrap_or_default(),
            image_id: image.digests.first().unwrap_or(&image.id).clone(),
            created_at: self.clock.now(),
        };
        let devices = if is_privileged { DeviceAccess::All } else { DeviceAccess::Only(&spec.devices) };
        // Whoever finds its files can start it: all else is there before them.
        let made = cgroup
            .make(&linux.resources.unwrap_or_default(), devices)
            .and_then(|()| write_container(&dir, &spec, &record));
        if let Err(error) = made {
            let _left = (cgroup.remove(), remove_tree(dir.path()));
            return Err(refused("cannot make the container", error));
        }
        let mut state = self.lock();
        let Some(sandbox) = state.sandboxes.get_mut(sandbox_id) else { return Err(not_found(&id)) };
        sandbox.containers.insert(id.clone(), KnownContainer::new(record, spec, dir));
        Ok(id)
    }

    /// Removes what is kept of a container that does not run.
    async fn forget_container(&self, id: &str) -> Result<(), RuntimeError> {
        let found = self.lock().container(id).map(|(_, known)| (known.dir.clone(), known.spec.clone()));
        let Some((dir, spec)) = found else { return Ok(()) };
        let removed = blocking(move || {
            if !ContainerCgroup::of(&spec.cgroups).remove() {
                return Err(std::io::Error::other("its cgroup is not empty"));
            }
            remove_tree(dir.path())
        });
        removed.await?.map_err(|error| refused("cannot remove the container", error))?;
        for sandbox in self.lock().sandboxes.values_mut() {
            sandbox.containers.remove(id);
        }
        Ok(())
    }

    async fn run_to_its_end(&self, mut session: Session) -> Result<ExecOutcome, RuntimeError> {
        let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
        let collect = async {
            while let Some(output) = session.output.recv().await {
                match output {
                    Output::Stdout(data) => add(&mut stdout, &data),
                    Output::Stderr(data) => add(&mut stderr, &data),
                    Output::Ended(ending) => return Some(ending),
                }
            }
            None
        };
        let ((), ending) = tokio::join!(session.work, collect);
        let gone = || RuntimeError::Unreachable { message: "the pod's shim hung up".to_owned() };
        match ending.ok_or_else(gone)? {
            Ending::Exited(code) => {
                Ok(ExecOutcome { code, stdout: stdout.freeze(), stderr: stderr.freeze() })
            }
            Ending::Failed(message) => Err(RuntimeError::Refused { message }),
        }
    }

    async fn execute(
        &self,
        id: &str,
        command: &[String],
        (streams, when_left): (Streams, WhenLeft),
    ) -> Result<Session, RuntimeError> {
        let (socket, spec) = self.find(id)?;
        let process = Box::new(specification::executed(&spec.process, command, streams.tty));
        let request = Request::Exec { container: id.to_owned(), process, streams, when_left };
        socket.open(request, streams).await.map_err(|error| match error {
            RuntimeError::Refused { message } => {
                RuntimeError::Refused { message: format!("failed to exec in container: {message}") }
            }
            RuntimeError::Unreachable { .. } | RuntimeError::ExecTimeout(_) => error,
        })
    }
}

#[async_trait]
impl Runtime for BuiltinRuntime {
    fn name(&self) -> &'static str {
        "navarch"
    }

    async fn observe(&self, which: Which<'_>) -> Result<BTreeMap<String, PodRuntime>, RuntimeError> {
        self.end_lost(which).await;
        Ok(self.lock().observe(which))
    }

    async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<String, RuntimeError> {
        self.make_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.take_down(id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.take_down(id).await?;
        self.forget_sandbox(id).await
    }

    async fn create_container(&self, request: NewContainer) -> Result<String, RuntimeError> {
        let image = self.present(&request.config.image.clone().unwrap_or_default().image)?;
        self.make_container(&request, &image)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let (socket, _) = self.find(id)?;
        socket.ask(Request::Start { container: id.to_owned() }).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        if !self.is_running(id) {
            return Ok(());
        }
        let (socket, _) = self.find(id)?;
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match socket.ask(Request::Stop { container: id.to_owned(), grace_ms }).await {
            // It may have ended, with its shim, just now.
            Err(RuntimeError::Unreachable { .. }) if !self.is_running(id) => Ok(()),
            other => other,
        }
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.stop_container(id, Duration::ZERO).await?;
        self.forget_container(id).await
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
        let executed = async {
            let session = self.execute(id, command, (streams, WhenLeft::IsKilled)).await?;
            self.run_to_its_end(session).await
        };
        // Leaving the session ends the command.
        let ended = tokio::time::timeout(timeout, executed).await;
        ended.unwrap_or(Err(RuntimeError::ExecTimeout(timeout)))
    }

    async fn open_exec(
        &self,
        id: &str,
        command: &[String],
        streams: Streams,
    ) -> Result<Session, RuntimeError> {
        self.execute(id, command, (streams, WhenLeft::GoesOn)).await
    }

    async fn open_attach(&self, id: &str, streams: Streams) -> Result<Session, RuntimeError> {
        let (socket, _) = self.find(id)?;
        socket.open(Request::Attach { container: id.to_owned(), streams }, streams).await
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let (socket, _) = self.find(id)?;
        socket.ask(Request::ReopenLog { container: id.to_owned() }).await
    }

    async fn network_namespace(&self, sandbox_id: &str) -> Result<Option<PathBuf>, RuntimeError> {
        let state = self.lock();
        let sandbox = state.sandboxes.get(sandbox_id).ok_or_else(|| not_found(sandbox_id))?;
        Ok(sandbox.record.network.clone())
    }

    async fn image(&self, name: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(self.images.image(name).map(|image| info(&image)))
    }

    async fn images(&self) -> Result<Vec<NamedImage>, RuntimeError> {
        let named = |image: &Arc<StoredImage>| NamedImage {
            id: image.id.clone(),
            names: image.digests.iter().chain(&image.names).cloned().collect(),
            size: image.size,
        };
        Ok(self.images.images().iter().map(named).collect())
    }

    async fn pull(&self, name: &str, auth: Option<AuthConfig>) -> Result<(), RuntimeError> {
        let pulled = self.images.pull(name, auth).await;
        pulled.map(drop).map_err(|error| RuntimeError::Refused { message: in_full(&error) })
    }

    fn refuses_image_volumes(&self) -> Option<String> {
        None
    }

    async fn mount_image(&self, name: &str, target: &Path) -> Result<(), RuntimeError> {
        let image = self.present(name)?;
        let (target, nothing) = (target.to_owned(), self.places.nothing());
        let mounted = blocking(move || image_mounts::mount(&image, &nothing, &target)).await?;
        mounted.map_err(|error| refused("cannot mount the image", error))
    }

    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        if image_mounts::is_mounted(id) {
            return Err(RuntimeError::Refused { message: format!("image {id} is a volume of a pod") });
        }
        let layers = self.images.image(id).map(|image| image.layers.clone()).unwrap_or_default();
        let user = {
            let state = self.lock();
            let mut all = state.sandboxes.values().flat_map(|sandbox| sandbox.containers.values());
            let uses = |known: &&KnownContainer| known.spec.root.layers == layers;
            all.find(uses).map(|known| known.record.id.clone())
        };
        if let Some(user) = user {
            return Err(RuntimeError::Refused { message: format!("image {id} is used by container {user}") });
        }
        let (images, of) = (self.images.clone(), id.to_owned());
        let removed = blocking(move || images.remove(&of)).await?;
        removed.map_err(|error| refused("cannot remove the image", error))
    }

    async fn usage(&self) -> Result<BTreeMap<String, ContainerUsage>, RuntimeError> {
        let running: Vec<Arc<ContainerSpec>> = {
            let mut state = self.lock();
            let all = state.sandboxes.values_mut().flat_map(|sandbox| sandbox.containers.values_mut());
            all.filter_map(|known| known.is_running().then(|| known.spec.clone())).collect()
        };
        blocking(move || running.iter().map(|spec| (spec.id.clone(), usage(spec))).collect()).await
    }

    async fn update_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result<(), RuntimeError> {
        let (_, spec) = self.find(id)?;
        let updated = ContainerCgroup::of(&spec.cgroups).update(&resources);
        updated.map_err(|error| refused("cannot change the container's limits", error))
    }
}

fn write_container(
    dir: &ContainerDir,
    spec: &ContainerSpec,
    record: &ContainerRecord,
) -> std::io::Result<()> {
    for folder in [&spec.root.upper, &spec.root.work, &spec.root.merged] {
        std::fs::create_dir_all(folder)?;
    }
    for volume in spec.mounts.iter().filter(|mount| mount.is_filled) {
        std::fs::create_dir_all(&volume.source)?;
    }
    crate::shim::records::write(&dir.spec(), spec)?;
    crate::shim::records::write(&records::container_record(dir.path()), record)
}

fn usage(spec: &ContainerSpec) -> ContainerUsage {
    let used = ContainerCgroup::of(&spec.cgroups).usage().unwrap_or_default();
    let own = spec.mounts.iter().filter(|mount| mount.is_filled);
    ContainerUsage {
        memory_bytes: used.working_set_bytes,
        cpu_nanos: used.cpu_nanoseconds,
        layer_bytes: crate::reclaim::bytes_below(&spec.root.upper)
            + own.map(|mount| crate::reclaim::bytes_below(&mount.source)).sum::<u64>(),
    }
}

fn info(image: &StoredImage) -> ImageInfo {
    let user = image.config.user.split(':').next().unwrap_or_default();
    let uid = if user.is_empty() { None } else { user.parse().ok() };
    ImageInfo {
        id: image.digests.first().unwrap_or(&image.id).clone(),
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        uid,
        size: image.size,
    }
}

fn add(all: &mut BytesMut, data: &[u8]) {
    if all.len() + data.len() <= OUTPUT_BYTES_MAX {
        all.extend_from_slice(data);
    }
}

fn not_found(id: &str) -> RuntimeError {
    RuntimeError::Refused { message: format!("{id} not found") }
}

fn refused(what: &str, error: impl std::error::Error) -> RuntimeError {
    RuntimeError::Refused { message: format!("{what}: {}", in_full(&error)) }
}
