//! What ConfigMap, Secret, downward API and projected volumes hold: file names, bytes, modes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath,
    ProjectedVolumeSource, Secret, SecretVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use thiserror::Error;

use super::common_user;
use crate::desired::ObjectKey;
use crate::pods::{FieldPathError, Sources, lasting, pod_field, resource_field};
use crate::tokens::lifetime_seconds;

const DEFAULT_MODE: i32 = 0o644;

#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ContentError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("references non-existent {kind} key: {key}")]
    NoKey { kind: &'static str, key: String },
    #[error("{0}")]
    Field(#[from] FieldPathError),
    #[error("the container {0} does not exist")]
    NoContainer(String),
    #[error("the path {0} leaves the volume")]
    Path(String),
    #[error("failed to fetch token: {0}")]
    Token(String),
    #[error("a projected source has a type that this node cannot mount")]
    Unsupported,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileContent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    /// A user to whom it belongs, instead of root.
    pub(crate) owner: Option<u32>,
}

/// Relative paths and what is in them.
pub(crate) type Content = BTreeMap<String, FileContent>;
type Data = BTreeMap<String, Vec<u8>>;
type Answer = Result<Content, ContentError>;

pub(super) fn config_map(source: &ConfigMapVolumeSource, sources: &Sources<'_>) -> Answer {
    let found = sources.desired.config_maps.get(&ObjectKey::new(sources.namespace(), &source.name));
    let selection = Selection {
        kind: "config",
        items: source.items.as_deref(),
        mode: source.default_mode.unwrap_or(DEFAULT_MODE),
        optional: source.optional == Some(true),
    };
    selection.of("configmap", &source.name, found.map(|found| config_map_data(found)))
}

pub(super) fn secret(source: &SecretVolumeSource, sources: &Sources<'_>) -> Answer {
    let name = source.secret_name.as_deref().unwrap_or_default();
    let found = sources.desired.secrets.get(&ObjectKey::new(sources.namespace(), name));
    let selection = Selection {
        kind: "secret",
        items: source.items.as_deref(),
        mode: source.default_mode.unwrap_or(DEFAULT_MODE),
        optional: source.optional == Some(true),
    };
    selection.of("secret", name, found.map(|found| secret_data(found)))
}

pub(super) fn downward(source: &DownwardAPIVolumeSource, sources: &Sources<'_>) -> Answer {
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    downward_files(source.items.as_deref().unwrap_or_default(), mode, sources)
}

pub(super) fn projected(source: &ProjectedVolumeSource, sources: &Sources<'_>) -> Answer {
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    let mut all = Content::new();
    for part in source.sources.iter().flatten() {
        all.extend(projection(part, mode, sources)?);
    }
    Ok(all)
}

fn projection(part: &VolumeProjection, mode: i32, sources: &Sources<'_>) -> Answer {
    if let Some(source) = &part.config_map {
        let found = sources.desired.config_maps.get(&ObjectKey::new(sources.namespace(), &source.name));
        let optional = source.optional == Some(true);
        let selection = Selection { kind: "config", items: source.items.as_deref(), mode, optional };
        return selection.of("configmap", &source.name, found.map(|found| config_map_data(found)));
    }
    if let Some(source) = &part.secret {
        let found = sources.desired.secrets.get(&ObjectKey::new(sources.namespace(), &source.name));
        let optional = source.optional == Some(true);
        let selection = Selection { kind: "secret", items: source.items.as_deref(), mode, optional };
        return selection.of("secret", &source.name, found.map(|found| secret_data(found)));
    }
    if let Some(source) = &part.downward_api {
        return downward_files(source.items.as_deref().unwrap_or_default(), mode, sources);
    }
    if let Some(source) = &part.service_account_token {
        return token(source, mode, sources);
    }
    Err(ContentError::Unsupported)
}

/// Only those whom the pod names may read it: its one user, or the group of its volumes.
fn token(source: &ServiceAccountTokenProjection, mode: i32, sources: &Sources<'_>) -> Answer {
    let key = (source.audience.clone().unwrap_or_default(), lifetime_seconds(source));
    let token = match sources.tokens.get(&key) {
        Some(Ok(token)) => token,
        Some(Err(why)) => return Err(ContentError::Token(why.clone())),
        None => return Err(ContentError::Token("nobody asked for it".to_owned())),
    };
    let owner = common_user(sources.pod);
    let context = sources.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let has_group = context.is_some_and(|context| context.fs_group.is_some());
    let mode = if owner.is_some() || has_group { 0o600 } else { bits(mode) };
    let file = FileContent { bytes: token.clone().into_bytes(), mode, owner };
    Ok(Content::from([(inside(&source.path)?, file)]))
}

/// Which keys become which files.
struct Selection<'a> {
    /// As error messages name it.
    kind: &'static str,
    items: Option<&'a [KeyToPath]>,
    mode: i32,
    optional: bool,
}

impl Selection<'_> {
    fn of(&self, kind: &'static str, name: &str, data: Option<Data>) -> Answer {
        let Some(mut data) = data else {
            if self.optional {
                return Ok(Content::new());
            }
            return Err(ContentError::Missing { kind, name: name.to_owned() });
        };
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            let file = |bytes| FileContent { bytes, mode: bits(self.mode), owner: None };
            return Ok(data.into_iter().map(|(key, bytes)| (key, file(bytes))).collect());
        };
        let mut content = Content::new();
        for item in items {
            match data.remove(&item.key) {
                Some(bytes) => {
                    let mode = bits(item.mode.unwrap_or(self.mode));
                    content.insert(inside(&item.path)?, FileContent { bytes, mode, owner: None });
                }
                None if self.optional => {}
                None => return Err(ContentError::NoKey { kind: self.kind, key: item.key.clone() }),
            }
        }
        Ok(content)
    }
}

fn downward_files(items: &[DownwardAPIVolumeFile], mode: i32, sources: &Sources<'_>) -> Answer {
    let mut content = Content::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            pod_field(&field.field_path, sources)?
        } else if let Some(resource) = &item.resource_field_ref {
            let name = resource.container_name.as_deref().unwrap_or_default();
            let container = lasting(sources.pod).find(|container| container.name == name);
            let container = container.ok_or_else(|| ContentError::NoContainer(name.to_owned()))?;
            resource_field(resource, container, sources.allocatable)?
        } else {
            String::new()
        };
        let mode = bits(item.mode.unwrap_or(mode));
        content.insert(inside(&item.path)?, FileContent { bytes: text.into_bytes(), mode, owner: None });
    }
    Ok(content)
}

fn config_map_data(map: &ConfigMap) -> Data {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> Data {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

fn inside(path: &str) -> Result<String, ContentError> {
    let good = !path.is_empty()
        && !path.starts_with("..")
        && std::path::Path::new(path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
    if good { Ok(path.to_owned()) } else { Err(ContentError::Path(path.to_owned())) }
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o777
}
