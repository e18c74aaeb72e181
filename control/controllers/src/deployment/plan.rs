//! What a Deployment needs: pure. One round does what can be decided from what is seen; the next one sees its effect.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::{HasMetadata, controller_of, selects};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::rollout;
use super::status;
use super::template::{self, Bounds};

/// All that a decision is made of.
pub(super) struct Seen {
    pub(super) deployment: Arc<Deployment>,
    /// Controlled by the Deployment, or by nobody and selected by it.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// Pods of other than the present template that have not ended, those that are going included.
    pub(super) old_pods: usize,
}

#[derive(Debug)]
pub(super) enum Action {
    Adopt(Arc<ReplicaSet>),
    Release(Arc<ReplicaSet>),
    Create(Box<ReplicaSet>),
    Scale {
        set: Arc<ReplicaSet>,
        to: i32,
        annotations: BTreeMap<String, String>,
    },
    Annotate {
        set: Arc<ReplicaSet>,
        annotations: BTreeMap<String, String>,
    },
    Forget(Arc<ReplicaSet>),
    /// With the revision to note on the Deployment, if it is another.
    Status {
        status: Box<DeploymentStatus>,
        revision: Option<i64>,
    },
    Again(Duration),
}

/// The sets of a Deployment, sorted out.
pub(super) struct Sets {
    /// Of the present template.
    pub(super) new: Option<Arc<ReplicaSet>>,
    /// Oldest first.
    pub(super) old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }
}

pub(super) fn plan(seen: &Seen, now: Timestamp) -> Vec<Action> {
    let deployment = &seen.deployment;
    let Some(spec) = &deployment.spec else { return Vec::new() };
    let mut actions = claims(seen);
    if !actions.is_empty() {
        return actions;
    }
    let sets = sort_out(seen);
    let mut noted = None;
    if !deployment.is_terminating() {
        let revision = sets.old.iter().map(|set| template::revision_of(&**set)).max().unwrap_or(0) + 1;
        let revision = sets.new.as_ref().map_or(revision, |new| revision.max(template::revision_of(&**new)));
        let is_paused = spec.paused == Some(true);
        let is_recreate = template::is_recreate(deployment);
        let steps = if is_paused || (!is_recreate && is_scaling(&sets, deployment)) {
            rollout::scale(&sets, deployment)
        } else if is_recreate {
            rollout::recreate(&sets, deployment, seen.old_pods, revision)
        } else {
            rollout::roll(&sets, deployment, revision)
        };
        let moves = !steps.is_empty();
        let (mark, to_note) = revisions(&sets, deployment, revision, &steps);
        noted = to_note;
        actions.extend(mark);
        actions.extend(steps);
        if !moves && (is_paused || status::is_complete(deployment, &sets)) {
            actions.extend(outdated(&sets, spec.revision_history_limit.unwrap_or(10)));
        }
    }
    let creates = actions.iter().find_map(|action| match action {
        Action::Create(set) => Some(set.name().to_owned()),
        _ => None,
    });
    let (status, again) = status::status(deployment, &sets, creates.as_deref(), now);
    if deployment.status.as_ref() != Some(&status) || noted.is_some() {
        actions.push(Action::Status { status: Box::new(status), revision: noted });
    }
    actions.extend(again.map(Action::Again));
    actions
}

/// Sets to take on or to let go. Nothing else is decided before that is done.
fn claims(seen: &Seen) -> Vec<Action> {
    let deployment = &seen.deployment;
    let Some(spec) = &deployment.spec else { return Vec::new() };
    if deployment.is_terminating() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    for set in &seen.sets {
        let selected = selects(&spec.selector, set.metadata.labels.as_ref());
        match controller_of(&**set) {
            Some(_) if !selected => actions.push(Action::Release(set.clone())),
            None if selected && !set.is_terminating() => actions.push(Action::Adopt(set.clone())),
            Some(_) | None => {}
        }
    }
    actions
}

/// By the template, the oldest of equal ones being the new set.
fn sort_out(seen: &Seen) -> Sets {
    let mut old: Vec<_> = seen.sets.iter().filter(|set| controller_of(&***set).is_some()).cloned().collect();
    old.sort_by_key(|set| (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.key()));
    let template = seen.deployment.spec.as_ref().map(|spec| &spec.template);
    let new =
        old.iter().position(|set| template.is_some_and(|template| template::is_of_template(set, template)));
    let new = new.map(|position| old.remove(position));
    Sets { new, old }
}

/// The Deployment was scaled since its sets were last sized.
fn is_scaling(sets: &Sets, deployment: &Deployment) -> bool {
    let wanted = Bounds::of(deployment).replicas.to_string();
    let mut active = sets.all().filter(|set| size(set) > 0);
    active.any(|set| set.annotation(template::DESIRED).is_some_and(|desired| desired != wanted))
}

/// The present template's set carries the highest revision, and so does the Deployment.
fn revisions(
    sets: &Sets,
    deployment: &Deployment,
    revision: i64,
    steps: &[Action],
) -> (Option<Action>, Option<i64>) {
    let mut mark = None;
    if let Some(new) = &sets.new {
        let annotations = template::annotations_to_set(deployment, new, revision);
        // A step that writes the same set carries its own; the next round does the rest.
        let is_written =
            steps.iter().any(|step| matches!(step, Action::Scale { set, .. } if set.key() == new.key()));
        if !annotations.is_empty() && !is_written {
            mark = Some(Action::Annotate { set: new.clone(), annotations });
        }
    }
    let is_known = sets.new.is_some() || steps.iter().any(|step| matches!(step, Action::Create(_)));
    let is_new = is_known && template::revision_of(deployment) != revision;
    (mark, is_new.then_some(revision))
}

/// Old sets beyond the history limit, the oldest revisions first.
fn outdated(sets: &Sets, limit: i32) -> Vec<Action> {
    let is_idle = |set: &&Arc<ReplicaSet>| {
        let status = set.status.as_ref();
        size(set) == 0
            && status.is_some_and(|status| {
                status.replicas == 0 && status.observed_generation >= set.metadata.generation
            })
            && !set.is_terminating()
    };
    let mut idle: Vec<_> = sets.old.iter().filter(is_idle).cloned().collect();
    let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    idle.sort_by_key(|set| Reverse(template::revision_of(&**set)));
    idle.into_iter().rev().take(surplus).map(Action::Forget).collect()
}

/// How many pods the set is to have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many available pods may be counted on: never more than the set is to keep.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    let counted = set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    counted.min(size(set))
}
