//! What an object's owners and dependents call for: pure.

use std::sync::Arc;

use client::{HasMetadata, Partial};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::graph::Item;

/// The owner goes after what it owns.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The owner goes without what it owns.
pub(super) const ORPHAN: &str = "orphan";

/// All that a decision is made of.
pub(super) struct Seen {
    pub(super) object: Arc<Partial>,
    pub(super) owners: Vec<(OwnerReference, OwnerState)>,
    pub(super) dependents: Vec<(Item, Arc<Partial>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// There, or going without waiting for dependents.
    Solid,
    /// Waits for its dependents to go first.
    Waiting,
    Absent,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// By a propagation policy.
    Delete(&'static str),
    /// By uid.
    DropOwners(Vec<String>),
    RemoveFinalizer(&'static str),
    /// Takes the object out of a dependent's owners.
    Orphan(Item),
    /// It is the dependent's turn.
    Look(Item),
}

pub(super) fn plan(seen: &Seen) -> Vec<Action> {
    let object = &seen.object;
    if object.is_terminating() {
        return while_going(seen);
    }
    let in_state = |state: OwnerState| {
        let owners = seen.owners.iter().filter(move |(_, is)| *is == state);
        owners.map(|(owner, _)| owner.uid.clone()).collect::<Vec<_>>()
    };
    let (solid, waiting, absent) =
        (in_state(OwnerState::Solid), in_state(OwnerState::Waiting), in_state(OwnerState::Absent));
    if seen.owners.is_empty() {
        return Vec::new();
    }
    if !solid.is_empty() {
        let superfluous = [absent, waiting].concat();
        return if superfluous.is_empty() { Vec::new() } else { vec![Action::DropOwners(superfluous)] };
    }
    if !waiting.is_empty() && !seen.dependents.is_empty() {
        return vec![Action::Delete("Foreground")];
    }
    let policy = if object.has_finalizer(ORPHAN) {
        "Orphan"
    } else if object.has_finalizer(FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    };
    vec![Action::Delete(policy)]
}

fn while_going(seen: &Seen) -> Vec<Action> {
    let object = &seen.object;
    if object.has_finalizer(ORPHAN) {
        let mut actions: Vec<_> =
            seen.dependents.iter().map(|(item, _)| Action::Orphan(item.clone())).collect();
        actions.push(Action::RemoveFinalizer(ORPHAN));
        return actions;
    }
    if !object.has_finalizer(FOREGROUND) {
        return Vec::new();
    }
    let is_blocking = |dependent: &Partial| {
        let mut owners = dependent.owners().iter();
        owners.any(|owner| owner.uid == object.uid() && owner.block_owner_deletion == Some(true))
    };
    if !seen.dependents.iter().any(|(_, dependent)| is_blocking(dependent)) {
        return vec![Action::RemoveFinalizer(FOREGROUND)];
    }
    let staying = seen.dependents.iter().filter(|(_, dependent)| !dependent.is_terminating());
    staying.map(|(item, _)| Action::Look(item.clone())).collect()
}
