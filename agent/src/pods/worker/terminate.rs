//! Ends a pod: preStop, SIGTERM, SIGKILL, then everything of it is removed and its end is told.
//!
//! The order is what the control plane relies on: `terminated` is told only when no process, address, mount
//! or cgroup of the pod is left.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{PassError, Rest, TELL_AGAIN, Worker};
use crate::pods::containers::lasting;
use crate::pods::restart::sidecars;
use crate::pods::{About, Order, configuration};
use crate::probes::{Target, hook};
use crate::runtime::{PodRuntime, RuntimeError, Which};

/// However long preStop took, a container gets this long between SIGTERM and SIGKILL.
const GRACE_MIN: Duration = Duration::from_secs(2);
/// The kernel needs a moment until a cgroup is empty and a mount free.
const LEFTOVER_POLL: Duration = Duration::from_millis(100);
const LEFTOVER_TRIES: u32 = 50;

impl Worker {
    pub(super) async fn terminate(&mut self, order: &Order) -> Result<Rest, PassError> {
        let mut all = self.node.runtime.observe(Which::Pod(&self.uid)).await?;
        let runtime = all.remove(&self.uid).unwrap_or_default();
        self.probes.pod_ends();
        let stand_in = Arc::new(Pod::default());
        let pod = order.pod.as_ref().unwrap_or(&stand_in);
        if self.told.is_none() {
            self.told.clone_from(&pod.status);
        }
        let grace = order.grace().or(runtime.grace.map(Duration::from_secs));
        let grace = grace.unwrap_or(Duration::from_secs(configuration::GRACE_DEFAULT));
        if !runtime.is_empty() {
            info!(pod = %self.key, uid = %self.uid, grace_seconds = grace.as_secs(), "stopping a pod");
            self.stop_all(pod, &runtime, grace, "Stopping").await?;
            self.probes.keep(&[]);
            if order.pod.is_some() && !order.gone {
                let now = self.look(pod).await?;
                self.tell(pod, &now, &std::collections::BTreeMap::new()).await;
            }
            self.remove_all().await?;
        }
        self.clean_up().await;
        if order.gone || order.pod.is_none() {
            return Ok(Rest::Gone);
        }
        self.node.reports.pod_terminated(&self.key, &self.uid).await;
        Ok(Rest::For(TELL_AGAIN))
    }

    /// Stops every container and the sandbox, but keeps them for status and logs.
    pub(super) async fn stop_pod(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &PodRuntime,
        reason: &str,
    ) -> Result<(), PassError> {
        info!(pod = %self.key, reason, "stopping the containers of a pod");
        if self.ended.is_some() {
            self.probes.pod_ends();
        }
        let own = || Duration::from_secs(configuration::grace_seconds(pod));
        let grace = self.ended.as_ref().and_then(|ended| ended.grace).unwrap_or_else(own);
        self.stop_all(pod, runtime, grace, "Stopping").await
    }

    async fn stop_all(
        &mut self,
        pod: &Pod,
        runtime: &PodRuntime,
        grace: Duration,
        verb: &str,
    ) -> Result<(), PassError> {
        let deadline = Instant::now() + grace;
        let sidecars = sidecars(pod);
        let (mut late, first): (Vec<_>, Vec<_>) = runtime
            .containers
            .iter()
            .filter(|container| container.may_run())
            .map(|container| (container.name.clone(), container.id.clone()))
            .partition(|(name, _)| sidecars.contains(&name.as_str()));
        // The one that started first is needed longest.
        late.sort_by_key(|(name, _)| Reverse(sidecars.iter().position(|sidecar| sidecar == name)));
        for (name, _) in first.iter().chain(&late) {
            if pod.metadata.uid.is_some() {
                let about = About::container(pod, name);
                self.node.normal(pod, about, "Killing", format!("{verb} container {name}")).await;
            }
        }
        self.stop_containers(pod, runtime, &first, grace).await?;
        for sidecar in late {
            let left = deadline.saturating_duration_since(Instant::now());
            self.stop_containers(pod, runtime, &[sidecar], left).await?;
        }
        for sandbox in runtime.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            self.node.runtime.stop_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// In parallel, preStop first, all within `grace`.
    pub(super) async fn stop_containers(
        &mut self,
        pod: &Pod,
        runtime: &PodRuntime,
        containers: &[(String, String)],
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        let ip = self.pod_ip(pod, runtime);
        let node = self.node.clone();
        let hooked = self.hooked.clone();
        self.hooked.extend(containers.iter().map(|(_, id)| id.clone()));
        let stops = containers.iter().map(|(name, id)| {
            let (node, ip, first) = (node.clone(), ip.clone(), !hooked.contains(id));
            async move {
                let begin = Instant::now();
                let spec = lasting(pod).find(|spec| spec.name == *name);
                if let Some(spec) = spec.filter(|_| first) {
                    pre_stop(&node, pod, spec, id, &ip, grace).await;
                }
                let left = grace.saturating_sub(begin.elapsed()).max(GRACE_MIN);
                node.runtime.stop_container(id, left).await
            }
        });
        let stopping = futures::future::join_all(stops);
        tokio::pin!(stopping);
        let wake = self.wake.clone();
        let stopped = loop {
            tokio::select! {
                biased;
                stopped = &mut stopping => break stopped,
                () = wake.notified() => self.show_stopping(pod).await,
            }
        };
        for result in stopped {
            result?;
        }
        Ok(())
    }

    /// Tells what has changed while containers stop, readiness above all. What cannot be seen now is told later.
    async fn show_stopping(&mut self, pod: &Pod) {
        let is_told = {
            let order = self.orders.borrow();
            order.pod.is_some() && !order.gone && pod.metadata.uid.is_some()
        };
        if is_told && let Ok(now) = self.look(pod).await {
            let waiting = self.shown.clone();
            self.tell(pod, &now, &waiting).await;
        }
    }

    async fn remove_all(&mut self) -> Result<(), PassError> {
        let mut all = self.node.runtime.observe(Which::Pod(&self.uid)).await?;
        let runtime = all.remove(&self.uid).unwrap_or_default();
        for container in &runtime.containers {
            self.remove_container(&container.id).await?;
        }
        for sandbox in &runtime.sandboxes {
            self.node.runtime.stop_sandbox(&sandbox.id).await?;
            self.node.runtime.remove_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// A dead one. What the runtime lost sight of is killed before: containerd can take a container whose start
    /// was broken off for ended while its process lives, and then refuses to remove it.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        if let Some(host) = &self.node.host {
            host.cgroups.kill_container(&self.uid, id).await;
        }
        self.node.runtime.remove_container(id).await
    }

    /// Volumes, cgroups and logs.
    async fn clean_up(&mut self) {
        self.node.tokens.forget(&self.uid);
        let Some(host) = &self.node.host else { return };
        for _ in 0..LEFTOVER_TRIES {
            if host.clean_up(&self.uid) {
                break;
            }
            tokio::time::sleep(LEFTOVER_POLL).await;
        }
        host.remove_logs(&self.key.namespace, &self.key.name, &self.uid);
    }
}

async fn pre_stop(
    node: &crate::pods::Node,
    pod: &Pod,
    spec: &ContainerSpec,
    id: &str,
    pod_ip: &str,
    grace: Duration,
) {
    let Some(handler) = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else {
        return;
    };
    if grace.is_zero() {
        return;
    }
    let target = Target { id, pod_ip, ports: spec.ports.as_deref().unwrap_or_default() };
    match tokio::time::timeout(grace, hook(node.runtime.as_ref(), handler, &target, grace)).await {
        Ok(Ok(())) => {}
        Ok(Err(message)) => {
            let about = About::container(pod, &spec.name);
            node.warning(pod, about, "FailedPreStopHook", format!("PreStopHook failed: {message}")).await;
        }
        Err(_) => debug!(container = %spec.name, "a preStop hook took the whole grace period"),
    }
}
