//! StorageObjectInUseProtection: volumes and claims get a finalizer, which a controller takes off when nothing uses them.

use kinds::meta;
use kinds::storage::protection::finalizer;
use serde_json::json;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin =
    Plugin { name: "StorageObjectInUseProtection", admit: Admit::Object(admit) };

fn admit(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    let kind = attempt.call.kind;
    let Some(finalizer) = finalizer(kind).filter(|_| attempt.is_create()) else { return Ok(()) };
    let mut finalizers = meta::finalizers(attempt.object);
    if !finalizers.contains(&finalizer) {
        finalizers.push(finalizer);
        let finalizers = json!(finalizers);
        meta::set(attempt.object, "finalizers", finalizers);
    }
    Ok(())
}
