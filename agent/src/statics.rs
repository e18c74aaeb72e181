//! Pods that the node runs from files in a folder, with or without a control plane.
//!
//! They join what the control plane wants of the node, and what is told of them is told of their mirrors: pods of
//! the API that only show them. A mirror that somebody deletes comes back as long as its file is there.

mod manifest;
mod mirror;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::desired::{Desired, PodKey, Report, ReportInbox, Reports};
use crate::logs::changes::Changes;

pub(crate) use manifest::is_static;
pub(crate) use mirror::SOURCE;

/// The mirrors are compared with what the API has this often.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// A file that is larger is no pod.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// What the rest of the agent is given instead of the gateway's own.
pub(crate) struct Joined {
    pub(crate) desired: watch::Receiver<Arc<Desired>>,
    pub(crate) reports: Reports,
}

/// Runs the pods of `folder` beside those of the control plane.
pub(crate) fn start(
    node: &str,
    folder: PathBuf,
    wanted: watch::Receiver<Arc<Desired>>,
    out: Reports,
    tasks: &Tasks,
) -> Joined {
    if let Err(error) = std::fs::create_dir_all(&folder) {
        warn!(%error, folder = %folder.display(), "cannot make the folder of static pods");
    }
    let (joined, desired) = Desired::channel();
    let (reports, inbox) = Reports::channel();
    let statics = Statics {
        node: node.to_owned(),
        folder,
        wanted,
        joined,
        inbox,
        out,
        pods: BTreeMap::new(),
        told: BTreeMap::new(),
        complaints: BTreeMap::new(),
    };
    tasks.spawn_infallible("static pods", statics.run(tasks.stop().clone()));
    Joined { desired, reports }
}

struct Statics {
    node: String,
    folder: PathBuf,
    wanted: watch::Receiver<Arc<Desired>>,
    joined: watch::Sender<Arc<Desired>>,
    inbox: ReportInbox,
    out: Reports,
    /// Those of the folder.
    pods: BTreeMap<PodKey, Arc<Pod>>,
    /// What was last told of each, by its own uid.
    told: BTreeMap<String, PodStatus>,
    /// What is wrong with a file, told once.
    complaints: BTreeMap<PathBuf, String>,
}

impl Statics {
    async fn run(mut self, stop: CancellationToken) {
        let mut changes = Changes::watch(&self.folder);
        let mut compare = tokio::time::interval(COMPARE_EVERY);
        self.read();
        self.join().await;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(report) = self.inbox.next() => self.pass_on(report).await,
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.join().await,
                    // No gateway client any more: the agent is stopping.
                    Err(_) => return,
                },
                () = changes.next() => if self.read() {
                    self.join().await;
                },
                _ = compare.tick() => self.compare().await,
            }
        }
    }

    /// True when the folder does not hold what it held.
    fn read(&mut self) -> bool {
        let mut found = BTreeMap::new();
        let mut complaints = BTreeMap::new();
        for path in files(&self.folder) {
            match read_one(&self.node, &path) {
                Ok(pod) => {
                    let part = |value: &Option<String>| value.clone().unwrap_or_default();
                    let key = PodKey::new(part(&pod.metadata.namespace), part(&pod.metadata.name));
                    found.insert(key, Arc::new(pod));
                }
                Err(problem) => {
                    if self.complaints.get(&path) != Some(&problem) {
                        warn!(file = %path.display(), %problem, "a file holds no pod that this node could run");
                    }
                    complaints.insert(path, problem);
                }
            }
        }
        self.complaints = complaints;
        let uids = |pods: &BTreeMap<PodKey, Arc<Pod>>| {
            pods.values().map(|pod| pod.metadata.uid.clone()).collect::<Vec<_>>()
        };
        let changed = uids(&found) != uids(&self.pods);
        if changed {
            info!(pods = found.len(), "the folder of static pods has changed");
            // A pod that did not change stays the same one to whoever compares.
            for (key, pod) in &mut found {
                if let Some(known) = self.pods.get(key).filter(|known| known.metadata.uid == pod.metadata.uid)
                {
                    *pod = known.clone();
                }
            }
            self.told.retain(|uid, _| found.values().any(|pod| pod.metadata.uid.as_ref() == Some(uid)));
            self.pods = found;
        }
        changed
    }

    /// Gives the rest of the agent what it is to run now.
    async fn join(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let mut joined = Desired::clone(&wanted);
        joined.pods.retain(|_, pod| !mirror::is_mirror(pod));
        for (key, pod) in &self.pods {
            joined.pods.insert(key.clone(), pod.clone());
        }
        self.joined.send_replace(Arc::new(joined));
        self.compare().await;
    }

    /// Asks for the mirrors that are missing, lets those go that are being deleted, and tells anew what may have
    /// been told before there was a mirror.
    async fn compare(&mut self) {
        let wanted = self.wanted.borrow().clone();
        if !wanted.synced {
            return;
        }
        let mirrors = wanted.pods.iter().filter(|(_, pod)| mirror::is_mirror(pod));
        let mut present = BTreeMap::new();
        for (key, pod) in mirrors {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                self.out.pod_terminated(key, &uid).await;
            } else {
                present.insert(key.clone(), mirror::hash(pod).to_owned());
            }
        }
        let own: BTreeMap<PodKey, String> =
            self.pods.iter().map(|(key, pod)| (key.clone(), mirror::hash(pod).to_owned())).collect();
        if own != present {
            self.out.mirrors(self.pods.values().map(|pod| mirror::of(pod)).collect()).await;
        }
        for (key, pod) in &self.pods {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let shown = wanted.pods.get(key).filter(|shown| mirror::shows(shown, pod));
            if let (Some(shown), Some(status)) = (shown, self.told.get(&uid))
                && shown.status.as_ref().and_then(|shown| shown.phase.as_ref()) != status.phase.as_ref()
            {
                self.out
                    .pod_status(key, shown.metadata.uid.as_deref().unwrap_or_default(), status.clone())
                    .await;
            }
        }
    }

    /// What is told of a static pod is told of its mirror, once there is one.
    async fn pass_on(&mut self, report: Report) {
        match report {
            Report::PodStatus { key, uid, status } => match self.mirror_of(&key, &uid) {
                None => self.out.pod_status(&key, &uid, *status).await,
                Some(mirror) => {
                    self.told.insert(uid, PodStatus::clone(&status));
                    if let Some(mirror) = mirror {
                        self.out.pod_status(&key, &mirror, *status).await;
                    }
                }
            },
            Report::PodTerminated { key, uid } => {
                self.told.remove(&uid);
                if self.mirror_of(&key, &uid).is_none() {
                    self.out.pod_terminated(&key, &uid).await;
                }
            }
            Report::Event(mut event) => {
                let about = &mut event.involved_object;
                let part = |value: &Option<String>| value.clone().unwrap_or_default();
                let key = PodKey::new(part(&about.namespace), part(&about.name));
                if let Some(Some(mirror)) = self.mirror_of(&key, &part(&about.uid)) {
                    about.uid = Some(mirror);
                }
                self.out.event(*event).await;
            }
            Report::Node { status, labels } => self.out.node(*status, labels).await,
            Report::Mirrors(pods) => self.out.mirrors(pods).await,
        }
    }

    /// `None` for a pod of the API; for a static one the uid of its mirror, if it has one.
    fn mirror_of(&self, key: &PodKey, uid: &str) -> Option<Option<String>> {
        let own = self.pods.get(key).filter(|own| own.metadata.uid.as_deref() == Some(uid))?;
        let wanted = self.wanted.borrow();
        let shown = wanted.pods.get(key).filter(|shown| mirror::shows(shown, own));
        Some(shown.and_then(|shown| shown.metadata.uid.clone()))
    }
}

/// The files that may hold pods; hidden ones are somebody's drafts.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn read_one(node: &str, path: &Path) -> Result<Pod, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes, at most {FILE_BYTES_MAX} are read"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    manifest::parse(node, &text).map_err(|error| crate::causes::in_full(&error))
}

#[cfg(test)]
mod tests;
