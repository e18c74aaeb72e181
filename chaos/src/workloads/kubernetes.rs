//! Work for the Kubernetes API: objects that many write at once, Deployments that controllers must follow, and leaders
//! whose writes are fenced. Every fourth worker roams over the API servers.

mod deployments;
mod fenced;
mod objects;

use base::Tasks;

use super::{Arena, Share, Shift, Worker, Workload, nothing};
use crate::client::Api;
use crate::dice::Dice;

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
    start: |arena, share, tasks| start("objects", arena, share, tasks, objects::Editor::new),
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
    let count = arena.apis.len() as u64;
    for number in 0..share.workers {
        let at = |at: u64| arena.apis.get(usize::try_from(at % count.max(1)).unwrap_or(0)).cloned();
        let Some(target) = at(number) else { return };
        let api = Api::new(arena.recorder.clone(), target, name, arena.deadline);
        let worker = make(number, Dice::of(arena.seed, name, number));
        let shift = Shift::new(arena, share, number);
        tasks.spawn_infallible(
            format!("{name} {number}"),
            shift.work(worker, api, |arena, dice, api| {
                let others: Vec<_> =
                    arena.apis.iter().filter(|target| target.member != api.member()).collect();
                if let Some(target) = dice.pick(&others) {
                    api.turn_to((*target).clone());
                }
            }),
        );
    }
}
