//! What a volume of a pod really is: through its claim to the PersistentVolume that it is bound to. Pure.

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, LocalVolumeSource, NFSVolumeSource, PersistentVolume, PersistentVolumeClaim, Volume,
};
use thiserror::Error;

use crate::desired::ObjectKey;
use crate::pods::Sources;

/// Why a claim gives no volume; the words are the kubelet's.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("error processing PVC {claim}: {why}")]
pub(crate) struct ClaimError {
    claim: ObjectKey,
    why: String,
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// In the pod's own folder, as the volume itself says.
    InPod,
    HostPath {
        name: &'a str,
        source: &'a HostPathVolumeSource,
        read_only: bool,
    },
    Local {
        name: &'a str,
        source: &'a LocalVolumeSource,
        read_only: bool,
        is_device: bool,
    },
    Nfs {
        name: &'a str,
        source: &'a NFSVolumeSource,
        options: &'a [String],
        read_only: bool,
    },
    /// A PersistentVolume of a type that this node cannot mount.
    Unknown {
        name: &'a str,
    },
}

impl<'a> Found<'a> {
    /// As events and folders call it.
    pub(super) fn name(&self, volume: &'a Volume) -> &'a str {
        match self {
            Self::InPod => &volume.name,
            Self::HostPath { name, .. }
            | Self::Local { name, .. }
            | Self::Nfs { name, .. }
            | Self::Unknown { name } => name,
        }
    }
}

pub(super) fn find<'a>(volume: &'a Volume, sources: &Sources<'a>) -> Result<Found<'a>, ClaimError> {
    let name = volume.name.as_str();
    if let Some(source) = &volume.host_path {
        return Ok(Found::HostPath { name, source, read_only: false });
    }
    if let Some(source) = &volume.nfs {
        let read_only = source.read_only == Some(true);
        return Ok(Found::Nfs { name, source, options: &[], read_only });
    }
    if let Some(source) = &volume.persistent_volume_claim {
        return claimed(&source.claim_name, source.read_only == Some(true), sources);
    }
    if volume.ephemeral.is_some() {
        let pod = sources.pod.metadata.name.as_deref().unwrap_or_default();
        return claimed(&format!("{pod}-{name}"), false, sources);
    }
    Ok(Found::InPod)
}

fn claimed<'a>(name: &str, read_only: bool, sources: &Sources<'a>) -> Result<Found<'a>, ClaimError> {
    let key = ObjectKey::new(sources.namespace(), name);
    let refused = |why: String| ClaimError { claim: key.clone(), why };
    let Some(claim) = sources.desired.claims.get(&key) else {
        return Err(refused(format!(
            "failed to fetch PVC from API server: persistentvolumeclaims {name:?} not found"
        )));
    };
    let bound_to = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if phase != "Bound" || bound_to.is_empty() {
        return Err(refused(format!(
            "PVC {key} has non-bound phase ({phase:?}) or empty pvc.Spec.VolumeName ({bound_to:?})"
        )));
    }
    let Some(volume) = sources.desired.volumes.get(&ObjectKey::new("", bound_to)) else {
        return Err(refused(format!(
            "failed to find PV {bound_to:?}: persistentvolumes {bound_to:?} not found"
        )));
    };
    check_bound(bound_to, volume, claim).map_err(refused)?;
    Ok(of(volume, read_only))
}

fn check_bound(name: &str, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name:?} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    let (bound, own) = (reference.uid.as_deref(), claim.metadata.uid.as_deref());
    if bound != own {
        return Err(format!(
            "found PV object {name:?} but its pv.Spec.ClaimRef.UID {:?} does not point to claim.UID {:?}",
            bound.unwrap_or_default(),
            own.unwrap_or_default()
        ));
    }
    Ok(())
}

fn of(volume: &PersistentVolume, read_only: bool) -> Found<'_> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(spec) = &volume.spec else { return Found::Unknown { name } };
    let is_device = spec.volume_mode.as_deref() == Some("Block");
    if let Some(source) = &spec.local {
        return Found::Local { name, source, read_only, is_device };
    }
    if is_device {
        return Found::Unknown { name };
    }
    if let Some(source) = &spec.host_path {
        return Found::HostPath { name, source, read_only };
    }
    match &spec.nfs {
        Some(source) => Found::Nfs {
            name,
            source,
            options: spec.mount_options.as_deref().unwrap_or_default(),
            read_only: read_only || source.read_only == Some(true),
        },
        None => Found::Unknown { name },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::desired::Desired;
    use crate::pods::Allocatable;
    use crate::tokens::PodTokens;

    fn check(claim: Option<Value>, volume: Option<Value>, expected: Expect) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"containers": [], "volumes": [
                {"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}},
            ]},
        }))
        .unwrap();
        let mut desired = Desired::default();
        if let Some(claim) = claim {
            desired
                .claims
                .insert(ObjectKey::new("ns", "c"), Arc::new(serde_json::from_value(claim).unwrap()));
        }
        if let Some(volume) = volume {
            desired
                .volumes
                .insert(ObjectKey::new("", "pv"), Arc::new(serde_json::from_value(volume).unwrap()));
        }
        let sources = Sources {
            pod: &pod,
            desired: &desired,
            node_name: "n",
            node_ip: "",
            pod_ip: "",
            allocatable: &Allocatable::new(),
            tokens: &PodTokens::new(),
        };
        let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        let text = match find(volume, &sources) {
            Ok(found) => format!("{found:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    }

    fn bound() -> Option<Value> {
        Some(json!({"metadata": {"uid": "1"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}))
    }

    fn volume(source: &str, of: Value) -> Option<Value> {
        let mut volume = json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"uid": "1"}}});
        volume["spec"][source] = of;
        Some(volume)
    }

    #[test]
    fn a_claim_leads_to_its_volume() {
        check(
            bound(),
            volume("local", json!({"path": "/disk"})),
            expect![[
                r#"Local { name: "pv", source: LocalVolumeSource { fs_type: None, path: "/disk" }, read_only: true, is_device: false }"#
            ]],
        );
        check(
            bound(),
            volume("csi", json!({"driver": "d", "volumeHandle": "h"})),
            expect![[r#"Unknown { name: "pv" }"#]],
        );
    }

    #[test]
    fn what_is_wrong_with_a_claim_is_named() {
        check(
            None,
            None,
            expect![[
                r#"error processing PVC ns/c: failed to fetch PVC from API server: persistentvolumeclaims "c" not found"#
            ]],
        );
        let pending = json!({"spec": {}, "status": {"phase": "Pending"}});
        check(
            Some(pending),
            None,
            expect![[
                r#"error processing PVC ns/c: PVC ns/c has non-bound phase ("Pending") or empty pvc.Spec.VolumeName ("")"#
            ]],
        );
        check(
            bound(),
            None,
            expect![[
                r#"error processing PVC ns/c: failed to find PV "pv": persistentvolumes "pv" not found"#
            ]],
        );
        let other = json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"uid": "2"}}});
        check(
            bound(),
            Some(other),
            expect![[
                r#"error processing PVC ns/c: found PV object "pv" but its pv.Spec.ClaimRef.UID "2" does not point to claim.UID "1""#
            ]],
        );
        let loose = json!({"metadata": {"name": "pv"}, "spec": {}});
        check(
            bound(),
            Some(loose),
            expect![[
                r#"error processing PVC ns/c: found PV object "pv" but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"#
            ]],
        );
    }
}
