//! Work for the Kubernetes API: objects that many write at once, Deployments that controllers must follow, and leaders
//! whose writes are fenced. Every fourth worker roams over the API servers.

mod deployments;
mod fenced;
mod objects;
mod watches;

pub(crate) use deployments::deployment;

use base::Tasks;

use super::{Arena, Share, Shift, Worker, Workload, nothing};
use crate::client::Api;
use crate::dice::Dice;

pub(super) const WATCHES: Workload = watches::WORKLOAD;

pub(super) const OBJECTS: Workload = Workload {
    name: "objects",
    about: "ConfigMaps that all workers create, update under a resourceVersion, patch, delete and read",
    tests: &[
        "object-kept",
        "object-refused",
        "object-once",
        "object-compared",
        "object-patched",
        "object-current",
        "object-identity",
    ],
    prepare: nothing,
    final_reads: nothing,
    start: |arena, share, tasks| {
        let editor = |number, dice| objects::Editor::new(number, dice, &arena.namespace);
        start("objects", arena, share, tasks, editor);
    },
};

pub(super) const DEPLOYMENTS: Workload = Workload {
    name: "deployments",
    about: "Deployments that are created, scaled, rolled and deleted, faster than they can follow",
    tests: &[
        "object-kept",
        "object-once",
        "pod-bound-once",
        "pod-addresses",
        "rollout-surge",
        "rollout-available",
        "replica-excess",
        "rollout-settled",
        "node-requests",
        "owner-garbage",
        "observed-generation",
        "fence-epochs",
        "fence-landed",
    ],
    prepare: nothing,
    final_reads: nothing,
    start: |arena, share, tasks| start("deployments", arena, share, tasks, deployments::Deployer::new),
};

pub(super) const FENCED: Workload = Workload {
    name: "fenced",
    about: "candidates for one Lease; who leads writes under its fence, and sometimes when it leads no longer",
    tests: &["object-fenced", "fence-epochs"],
    prepare: nothing,
    final_reads: nothing,
    start: |arena, share, tasks| start("fenced", arena, share, tasks, fenced::Candidate::new),
};

/// Starts the workers; none, where there is no Kubernetes API.
fn start<W: Worker<Api>>(
    name: &'static str,
    arena: &Arena,
    share: Share,
    tasks: &Tasks,
    make: impl Fn(u64, Dice) -> W,
) {
    for number in 0..share.workers {
        let Some(target) = arena.api(number).cloned() else { return };
        let api = Api::new(arena.recorder.clone(), target, name, arena.deadline);
        let worker = make(number, Dice::of(arena.seed, name, number));
        let shift = Shift::new(arena, share, number);
        tasks.spawn_infallible(
            format!("{name} {number}"),
            shift.work(worker, api, |arena, dice, api| {
                if let Some(target) = arena.another_api(api.member(), dice) {
                    api.turn_to(target.clone());
                }
            }),
        );
    }
}
