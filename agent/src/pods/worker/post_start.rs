//! The postStart hook of a container: owed from before it starts until the hook has ended.
//!
//! An agent that is killed in between leaves the hook to the next one: it runs at least once (the kubelet would drop
//! it).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, LifecycleHandler, Pod};

use super::Worker;
use super::start::StartError;
use crate::pods::begun::{Begun, RunOf};
use crate::pods::containers::lasting;
use crate::pods::{About, configuration};
use crate::probes::{Target, hook};
use crate::runtime::PodRuntime;

/// A hook may take as long as it likes; this only bounds what the runtime keeps of it.
const HOOK_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// One run of a container.
pub(super) struct Run<'a> {
    pub(super) id: &'a str,
    pub(super) attempt: u32,
}

impl Worker {
    pub(super) fn run_of<'a>(&'a self, container: &'a str, attempt: u32) -> RunOf<'a> {
        RunOf { uid: &self.uid, container, attempt }
    }

    pub(super) fn owe_post_start(&self, spec: &ContainerSpec, attempt: u32) -> io::Result<()> {
        match &self.node.host {
            Some(host) if post_start(spec).is_some() => {
                host.note(self.run_of(&spec.name, attempt), Begun::PostStart)
            }
            _ => Ok(()),
        }
    }

    /// Runs what an earlier agent has begun and not ended.
    pub(super) async fn resume_hooks(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &PodRuntime,
    ) -> Result<(), StartError> {
        for spec in lasting(pod).filter(|spec| post_start(spec).is_some()) {
            let Some(run) = runtime.newest(&spec.name).filter(|run| run.is_running()) else { continue };
            let this = self.run_of(&spec.name, run.attempt);
            if self.node.host.as_ref().is_some_and(|host| host.is_noted(this, Begun::PostStart)) {
                let run = Run { id: &run.id, attempt: run.attempt };
                self.post_start(pod, runtime, spec, &run).await?;
            }
        }
        Ok(())
    }

    /// A failed hook ends its container.
    pub(super) async fn post_start(
        &mut self,
        pod: &Arc<Pod>,
        runtime: &PodRuntime,
        spec: &ContainerSpec,
        run: &Run<'_>,
    ) -> Result<(), StartError> {
        let Some(handler) = post_start(spec) else { return Ok(()) };
        let ip = self.pod_ip(pod, runtime);
        let target = Target { id: run.id, pod_ip: &ip, ports: spec.ports.as_deref().unwrap_or_default() };
        if let Err(message) = hook(self.node.runtime.as_ref(), handler, &target, HOOK_MAX).await {
            let about = About::container(pod, &spec.name);
            let message = format!("PostStartHook failed: {message}");
            self.node.warning(pod, about, "FailedPostStartHook", message).await;
            self.node.normal(pod, about, "Killing", "FailedPostStartHook".to_owned()).await;
            let grace = Duration::from_secs(configuration::grace_seconds(pod));
            let container = (spec.name.clone(), run.id.to_owned());
            self.stop_containers(pod, runtime, &[container], grace).await.map_err(StartError::Runtime)?;
        }
        if let Some(host) = &self.node.host {
            let this = self.run_of(&spec.name, run.attempt);
            host.settle(this, Begun::PostStart).map_err(StartError::Files)?;
        }
        Ok(())
    }
}

fn post_start(spec: &ContainerSpec) -> Option<&LifecycleHandler> {
    spec.lifecycle.as_ref()?.post_start.as_ref()
}
