//! Lets a volume go that is being deleted when no claim has it any more.

use client::{HasMetadata, ObjectKey};
use k8s_openapi::api::core::v1::PersistentVolume;
use kinds::storage::protection::VOLUME_FINALIZER;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::finalizers::take_off;

pub(crate) struct VolumeProtectionController;

impl Controller for VolumeProtectionController {
    type Kind = PersistentVolume;
    const NAME: &'static str = "persistentvolume-protection-controller";

    fn new(_: &Shared) -> Self {
        Self
    }

    fn watches() -> Watches {
        Watches::of::<PersistentVolume>()
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(volume) = cx.cache::<PersistentVolume>().get(key) else { return Ok(Next::Done) };
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let may_go = volume.is_terminating() && phase != Some("Bound");
        if !may_go || !volume.has_finalizer(VOLUME_FINALIZER) {
            return Ok(Next::Done);
        }
        // If a claim was given it meanwhile, it has another resourceVersion.
        take_off(cx, &*volume, VOLUME_FINALIZER).await
    }
}
