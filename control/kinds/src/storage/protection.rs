//! What keeps volumes and claims from going while they are in use.

use crate::Kind;

pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// The finalizer of a kind whose objects are protected.
pub fn finalizer(kind: &Kind) -> Option<&'static str> {
    match (kind.group, kind.kind) {
        ("", "PersistentVolume") => Some(VOLUME_FINALIZER),
        ("", "PersistentVolumeClaim") => Some(CLAIM_FINALIZER),
        _ => None,
    }
}
