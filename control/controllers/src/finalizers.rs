//! Taking a finalizer off an object.

use client::{HasMetadata, Object};
use serde_json::json;
use tracing::info;

use crate::context::Context;
use crate::driver::{Next, ReconcileError};

/// Takes `finalizer` off this very object, as it is known here.
pub(crate) async fn take_off<K: Object>(
    cx: &Context,
    object: &K,
    finalizer: &str,
) -> Result<Next, ReconcileError> {
    let meta = object.meta();
    let others: Vec<_> = meta.finalizers.iter().flatten().filter(|known| *known != finalizer).collect();
    let patch = json!({"metadata": {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "finalizers": others,
    }});
    match cx.client.merge_patch::<K>(&object.key(), &patch).await {
        Ok(_) => info!(kind = K::KIND, object = %object.key(), finalizer, "nothing uses it, so it may go"),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Next::Done)
}
