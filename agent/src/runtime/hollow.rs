//! A runtime that runs nothing and reports success, for nodes by the thousand in one process.
//!
//! It remembers only while the process lives. Commands in its containers succeed with no output; a
//! container exits only when it is stopped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::Clock;
use bytes::Bytes;
use proto::cri::{AuthConfig, LinuxContainerResources, PodSandboxConfig};

use super::{
    ANNOTATION_HASH, Container, ContainerState, ContainerUsage, ExecOutcome, Exit, ImageInfo, NamedImage,
    NewContainer, PodRuntime, Runtime, RuntimeError, Sandbox, Session, Streams, Which,
};

/// What a stopped container exits with: killed by SIGTERM.
const EXIT_TERMINATED: i32 = 143;

/// Addresses come from 10.192.0.0/10, which no hollow pod can be reached at: a block for each node.
const FIRST_ADDRESS: u32 = 0x0ac0_0000;
const BLOCKS: u32 = 1 << 14;
const BLOCK_SIZE: u32 = 1 << 8;

pub struct HollowRuntime {
    clock: Arc<dyn Clock>,
    /// Which block of addresses is the node's.
    block: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, PodRuntime>,
    last_id: u32,
}

impl HollowRuntime {
    /// Nodes named `NAME-1`, `NAME-2` … have no address in common.
    pub fn new(clock: Arc<dyn Clock>, node: &str) -> Self {
        Self { clock, block: block_of(node), state: Mutex::default() }
    }

    /// The next one that none of the node's pods has: one that was just given back may still be known as another's.
    fn address(&self, state: &State) -> Ipv4Addr {
        let at = |number: u32| Ipv4Addr::from(FIRST_ADDRESS + self.block * BLOCK_SIZE + number);
        let numbers = (0..BLOCK_SIZE - 2).map(|step| (state.last_id + step) % (BLOCK_SIZE - 2) + 1);
        let mut addresses = numbers.map(at);
        let is_taken = |address: &Ipv4Addr| {
            let mut sandboxes = state.pods.values().flat_map(|pod| &pod.sandboxes);
            sandboxes.any(|sandbox| sandbox.ips.contains(&address.to_string()))
        };
        addresses.find(|address| !is_taken(address)).unwrap_or_else(|| at(1))
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

fn block_of(node: &str) -> u32 {
    let (name, number) = node.rsplit_once('-').unwrap_or((node, ""));
    let number: u32 = number.parse().unwrap_or(0);
    let start = name.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    start.wrapping_add(number) % BLOCKS
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
        let address = self.address(&state);
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
            ips: vec![address.to_string()],
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

    async fn open_exec(
        &self,
        _id: &str,
        _command: &[String],
        _streams: Streams,
    ) -> Result<Session, RuntimeError> {
        Err(nothing_runs())
    }

    async fn open_attach(&self, _id: &str, _streams: Streams) -> Result<Session, RuntimeError> {
        Err(nothing_runs())
    }

    async fn reopen_log(&self, _: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn network_namespace(&self, _sandbox_id: &str) -> Result<Option<PathBuf>, RuntimeError> {
        Err(nothing_runs())
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

    fn refuses_image_volumes(&self) -> Option<String> {
        None
    }

    async fn mount_image(&self, _: &str, _: &Path) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn remove_image(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn usage(&self) -> Result<BTreeMap<String, ContainerUsage>, RuntimeError> {
        Ok(BTreeMap::new())
    }

    async fn update_resources(
        &self,
        _id: &str,
        _resources: LinuxContainerResources,
    ) -> Result<(), RuntimeError> {
        Ok(())
    }
}

fn nothing_runs() -> RuntimeError {
    RuntimeError::Refused { message: "this node is hollow: nothing runs in its containers".to_owned() }
}

#[cfg(test)]
mod tests {
    use base::SystemClock;
    use proto::cri::PodSandboxMetadata;

    use super::*;

    async fn addresses(node: &str, pods: u32) -> Vec<String> {
        let runtime = HollowRuntime::new(Arc::new(SystemClock), node);
        for number in 0..pods {
            let metadata = PodSandboxMetadata { uid: number.to_string(), ..PodSandboxMetadata::default() };
            let config = PodSandboxConfig { metadata: Some(metadata), ..PodSandboxConfig::default() };
            runtime.run_sandbox(config).await.expect("it runs");
        }
        let pods = runtime.observe(Which::All).await.expect("seen");
        pods.into_values().flat_map(|pod| pod.sandboxes).flat_map(|sandbox| sandbox.ips).collect()
    }

    #[tokio::test]
    async fn no_two_pods_of_the_same_cluster_have_one_address() {
        let mut all = [addresses("hollow-1", 200).await, addresses("hollow-2", 200).await].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 400);
        assert!(all.iter().all(|address| address.starts_with("10.2") || address.starts_with("10.19")));
    }
}
