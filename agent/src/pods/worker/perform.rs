//! Performs the steps of a plan.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::post_start::Run;
use super::start::StartError;
use super::{PassError, Worker};
use crate::pods::containers::lasting;
use crate::pods::plan::Step;
use crate::pods::{About, Order, configuration};
use crate::runtime::{PodRuntime, Which};

impl Worker {
    pub(super) async fn perform(
        &mut self,
        pod: &Arc<Pod>,
        order: &Order,
        runtime: &PodRuntime,
        steps: Vec<Step>,
    ) -> Result<(), PassError> {
        for step in steps {
            match step {
                Step::StopPod { reason } => self.stop_pod(pod, runtime, &reason).await?,
                Step::StartSandbox { attempt } => self.start_sandbox(pod, order, attempt).await?,
                Step::StopContainer { id, name, reason } => {
                    let about = About::container(pod, &name);
                    self.node.normal(pod, about, "Killing", reason).await;
                    let grace = self.probe_grace(pod, &name, &id);
                    self.stop_containers(pod, runtime, &[(name, id)], grace).await?;
                }
                Step::StartContainer { name, attempt } => {
                    // A sandbox may have been made since the plan.
                    let mut now = self.node.runtime.observe(Which::Pod(&self.uid)).await?;
                    let now = now.remove(&self.uid).unwrap_or_default();
                    self.start_container(pod, order, &now, &name, attempt).await?;
                }
                Step::StartCreated { id, name, attempt } => {
                    self.start_created(pod, runtime, &name, &Run { id: &id, attempt }).await?;
                }
                Step::RemoveContainer { id } => self.remove_container(&id).await?,
                Step::RemoveSandbox { id } => self.node.runtime.remove_sandbox(&id).await?,
            }
        }
        Ok(())
    }

    async fn start_sandbox(&mut self, pod: &Arc<Pod>, order: &Order, attempt: u32) -> Result<(), PassError> {
        configuration::check_sandbox(pod)?;
        if let Some(host) = &self.node.host {
            let tokens = self.tokens(pod).await;
            host.prepare_volumes(&self.uid, &self.sources(pod, order, "", &tokens)).await?;
            host.cgroups.make(pod, &self.uid).map_err(PassError::Files)?;
        }
        let config = self.sandbox_config(pod, attempt);
        if !config.log_directory.is_empty() {
            std::fs::create_dir_all(&config.log_directory).map_err(PassError::Files)?;
        }
        self.node.runtime.run_sandbox(config).await.map_err(StartError::Sandbox)?;
        metrics::counter!(crate::metrics::STARTED_PODS).increment(1);
        Ok(())
    }

    /// A probe may allow less grace than the pod.
    fn probe_grace(&self, pod: &Pod, name: &str, id: &str) -> Duration {
        let container = lasting(pod).find(|container| container.name == name);
        let probe = container.and_then(|container| match self.memory.failed_probe(id) {
            Some("startup") => container.startup_probe.as_ref(),
            Some(_) => container.liveness_probe.as_ref(),
            None => None,
        });
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let seconds = own.and_then(|own| u64::try_from(own).ok());
        Duration::from_secs(seconds.unwrap_or_else(|| configuration::grace_seconds(pod)))
    }
}
