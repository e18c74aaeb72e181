//! Gives running containers what their pod was resized to: the pod's cgroup, then theirs.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use tracing::info;

use super::{PassError, Worker};
use crate::cgroups::{container_resources, qos_class};
use crate::pods::containers::lasting;
use crate::pods::resize::{Amounts, Pending, Resizing, Verdict, as_given, decide, of_others, restarts_for};
use crate::pods::{About, Host, Order};
use crate::runtime::{PodRuntime, RuntimeError};

impl Worker {
    /// The pod as this node runs it: as specified, or as it was as long as it cannot be resized.
    pub(super) async fn resize(
        &mut self,
        pod: &Arc<Pod>,
        order: &Order,
        runtime: &PodRuntime,
    ) -> Result<Arc<Pod>, PassError> {
        let others = || of_others(order.desired.pods.values().map(Arc::as_ref), &self.uid);
        let verdict = decide(pod, self.told.as_ref(), Amounts::of(&self.node.allocatable), others);
        let mut resizing = Resizing::default();
        let run = match (&verdict, &self.told) {
            (Verdict::Refused(pending), Some(told)) => {
                resizing.pending = Some(pending.clone());
                Arc::new(as_given(pod, told))
            }
            _ => pod.clone(),
        };
        let node = self.node.clone();
        if let Some(host) =
            node.host.as_ref().filter(|_| runtime.sandbox().is_some_and(|sandbox| sandbox.ready))
        {
            self.actuate(host, &run, runtime, &mut resizing).await?;
            if verdict == Verdict::Granted && resizing.unfinished.is_empty() {
                let made = host.cgroups.make(&run, &self.uid);
                resizing.error = made.err().map(|error| format!("the pod's cgroup: {error}"));
            }
        }
        self.tell_resize(pod, &resizing, verdict == Verdict::Granted).await;
        self.resizing = resizing;
        Ok(run)
    }

    async fn actuate(
        &mut self,
        host: &Host,
        pod: &Pod,
        runtime: &PodRuntime,
        resizing: &mut Resizing,
    ) -> Result<(), PassError> {
        let class = qos_class(pod);
        self.memory
            .to_resize
            .retain(|id| runtime.containers.iter().any(|run| run.id == *id && run.is_running()));
        let running = |spec: &ContainerSpec| runtime.newest(&spec.name).filter(|run| run.is_running());
        let unlike: Vec<_> = lasting(pod)
            .filter_map(|spec| {
                let id = running(spec)?.id.clone();
                let resources = container_resources(pod, spec, host.memory_bytes);
                let unlike = host.cgroups.unlike(&self.uid, class, &id, &resources);
                (unlike.cpu || unlike.memory).then_some((spec, id, resources, unlike))
            })
            .collect();
        if unlike.is_empty() {
            return Ok(());
        }
        // No container may have more than its pod: what grows begins above, what shrinks below.
        host.cgroups.raise(pod, &self.uid).map_err(PassError::Files)?;
        for (spec, id, resources, unlike) in unlike {
            let name = spec.name.clone();
            let restarts =
                (unlike.cpu && restarts_for(spec, "cpu")) || (unlike.memory && restarts_for(spec, "memory"));
            if restarts {
                self.memory.to_resize.insert(id);
                resizing.unfinished.insert(name);
                continue;
            }
            info!(pod = %self.key, container = %name, "resizing a container");
            match self.node.runtime.update_resources(&id, resources).await {
                Ok(()) => {}
                Err(RuntimeError::Refused { message }) => {
                    resizing.unfinished.insert(name);
                    resizing.error = Some(message);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One event for each thing that is new.
    async fn tell_resize(&mut self, pod: &Pod, now: &Resizing, is_granted: bool) {
        if *now == self.resizing && !(is_granted && now.is_done()) {
            return;
        }
        let node = &self.node;
        if let Some(Pending { reason, message }) =
            now.pending.as_ref().filter(|_| now.pending != self.resizing.pending)
        {
            node.warning(
                pod,
                About::Pod,
                &format!("Resize{reason}"),
                format!("Pod resize {reason}: {message}"),
            )
            .await;
        }
        if let Some(error) = now.error.as_ref().filter(|_| now.error != self.resizing.error) {
            node.warning(pod, About::Pod, "ResizeError", format!("Pod resize error: {error}")).await;
        }
        if is_granted && now.is_done() {
            node.normal(pod, About::Pod, "ResizeCompleted", "Pod resize completed".to_owned()).await;
        }
    }
}
