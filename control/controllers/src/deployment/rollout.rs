//! How the sets' sizes move: rolling, all at once, or in proportion. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use client::HasMetadata;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::plan::{Action, Sets, available, size};
use super::template::{self, Bounds};

/// Grows the new set within the surge, and only when that is done shrinks the old ones within what may be unavailable.
pub(super) fn roll(sets: &Sets, deployment: &Deployment, revision: i64) -> Vec<Action> {
    let bounds = Bounds::of(deployment);
    let Some(new) = &sets.new else {
        let created = template::set_of(deployment, room_for_new(sets, 0, bounds), revision);
        return created.map(|set| Action::Create(Box::new(set))).into_iter().collect();
    };
    let wanted = match size(new) {
        now if now > bounds.replicas => bounds.replicas,
        now => now + room_for_new(sets, now, bounds),
    };
    if let Some(step) = resize(new, wanted, bounds) {
        return vec![step];
    }
    shrink_old(sets, new, bounds)
}

/// By how much the new set, now of `size`, may grow.
fn room_for_new(sets: &Sets, size: i32, bounds: Bounds) -> i32 {
    let total = sets.old.iter().map(|set| super::plan::size(set)).sum::<i32>() + size;
    let room = bounds.total() - total;
    room.min(bounds.replicas - size).max(0)
}

fn shrink_old(sets: &Sets, new: &ReplicaSet, bounds: Bounds) -> Vec<Action> {
    let total: i32 = sets.all().map(|set| size(set)).sum();
    let new_unavailable = size(new) - available(new);
    let most = total - bounds.available() - new_unavailable;
    if most <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = sets.old.iter().map(|set| size(set)).collect();
    // What is not available serves nobody: it goes first.
    let mut left = most;
    for (set, wanted) in sets.old.iter().zip(&mut sizes) {
        let step = (*wanted - available(set)).min(left).max(0);
        *wanted -= step;
        left -= step;
    }
    let usable: i32 = sets.all().map(|set| available(set)).sum();
    let mut left = usable - bounds.available();
    for wanted in &mut sizes {
        let step = (*wanted).min(left).max(0);
        *wanted -= step;
        left -= step;
    }
    let pairs = sets.old.iter().zip(sizes);
    pairs
        .filter_map(|(set, wanted)| (wanted != size(set)).then(|| resize(set, wanted, bounds)).flatten())
        .collect()
}

/// Nothing new before the last old pod is gone.
pub(super) fn recreate(sets: &Sets, deployment: &Deployment, old_pods: usize, revision: i64) -> Vec<Action> {
    let bounds = Bounds::of(deployment);
    let shrinking: Vec<_> =
        sets.old.iter().filter(|set| size(set) > 0).filter_map(|set| resize(set, 0, bounds)).collect();
    if !shrinking.is_empty() || old_pods > 0 {
        return shrinking;
    }
    match &sets.new {
        Some(new) => resize(new, bounds.replicas, bounds).into_iter().collect(),
        None => {
            let created = template::set_of(deployment, bounds.replicas, revision);
            created.map(|set| Action::Create(Box::new(set))).into_iter().collect()
        }
    }
}

/// Follows a changed number of replicas without rolling further: in proportion when several sets have pods.
pub(super) fn scale(sets: &Sets, deployment: &Deployment) -> Vec<Action> {
    let bounds = Bounds::of(deployment);
    let active: Vec<_> = sets.all().filter(|set| size(set) > 0).cloned().collect();
    let only = match active.as_slice() {
        [] => sets.new.as_ref().or_else(|| sets.old.last()),
        [one] => Some(one),
        _ => None,
    };
    if let Some(only) = only {
        return resize(only, bounds.replicas, bounds).into_iter().collect();
    }
    let is_saturated = sets.new.as_ref().is_some_and(|new| {
        let desired = new.annotation(template::DESIRED).and_then(|desired| desired.parse().ok());
        size(new) == bounds.replicas && desired == Some(bounds.replicas) && available(new) == bounds.replicas
    });
    if is_saturated {
        let old = sets.old.iter().filter(|set| size(set) > 0);
        return old.filter_map(|set| resize(set, 0, bounds)).collect();
    }
    if template::is_recreate(deployment) {
        return Vec::new();
    }
    in_proportion(active, bounds)
}

fn in_proportion(mut active: Vec<Arc<ReplicaSet>>, bounds: Bounds) -> Vec<Action> {
    let total: i32 = active.iter().map(|set| size(set)).sum();
    let mut left = bounds.total() - total;
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    if left > 0 {
        active.sort_by_key(|set| (Reverse(size(set)), Reverse(created(set))));
    } else {
        active.sort_by_key(|set| (Reverse(size(set)), created(set)));
    }
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let step = share(set, bounds, left);
        left -= step;
        sizes.push(size(set) + step);
    }
    // Rounding leaves some over: the largest takes it.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + left).max(0);
    }
    active.iter().zip(sizes).filter_map(|(set, wanted)| resize(set, wanted, bounds)).collect()
}

/// The set's part of `left`, from what it was sized for.
fn share(set: &ReplicaSet, bounds: Bounds, left: i32) -> i32 {
    let max = set.annotation(template::MAX).and_then(|max| max.parse::<i32>().ok());
    let sized_for = max.filter(|max| *max > 0).unwrap_or(bounds.replicas).max(1);
    let ideal = (f64::from(size(set)) * f64::from(bounds.total()) / f64::from(sized_for)).round();
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and sizes are small")]
    let step = ideal as i32 - size(set);
    if left > 0 { step.clamp(0, left) } else { step.clamp(left.min(0), 0) }
}

/// A step when the size, or what the set remembers of the Deployment's size, is another.
fn resize(set: &Arc<ReplicaSet>, to: i32, bounds: Bounds) -> Option<Action> {
    let mut annotations = template::size_annotations(bounds);
    annotations.retain(|name, value| set.annotation(name) != Some(value.as_str()));
    if size(set) != to {
        return Some(Action::Scale { set: set.clone(), to, annotations });
    }
    let set = set.clone();
    (!annotations.is_empty()).then_some(Action::Annotate { set, annotations })
}
