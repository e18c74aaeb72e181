//! A fence: a write that lands only while its sender still holds a lease key.
//!
//! The epoch of a holder is the revision that created the key. A key that is deleted and made again has another one,
//! for ever, so a sender that was away while its key went to somebody else can never pass again.

use base::Revision;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::newest::Newest;
use super::tables::View;
use super::txn::Stop;
use crate::error::StoreError;
use crate::seeded::{self, Bug};

/// How much of the key and of the holder's value a refusal repeats.
const SHOWN_CHARS_MAX: usize = 100;

/// What the sender of a write holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The key that stands for the leadership, usually attached to a lease.
    pub key: Bytes,
    /// The revision that created the key for this holder.
    pub epoch: Revision,
}

/// Refuses when somebody else, or nobody, holds the key at `at`.
pub(crate) fn check(newest: &mut Newest, view: &dyn View, fence: &Fence, at: Revision) -> Result<(), Stop> {
    let held = newest.get(view, &fence.key, at)?.map(|(_, version)| version);
    match held {
        Some(held) if held.create_revision == fence.epoch => Ok(()),
        _ if seeded::is(Bug::FenceUnchecked) => Ok(()),
        held => Err(Stop::Refused(StoreError::Fenced {
            key: shown(&fence.key),
            epoch: fence.epoch,
            holder: match held {
                Some(held) => format!("{:?} (epoch {})", shown(&held.value), held.create_revision),
                None => "nobody".to_owned(),
            },
        })),
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(SHOWN_CHARS_MAX).collect()
}
