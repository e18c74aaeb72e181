//! Discovery as it was before aggregation: a document per group and one per version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinds::{Kind, Registry};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::aggregated::verbs;
use crate::server::Shared;

/// `/api` and `/apis`.
pub(super) fn groups(server: &Shared, path: &str) -> Value {
    if path == "/api" {
        return json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server.address}],
        });
    }
    let groups: Vec<Value> = server
        .registry
        .groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| description(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/api/v1`, `/apis/<group>` and `/apis/<group>/<version>`; none for what is not served.
pub(super) fn below(server: &Shared, path: &str) -> Option<Value> {
    let mut segments = path.split('/').skip(1);
    let root = segments.next()?;
    let (group, version) = match root {
        "api" => ("", segments.next()),
        "apis" => (segments.next()?, segments.next()),
        _ => return None,
    };
    if segments.next().is_some() || (root == "apis" && group.is_empty()) {
        return None;
    }
    let (_, versions) = server.registry.groups().into_iter().find(|(known, _)| *known == group)?;
    match version {
        Some(version) => {
            let version = versions.into_iter().find(|known| *known == version)?;
            Some(resources(&server.registry, group, version))
        }
        None => {
            let mut description = description(group, &versions);
            description["kind"] = json!("APIGroup");
            description["apiVersion"] = json!("v1");
            Some(description)
        }
    }
}

fn description(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = registry.in_version(group, version).flat_map(rows).collect();
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

/// A kind and its subresources.
fn rows(kind: &'static Kind) -> Vec<Value> {
    let mut row = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs(kind.verbs),
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    row["storageVersionHash"] = json!(storage_version_hash(kind.stored()));
    let subresources = kind.subresources.iter().map(|subresource| {
        let mut row = json!({
            "name": format!("{}/{}", kind.plural, subresource.name),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": subresource.kind,
            "verbs": verbs(subresource.verbs),
        });
        if (subresource.group, subresource.version) != (kind.group, kind.version) {
            row["group"] = json!(subresource.group);
            row["version"] = json!(subresource.version);
        }
        row
    });
    std::iter::once(row).chain(subresources).collect()
}

/// Stable while the stored shape of the kind is.
fn storage_version_hash(kind: &Kind) -> String {
    let name = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    STANDARD.encode(&Sha256::digest(name)[..8])
}
