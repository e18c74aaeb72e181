//! What exists: read from disk once, then kept, since nobody but this runtime writes it. How containers fare their
//! shims note on disk, where it is looked up each time, until a container has ended.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use base::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::warn;

use super::records::{ContainerRecord, Places, SandboxRecord, container_record};
use crate::container::spec::ContainerSpec;
use crate::runtime::{Container, ContainerState, EXIT_KILLED, Exit, PodRuntime, Sandbox, Which};
use crate::shim::records::{self, ContainerDir, Ended, ProcessIdentity, Started};

/// All sandboxes, by id.
#[derive(Default)]
pub(super) struct State {
    pub(super) sandboxes: BTreeMap<String, KnownSandbox>,
}

pub(super) struct KnownSandbox {
    pub(super) record: SandboxRecord,
    pub(super) shim: Option<ProcessIdentity>,
    pub(super) containers: BTreeMap<String, KnownContainer>,
}

pub(super) struct KnownContainer {
    pub(super) record: ContainerRecord,
    pub(super) spec: Arc<ContainerSpec>,
    pub(super) dir: ContainerDir,
    started: Option<Started>,
    ended: Option<Ended>,
}

impl State {
    /// What a former agent has left. What it had only begun to make is left out, and removed.
    pub(super) fn load(places: &Places) -> io::Result<Self> {
        std::fs::create_dir_all(places.sandboxes())?;
        let mut state = Self::default();
        for entry in std::fs::read_dir(places.sandboxes())? {
            let entry = entry?;
            let id = entry.file_name().to_string_lossy().into_owned();
            match records::read::<SandboxRecord>(&places.sandbox_record(&id)) {
                Ok(record) => {
                    let sandbox = KnownSandbox::load(record, places)?;
                    state.sandboxes.insert(id, sandbox);
                }
                Err(error) => {
                    warn!(%error, %id, "removing a sandbox that was not made to its end");
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(state)
    }

    /// What is noted as running although its shim is gone: nobody would learn how it ends, nor read what it writes.
    pub(super) fn lost(&mut self, which: Which<'_>) -> Vec<Arc<ContainerSpec>> {
        let asked = self.sandboxes.values_mut().filter(|sandbox| sandbox.is_of(which));
        let without = asked.filter(|sandbox| sandbox.shim.is_some() && !sandbox.is_ready());
        let containers = without.flat_map(|sandbox| sandbox.containers.values_mut());
        containers.filter_map(|known| known.is_running().then(|| known.spec.clone())).collect()
    }

    /// Its processes were killed.
    pub(super) fn note_lost(&mut self, id: &str, now: Timestamp) {
        if let Some((_, container)) = self.container(id)
            && let ContainerState::Running { started_at } = container.state()
        {
            container.note_end(Ended {
                code: EXIT_KILLED,
                started_at: Some(started_at),
                finished_at: now,
                reason: "Error".to_owned(),
                message: "the pod's shim has ended".to_owned(),
            });
        }
    }

    pub(super) fn observe(&mut self, which: Which<'_>) -> BTreeMap<String, PodRuntime> {
        let mut pods: BTreeMap<String, PodRuntime> = BTreeMap::new();
        for sandbox in self.sandboxes.values_mut() {
            if !sandbox.is_of(which) {
                continue;
            }
            let pod = pods.entry(sandbox.record.uid.clone()).or_default();
            sandbox.observe(pod);
        }
        for pod in pods.values_mut() {
            pod.sort();
        }
        pods
    }

    /// The container and its sandbox's id.
    pub(super) fn container(&mut self, id: &str) -> Option<(&str, &mut KnownContainer)> {
        self.sandboxes
            .values_mut()
            .find_map(|sandbox| Some((sandbox.record.id.as_str(), sandbox.containers.get_mut(id)?)))
    }
}

impl KnownSandbox {
    pub(super) fn new(record: SandboxRecord) -> Self {
        Self { record, shim: None, containers: BTreeMap::new() }
    }

    fn load(record: SandboxRecord, places: &Places) -> io::Result<Self> {
        let folder = places.sandbox(&record.id);
        let shim = records::read(&records::shim_identity(&folder)).ok();
        let mut containers = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let id = entry.file_name().to_string_lossy().into_owned();
            let dir = ContainerDir::new(&folder, &id);
            let found = (records::read(&container_record(dir.path())), records::read(&dir.spec()));
            match found {
                (Ok(record), Ok(spec)) => {
                    containers.insert(id, KnownContainer::new(record, spec, dir));
                }
                (Err(error), _) | (_, Err(error)) => {
                    warn!(%error, %id, "removing a container that was not made to its end");
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(Self { record, shim, containers })
    }

    fn is_of(&self, which: Which<'_>) -> bool {
        match which {
            Which::All => true,
            Which::Pod(uid) => uid == self.record.uid,
        }
    }

    /// Its shim lives.
    pub(super) fn is_ready(&self) -> bool {
        !self.record.is_stopped && self.shim.is_some_and(ProcessIdentity::is_alive)
    }

    fn observe(&mut self, pod: &mut PodRuntime) {
        if pod.uid.is_empty() {
            pod.uid.clone_from(&self.record.uid);
            pod.namespace.clone_from(&self.record.namespace);
            pod.name.clone_from(&self.record.name);
            pod.grace = self.record.grace;
        }
        pod.sandboxes.push(Sandbox {
            id: self.record.id.clone(),
            attempt: self.record.attempt,
            ready: self.is_ready(),
            created_at: self.record.created_at,
            ips: self.record.ips.clone(),
        });
        for container in self.containers.values_mut() {
            pod.containers.push(Container {
                id: container.record.id.clone(),
                sandbox_id: self.record.id.clone(),
                name: container.record.name.clone(),
                attempt: container.record.attempt,
                hash: container.record.hash.clone(),
                image_id: container.record.image_id.clone(),
                created_at: container.record.created_at,
                state: container.state(),
            });
        }
    }

    pub(super) fn kill_shim(&self) {
        if let Some(shim) = self.shim.filter(|shim| shim.is_alive()) {
            let _gone = kill(Pid::from_raw(shim.pid()), Signal::SIGKILL);
        }
    }
}

impl KnownContainer {
    pub(super) fn new(record: ContainerRecord, spec: ContainerSpec, dir: ContainerDir) -> Self {
        Self { record, spec: Arc::new(spec), dir, started: None, ended: None }
    }

    pub(super) fn state(&mut self) -> ContainerState {
        if self.ended.is_none() {
            self.ended = records::read(&self.dir.ended()).ok();
        }
        if let Some(ended) = &self.ended {
            return ContainerState::Exited(Exit {
                code: ended.code,
                started_at: ended.started_at,
                finished_at: ended.finished_at,
                reason: ended.reason.clone(),
                message: ended.message.clone(),
            });
        }
        if self.started.is_none() {
            self.started = records::read(&self.dir.started()).ok();
        }
        match &self.started {
            Some(started) => ContainerState::Running { started_at: started.at },
            None => ContainerState::Created,
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.state(), ContainerState::Running { .. })
    }

    fn note_end(&mut self, ended: Ended) {
        if let Err(error) = records::write(&self.dir.ended(), &ended) {
            warn!(%error, id = %self.record.id, "cannot note how a container ended");
        }
        self.ended = Some(ended);
    }
}
