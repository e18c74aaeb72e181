//! Looks, once users ask for nothing new, whether everything has come to be as it was asked for.

use std::time::Duration;

use store::{Store, StoreError};
use tokio::time::sleep;

use crate::check::kubernetes::lacking;
use crate::history::Change;
use crate::sim::client::{Seat, everything_below};
use crate::sim::world::{Phase, lock};

const LOOK_EVERY: Duration = Duration::from_millis(150);

/// What is looked at.
const RESOURCES: [&str; 4] = ["deployments", "namespaces", "pods", "replicasets"];

/// Tells the world what is lacking still; nothing while that cannot be seen.
pub(super) async fn look_on(seat: Seat) {
    seat.world.wait_for(Phase::Settle).await;
    loop {
        let seen = look(&seat.store).await.ok();
        *lock(&seat.world.lacking) = seen.map(|changes| lacking(changes.iter()));
        sleep(LOOK_EVERY).await;
    }
}

/// All at one revision.
async fn look(store: &Store) -> Result<Vec<Change>, StoreError> {
    let mut seen = Vec::new();
    let mut at = None;
    for resource in RESOURCES {
        let (revision, kvs) = everything_below(store, &format!("/registry/{resource}/"), at).await?;
        at = Some(at.unwrap_or(revision));
        seen.extend(kvs.into_iter().map(|kv| Change::Put { kv }));
    }
    Ok(seen)
}
