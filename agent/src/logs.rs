//! Container logs as `kubectl logs` wants them, from the files that the runtime writes.
//!
//! The files have the CRI's format and lie at `<root>/<namespace>_<pod>_<uid>/<container>/<attempt>.log`. A
//! rotated file is renamed; only the present one is read, and while following, what comes after it.

pub(crate) mod changes;
mod line;
mod options;
mod reader;
pub(crate) mod rotation;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Clock;
use bytes::Bytes;
use futures::Stream;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use thiserror::Error;
use tokio::sync::watch;

pub(crate) use options::{LogOptions, decode};
use reader::Reader;

use crate::desired::{Desired, PodKey};
use crate::gateway::PodStatuses;

/// Finds and reads logs of this node's containers.
#[derive(Clone)]
pub struct Logs {
    root: PathBuf,
    desired: watch::Receiver<Arc<Desired>>,
    statuses: watch::Receiver<Arc<PodStatuses>>,
    clock: Arc<dyn Clock>,
}

/// Why there is no log. The texts are Kubernetes', as people know them.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("pod {0:?} not found")]
    NoPod(String),
    #[error("container {container:?} in pod {pod:?} is not available")]
    NoContainer { container: String, pod: String },
    #[error("container {container:?} in pod {pod:?} is waiting to start: {reason}")]
    Waiting { container: String, pod: String, reason: String },
    #[error("previous terminated container {container:?} in pod {pod:?} not found")]
    NoPrevious { container: String, pod: String },
    #[error("cannot read the log")]
    Read(#[source] std::io::Error),
}

impl Logs {
    /// Serves what lies under `root`.
    pub fn new(
        root: PathBuf,
        desired: watch::Receiver<Arc<Desired>>,
        statuses: watch::Receiver<Arc<PodStatuses>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { root, desired, statuses, clock }
    }

    /// What the node should run now.
    pub(crate) fn desired(&self) -> Arc<Desired> {
        self.desired.borrow().clone()
    }

    /// Every pod of this node as it is now, as a v1 PodList.
    pub(crate) fn pods(&self) -> serde_json::Value {
        let (desired, statuses) = (self.desired.borrow().clone(), self.statuses.borrow().clone());
        let items: Vec<Pod> = desired
            .pods
            .values()
            .map(|pod| {
                let mut pod = Pod::clone(pod);
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                if let Some(status) = statuses.get(uid) {
                    pod.status = Some(PodStatus::clone(status));
                }
                pod
            })
            .collect();
        serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    /// The text of one container's log, piece by piece; without end while it is followed and the container
    /// runs.
    ///
    /// # Errors
    /// When there is no such log.
    pub(crate) async fn open(
        &self,
        key: &PodKey,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static, LogError> {
        let pod = self.desired.borrow().pods.get(key).cloned();
        let pod = pod.ok_or_else(|| LogError::NoPod(key.name.clone()))?;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if !has_container(&pod, container) {
            return Err(LogError::NoContainer { container: container.into(), pod: key.name.clone() });
        }
        let status = self.statuses.borrow().get(&uid).cloned();
        let status = status.as_deref().and_then(|status| container_status(status, container)).cloned();
        let directory = self.root.join(format!("{}_{}_{uid}", key.namespace, key.name)).join(container);
        let present = attempts(&directory);
        let attempt = choose(&present, status.as_ref(), options.previous)
            .ok_or_else(|| missing(key, container, status.as_ref(), options.previous))?;
        let life = Life {
            uid,
            key: key.clone(),
            container: container.to_owned(),
            attempt,
            desired: self.desired.clone(),
            statuses: self.statuses.clone(),
        };
        let since = options.since(self.clock.now());
        let path = directory.join(format!("{attempt}.log"));
        let reader = Reader::open(path, options, since, life).await.map_err(LogError::Read)?;
        Ok(futures::stream::try_unfold(reader, async |mut reader| {
            Ok(reader.next().await?.map(|piece| (piece, reader)))
        }))
    }
}

/// Tells whether the container run whose log is followed is over.
pub(crate) struct Life {
    uid: String,
    key: PodKey,
    container: String,
    attempt: u32,
    desired: watch::Receiver<Arc<Desired>>,
    statuses: watch::Receiver<Arc<PodStatuses>>,
}

impl Life {
    fn is_over(&self) -> bool {
        if let Some(status) = self.statuses.borrow().get(&self.uid) {
            return container_status(status, &self.container)
                .is_some_and(|status| run_is_over(status, self.attempt));
        }
        // Nothing reported: the agent has just started, or the pod is gone.
        let desired = self.desired.borrow();
        let here =
            desired.pods.get(&self.key).is_some_and(|pod| pod.metadata.uid.as_ref() == Some(&self.uid));
        desired.synced && !here
    }

    /// Ready when a status was reported. Cancel safe.
    async fn changed(&mut self) {
        if self.statuses.changed().await.is_err() {
            // The agent is stopping; its connections end with it.
            std::future::pending::<()>().await;
        }
    }
}

fn run_is_over(status: &ContainerStatus, attempt: u32) -> bool {
    let newest = u32::try_from(status.restart_count).unwrap_or(0);
    let state = status.state.as_ref();
    let running = state.is_some_and(|state| state.running.is_some());
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.is_some_and(|state| state.terminated.is_some())
    };
    newest > attempt || (!running && (ended(state) || ended(status.last_state.as_ref())))
}

fn has_container(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let init = spec.init_containers.iter().flatten();
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.name);
    let mut names = spec.containers.iter().chain(init).map(|container| &container.name).chain(ephemeral);
    names.any(|present| present == name)
}

fn container_status<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    let kinds =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    kinds.into_iter().flatten().flatten().find(|status| status.name == name)
}

/// Which runs have a log, in order.
fn attempts(directory: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut attempts: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    attempts.sort_unstable();
    attempts
}

/// The run whose log is asked for. `previous` is the last one that ended before the present one; for a
/// container that waits to be started again, both are the last run.
fn choose(present: &[u32], status: Option<&ContainerStatus>, previous: bool) -> Option<u32> {
    let newest = *present.last()?;
    if !previous {
        return Some(newest);
    }
    let waiting = status.is_some_and(|status| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.waiting.is_some())
            && status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
    });
    let wanted = if waiting { newest } else { newest.checked_sub(1)? };
    present.contains(&wanted).then_some(wanted)
}

fn missing(key: &PodKey, container: &str, status: Option<&ContainerStatus>, previous: bool) -> LogError {
    let (container, pod) = (container.to_owned(), key.name.clone());
    if previous {
        return LogError::NoPrevious { container, pod };
    }
    let waiting = status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    LogError::Waiting { container, pod, reason: waiting.unwrap_or_else(|| "ContainerCreating".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str, last: &str, restarts: i32) -> ContainerStatus {
        let json = format!(
            r#"{{"name":"c","image":"i","imageID":"","ready":false,"restartCount":{restarts},
                "state":{{{state}}},"lastState":{{{last}}}}}"#
        );
        serde_json::from_str(&json).expect("a container status")
    }

    const RUNNING: &str = r#""running":{}"#;
    const WAITING: &str = r#""waiting":{"reason":"CrashLoopBackOff"}"#;
    const ENDED: &str = r#""terminated":{"exitCode":1}"#;

    #[test]
    fn previous_is_the_run_that_ended_last() {
        assert_eq!(choose(&[0, 1, 2], Some(&status(RUNNING, ENDED, 2)), true), Some(1));
        assert_eq!(choose(&[1, 2], Some(&status(WAITING, ENDED, 2)), true), Some(2));
        assert_eq!(choose(&[2], Some(&status(RUNNING, ENDED, 2)), true), None, "its file was cleaned up");
        assert_eq!(choose(&[0], None, true), None);
        assert_eq!(choose(&[0, 1, 10], None, false), Some(10));
        assert_eq!(choose(&[], None, false), None);
    }

    #[test]
    fn a_run_is_over_when_it_ended_or_was_replaced() {
        assert!(!run_is_over(&status(RUNNING, "", 0), 0));
        assert!(run_is_over(&status(RUNNING, ENDED, 1), 0));
        assert!(run_is_over(&status(ENDED, "", 0), 0));
        assert!(run_is_over(&status(WAITING, ENDED, 0), 0));
        assert!(!run_is_over(&status(r#""waiting":{}"#, "", 0), 0), "not started yet");
    }
}
