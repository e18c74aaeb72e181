//! A runtime that runs nothing and reports success, for nodes by the thousand in one process.
//!
//! It remembers only while the process lives. Commands in its containers succeed with no output; a
//! container exits only when it is stopped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::Clock;
use bytes::Bytes;
use proto::cri::{AuthConfig, PodSandboxConfig};

use super::{
    ANNOTATION_HASH, Container, ContainerState, ExecOutcome, Exit, ImageInfo, NamedImage, NewContainer,
    PodRuntime, Runtime, RuntimeError, Sandbox, Which,
};

/// What a stopped container exits with: killed by SIGTERM.
const EXIT_TERMINATED: i32 = 143;

/// Addresses come from 10.192.0.0/10, which no hollow pod can be reached at.
const FIRST_ADDRESS: u32 = 0x0ac0_0001;

pub struct HollowRuntime {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, PodRuntime>,
    last_id: u32,
}

impl HollowRuntime {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_container(&self, id: &str, change: impl FnOnce(&mut Container)) -> Result<(), RuntimeError> {
        let mut state = self.lock();
        let found = state.pods.values_mut().flat_map(|pod| &mut pod.containers).find(|c| c.id == id);
        match found {
            Some(container) => {
                change(container);
                Ok(())
            }
            None => Err(RuntimeError::Refused { message: format!("container {id} not found") }),
        }
    }

    fn end(&self, container: &mut Container) {
        if let ContainerState::Running { started_at } = container.state {
            container.state = ContainerState::Exited(Exit {
                code: EXIT_TERMINATED,
                started_at: Some(started_at),
                finished_at: self.clock.now(),
                reason: "Error".to_owned(),
                message: String::new(),
            });
        }
    }
}

impl State {
    fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }
}

#[async_trait]
impl Runtime for HollowRuntime {
    fn name(&self) -> &'static str {
        "hollow"
    }

    async fn observe(&self, which: Which<'_>) -> Result<BTreeMap<String, PodRuntime>, RuntimeError> {
        let state = self.lock();
        Ok(match which {
            Which::All => state.pods.clone(),
            Which::Pod(uid) => {
                state.pods.get(uid).map(|pod| (uid.to_owned(), pod.clone())).into_iter().collect()
            }
        })
    }

    async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<String, RuntimeError> {
        let metadata = config.metadata.unwrap_or_default();
        let mut state = self.lock();
        let number = state.next_id();
        let id = format!("hollow-{number}");
        let pod = state.pods.entry(metadata.uid.clone()).or_insert_with(|| PodRuntime {
            uid: metadata.uid,
            namespace: metadata.namespace,
            name: metadata.name,
            ..PodRuntime::default()
        });
        pod.sandboxes.push(Sandbox {
            id: id.clone(),
            attempt: metadata.attempt,
            ready: true,
            created_at: self.clock.now(),
            ips: vec![Ipv4Addr::from(FIRST_ADDRESS + number).to_string()],
        });
        pod.sort();
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        for pod in self.lock().pods.values_mut() {
            pod.containers.iter_mut().filter(|c| c.sandbox_id == id).for_each(|c| self.end(c));
            for sandbox in pod.sandboxes.iter_mut().filter(|sandbox| sandbox.id == id) {
                sandbox.ready = false;
                sandbox.ips.clear();
            }
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.lock();
        for pod in state.pods.values_mut() {
            pod.containers.retain(|container| container.sandbox_id != id);
            pod.sandboxes.retain(|sandbox| sandbox.id != id);
        }
        state.pods.retain(|_, pod| !pod.is_empty());
        Ok(())
    }

    async fn create_container(&self, new: NewContainer) -> Result<String, RuntimeError> {
        let uid = new.sandbox.metadata.unwrap_or_default().uid;
        let metadata = new.config.metadata.unwrap_or_default();
        let mut state = self.lock();
        let id = format!("hollow-{}", state.next_id());
        let Some(pod) = state.pods.get_mut(&uid) else {
            return Err(RuntimeError::Refused { message: format!("sandbox {} not found", new.sandbox_id) });
        };
        pod.containers.push(Container {
            id: id.clone(),
            sandbox_id: new.sandbox_id,
            name: metadata.name,
            attempt: metadata.attempt,
            hash: new.config.annotations.get(ANNOTATION_HASH).cloned().unwrap_or_default(),
            image_id: new.config.image.unwrap_or_default().image,
            created_at: self.clock.now(),
            state: ContainerState::Created,
        });
        pod.sort();
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let started_at = self.clock.now();
        self.change_container(id, |container| container.state = ContainerState::Running { started_at })
    }

    async fn stop_container(&self, id: &str, _grace: Duration) -> Result<(), RuntimeError> {
        self.change_container(id, |container| self.end(container))
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.lock().pods.values_mut().for_each(|pod| pod.containers.retain(|c| c.id != id));
        Ok(())
    }

    async fn exec(
        &self,
        _id: &str,
        _command: &[String],
        _timeout: Duration,
    ) -> Result<ExecOutcome, RuntimeError> {
        Ok(ExecOutcome { code: 0, stdout: Bytes::new(), stderr: Bytes::new() })
    }

    async fn image(&self, name: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(Some(ImageInfo { id: name.to_owned(), uid: Some(0), username: String::new(), size: 0 }))
    }

    async fn images(&self) -> Result<Vec<NamedImage>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn pull(&self, _name: &str, _auth: Option<AuthConfig>) -> Result<(), RuntimeError> {
        Ok(())
    }
}
