//! The ReplicaSet that a Deployment's template stands for: its name, its labels, its annotations.

use std::collections::BTreeMap;

use client::{HasMetadata, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Of the Deployment alone; never copied to its sets.
const OWN_ANNOTATIONS: &[&str] = &[LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX];
/// Letters that form no words, as in generated names.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many pods a rollout may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) replicas: i32,
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Bounds {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let Some(spec) = &deployment.spec else { return Self { replicas: 0, surge: 0, unavailable: 0 } };
        let replicas = spec.replicas.unwrap_or(1);
        if is_recreate(deployment) {
            return Self { replicas, surge: 0, unavailable: replicas };
        }
        let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|r| r.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = portion(surge, replicas, Rounding::Up);
        let unavailable = portion(unavailable, replicas, Rounding::Down);
        // Both zero would never move: validation forbids it as written, small percentages come here.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    /// The most pods at any time.
    pub(super) fn total(self) -> i32 {
        if self.replicas == 0 { 0 } else { self.replicas.saturating_add(self.surge) }
    }

    /// The fewest available pods at any time.
    pub(super) fn available(self) -> i32 {
        self.replicas - self.unavailable
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

fn portion(value: &IntOrString, of: i32, rounding: Rounding) -> i32 {
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredfold = percent * i64::from(of);
            let whole = match rounding {
                Rounding::Up => (hundredfold + 99) / 100,
                Rounding::Down => hundredfold / 100,
            };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

/// Whether the set was made from this template: equal but for the label that the controller adds.
pub(super) fn is_of_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let made_from = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    without_hash(made_from) == without_hash(template.clone())
}

fn without_hash(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
    template
}

/// 32-bit FNV-1a over the template's JSON and the count of collisions, spelled without words.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let json = serde_json::to_vec(&without_hash(template.clone())).unwrap_or_default();
    let collisions = if collisions == 0 { String::new() } else { collisions.to_string() };
    let bytes = json.iter().chain(collisions.as_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let digits = hash.to_string();
    let spelled = digits.bytes().map(|byte| char::from(SAFE[usize::from(byte) % SAFE.len()]));
    spelled.collect()
}

/// The set for the Deployment's present template.
pub(super) fn set_of(deployment: &Deployment, replicas: i32, revision: i64) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = copied_annotations(deployment);
    annotations.extend(size_annotations(Bounds::of(deployment)));
    annotations.insert(REVISION.to_owned(), revision.to_string());
    Some(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds.filter(|seconds| *seconds != 0),
            selector,
            template: Some(template),
        }),
        status: None,
    })
}

/// The annotations by which a later sync tells that the Deployment was scaled.
pub(super) fn size_annotations(bounds: Bounds) -> BTreeMap<String, String> {
    BTreeMap::from([
        (DESIRED.to_owned(), bounds.replicas.to_string()),
        (MAX.to_owned(), bounds.replicas.saturating_add(bounds.surge).to_string()),
    ])
}

fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let annotations = deployment.metadata.annotations.iter().flatten();
    let copied = annotations.filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str()));
    copied.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What the new set's annotations should be at `revision`; only those that differ.
pub(super) fn annotations_to_set(
    deployment: &Deployment,
    set: &ReplicaSet,
    revision: i64,
) -> BTreeMap<String, String> {
    let mut wanted = copied_annotations(deployment);
    let known = revision_of(set);
    if known < revision {
        wanted.insert(REVISION.to_owned(), revision.to_string());
        if known > 0 {
            let history = set.annotation(REVISION_HISTORY).filter(|history| !history.is_empty());
            let history = history.map_or(known.to_string(), |history| format!("{history},{known}"));
            wanted.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    wanted.retain(|name, value| set.annotation(name) != Some(value.as_str()));
    wanted
}

pub(super) fn revision_of<K: Object>(object: &K) -> i64 {
    object.annotation(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

pub(super) fn owner_reference(deployment: &Deployment) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: deployment.name().to_owned(),
        uid: deployment.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
