//! Sandboxes: a folder, a network, shared memory and a shim; made in this order, taken down in reverse, each step
//! such that it can be done again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proto::cri::{NamespaceMode, PodSandboxConfig};
use tracing::warn;

use super::records::SandboxRecord;
use super::shim::{self, ShimSocket};
use super::state::KnownSandbox;
use super::{BuiltinRuntime, refused, specification};
use crate::causes::in_full;
use crate::network::namespace;
use crate::runtime::{ANNOTATION_GRACE, LABEL_POD_UID, RuntimeError, Which};
use crate::shim::protocol::Request;
use crate::shim::records::{self, ShimConfig};

/// containerd's size of `/dev/shm`.
const SHARED_MEMORY: &str = "mode=1777,size=65536k";
/// A shim has nothing to wait for but the kernel's end of what it kills.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// The node's own, where pods have none.
const NODE_SHARED_MEMORY: &str = "/dev/shm";

impl BuiltinRuntime {
    pub(super) async fn make_sandbox(&self, config: PodSandboxConfig) -> Result<String, RuntimeError> {
        let id = self.id();
        let record = self.record_of(&id, &config);
        let folder = self.places.sandbox(&id);
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| records::write(&self.places.sandbox_record(&id), &record));
        made.map_err(|error| refused("cannot make the sandbox's folder", error))?;
        self.lock().sandboxes.insert(id.clone(), KnownSandbox::new(record.clone()));
        match self.equip(record, &config).await {
            Ok(()) => Ok(id),
            Err(error) => {
                // What is left is seen, and is removed again then.
                if let Err(error) = self.take_down(&id).await {
                    warn!(%error, %id, "cannot take down a sandbox that could not be made");
                } else if let Err(error) = self.forget_sandbox(&id).await {
                    warn!(%error, %id, "cannot remove a sandbox that could not be made");
                }
                Err(error)
            }
        }
    }

    fn record_of(&self, id: &str, config: &PodSandboxConfig) -> SandboxRecord {
        let metadata = config.metadata.clone().unwrap_or_default();
        let namespaces = specification::namespaces(config);
        SandboxRecord {
            id: id.to_owned(),
            uid: config.labels.get(LABEL_POD_UID).cloned().unwrap_or(metadata.uid),
            namespace: metadata.namespace,
            name: metadata.name,
            attempt: metadata.attempt,
            grace: config.annotations.get(ANNOTATION_GRACE).and_then(|grace| grace.parse().ok()),
            created_at: self.clock.now(),
            ips: Vec::new(),
            network: (namespaces.network() != NamespaceMode::Node).then(|| self.places.network(id)),
            shared_memory: (namespaces.ipc() != NamespaceMode::Node).then(|| self.places.shared_memory(id)),
            is_stopped: false,
        }
    }

    /// Network, files, shared memory, shim.
    async fn equip(&self, mut record: SandboxRecord, config: &PodSandboxConfig) -> Result<(), RuntimeError> {
        let id = record.id.clone();
        std::fs::create_dir_all(self.places.sandbox_run(&id))
            .map_err(|error| refused("cannot make the sandbox's folder", error))?;
        if let Some(network) = record.network.clone() {
            let (plugins, of) = (self.plugins.clone(), id.clone());
            let added = blocking(move || {
                namespace::create(&network)?;
                plugins.add(&of, &network)
            });
            record.ips =
                added.await?.map_err(|error| refused("failed to set up the pod's network", error))?;
        }
        self.write_etc(&id, config, record.network.is_some())
            .map_err(|error| refused("cannot write the sandbox's files", error))?;
        if let Some(folder) = &record.shared_memory {
            mount_shared_memory(folder)
                .map_err(|error| refused("cannot make the pod's shared memory", error))?;
        }
        self.start_shim(&record, config).await?;
        records::write(&self.places.sandbox_record(&id), &record)
            .map_err(|error| refused("cannot note the sandbox", error))?;
        if let Some(sandbox) = self.lock().sandboxes.get_mut(&id) {
            sandbox.record = record;
        }
        Ok(())
    }

    fn write_etc(&self, id: &str, config: &PodSandboxConfig, own_network: bool) -> io::Result<()> {
        let resolv_conf = match specification::resolv_conf(config) {
            Some(text) => text,
            None => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        std::fs::write(self.places.etc(id, "resolv.conf"), resolv_conf)?;
        let name = if own_network { config.hostname.clone() } else { self.node_name.clone() };
        std::fs::write(self.places.etc(id, "hostname"), format!("{name}\n"))
    }

    async fn start_shim(
        &self,
        record: &SandboxRecord,
        config: &PodSandboxConfig,
    ) -> Result<(), RuntimeError> {
        let id = &record.id;
        let folder = self.places.sandbox(id);
        let namespaces = specification::namespaces(config);
        let sysctls = config.linux.iter().flat_map(|linux| linux.sysctls.clone()).collect();
        let shim = ShimConfig {
            socket: self.places.socket(id),
            network: record.network.clone(),
            hostname: record.network.is_some().then(|| config.hostname.clone()),
            own_ipc: namespaces.ipc() != NamespaceMode::Node,
            shared_pids: namespaces.pid() == NamespaceMode::Pod,
            sysctls,
            launches: self.places.launches(id),
        };
        records::write(&records::shim_config(&folder), &shim)
            .map_err(|error| refused("cannot tell the pod's shim what to be", error))?;
        shim::start(&self.program, &folder)
            .await
            .map_err(|error| refused("cannot start the sandbox", error))?;
        let identity = records::read(&records::shim_identity(&folder))
            .map_err(|error| refused("cannot learn which process the pod's shim is", error))?;
        if let Some(sandbox) = self.lock().sandboxes.get_mut(id) {
            sandbox.shim = Some(identity);
        }
        Ok(())
    }

    /// Ends what runs in it and gives back what it holds. What is gone is no error.
    pub(super) async fn take_down(&self, id: &str) -> Result<(), RuntimeError> {
        let (record, is_ready) = match self.lock().sandboxes.get(id) {
            Some(sandbox) => (sandbox.record.clone(), sandbox.is_ready()),
            None => return Ok(()),
        };
        if record.is_stopped {
            return Ok(());
        }
        if is_ready {
            let socket = ShimSocket(self.places.socket(id));
            let asked = tokio::time::timeout(SHUTDOWN_TIMEOUT, socket.ask(Request::Shutdown)).await;
            if !matches!(asked, Ok(Ok(()))) {
                warn!(%id, "a pod's shim does not end, killing it");
            }
        }
        if let Some(sandbox) = self.lock().sandboxes.get(id) {
            sandbox.kill_shim();
        }
        self.end_lost(Which::Pod(&record.uid)).await;
        let (plugins, run, of) = (self.plugins.clone(), self.places.sandbox_run(id), record.clone());
        blocking(move || give_back(&plugins, &of, &run)).await??;
        let stopped = SandboxRecord { ips: Vec::new(), is_stopped: true, ..record };
        records::write(&self.places.sandbox_record(id), &stopped)
            .map_err(|error| refused("cannot note the sandbox's end", error))?;
        if let Some(sandbox) = self.lock().sandboxes.get_mut(id) {
            sandbox.record = stopped;
        }
        Ok(())
    }

    /// Removes its containers and all that is kept of it. It was taken down before.
    pub(super) async fn forget_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let containers: Vec<String> = match self.lock().sandboxes.get(id) {
            Some(sandbox) => sandbox.containers.keys().cloned().collect(),
            None => return Ok(()),
        };
        for container in containers {
            self.forget_container(&container).await?;
        }
        let folder = self.places.sandbox(id);
        blocking(move || remove_tree(&folder))
            .await?
            .map_err(|error| refused("cannot remove the sandbox", error))?;
        self.lock().sandboxes.remove(id);
        Ok(())
    }

    /// What every container of the sandbox finds at `/dev/shm`.
    pub(super) fn shared_memory_of(record: &SandboxRecord) -> PathBuf {
        record.shared_memory.clone().unwrap_or_else(|| NODE_SHARED_MEMORY.into())
    }
}

fn give_back(
    plugins: &super::network::Plugins,
    record: &SandboxRecord,
    run: &Path,
) -> Result<(), RuntimeError> {
    if let Some(network) = &record.network {
        plugins
            .remove(&record.id, network)
            .map_err(|error| refused("failed to take down the pod's network", error))?;
        namespace::remove(network)
            .map_err(|error| refused("failed to take down the pod's network", error))?;
    }
    if let Some(folder) = &record.shared_memory {
        while umount2(folder, MntFlags::MNT_DETACH).is_ok() {}
    }
    remove_tree(run).map_err(|error| refused("cannot remove the sandbox's folder", error))
}

fn mount_shared_memory(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("shm"), folder, Some("tmpfs"), flags, Some(SHARED_MEMORY))?)
}

pub(super) fn remove_tree(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Work that blocks, on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| RuntimeError::Refused { message: in_full(&error) })
}
