//! What a pod's worker remembers between two looks: back-offs, failures, probe results.
//!
//! All of it may be lost at any time: a restarted agent only tries again a little sooner.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use k8s_openapi::api::core::v1::Container as ContainerSpec;
use sha2::{Digest, Sha256};

use super::backoff::Backoffs;
use super::plan::Waiting;

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// By [`restart_key`].
    pub(crate) restarts: Backoffs,
    /// By image.
    pub(crate) pulls: Backoffs,
    /// The last failed pull, by container.
    pub(crate) images: BTreeMap<String, ImageProblem>,
    /// Why a container could not be made, by name.
    pub(crate) failures: BTreeMap<String, Failure>,
    /// By container id. Absent: not probed, or no result yet.
    pub(crate) probed: BTreeMap<String, Probed>,
    /// The ids of runs that must end because their container is resized by starting it anew.
    pub(crate) to_resize: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageProblem {
    pub(crate) image: String,
    pub(crate) at: Timestamp,
    pub(crate) waiting: Waiting,
}

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) waiting: Waiting,
    pub(crate) retry_at: Timestamp,
}

/// What the probes of one container say. Each is `None` when the container has no such probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) startup: Option<Verdict>,
    pub(crate) readiness: Option<Verdict>,
    pub(crate) liveness: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unknown,
    Success,
    Failure,
}

impl ImageProblem {
    /// The same problem, between two tries.
    pub(crate) fn backing_off(&self) -> Waiting {
        if self.waiting.reason != "ErrImagePull" {
            return self.waiting.clone();
        }
        Waiting {
            reason: "ImagePullBackOff".to_owned(),
            message: format!(
                "Back-off pulling image \"{}\": ErrImagePull: {}",
                self.image, self.waiting.message
            ),
        }
    }
}

impl Memory {
    /// True when nothing speaks against it: no startup probe, or it has succeeded.
    pub(crate) fn started(&self, id: &str) -> bool {
        let startup = self.probed.get(id).and_then(|probed| probed.startup);
        startup.is_none_or(|verdict| verdict == Verdict::Success)
    }

    /// True when it has started and its readiness probe, if any, succeeds.
    pub(crate) fn ready(&self, id: &str) -> bool {
        let readiness = self.probed.get(id).and_then(|probed| probed.readiness);
        self.started(id) && readiness.is_none_or(|verdict| verdict == Verdict::Success)
    }

    /// The probe because of which the container must be restarted.
    pub(crate) fn failed_probe(&self, id: &str) -> Option<&'static str> {
        let probed = self.probed.get(id)?;
        if probed.startup == Some(Verdict::Failure) {
            return Some("startup");
        }
        (probed.liveness == Some(Verdict::Failure)).then_some("liveness")
    }
}

/// A digest of what a container is made from, kept with it in the runtime.
pub(crate) fn hash(spec: &ContainerSpec) -> String {
    // Probes and other fields may be defaulted differently by a newer server; the image is what can change
    // in a running pod (besides resources, which need no restart).
    let text = format!("{}\0{}", spec.name, spec.image.as_deref().unwrap_or_default());
    Sha256::digest(text.as_bytes())[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A changed container starts with a clean slate.
pub(crate) fn restart_key(spec: &ContainerSpec) -> String {
    format!("{}/{}", spec.name, hash(spec))
}
