//! OpenAPI documents of what is served: v3 per group and version, v2 as JSON and as the protobuf that kubectl wants.
//!
//! The caller says what is served ([`Resource`]); the documents hold those paths and the definitions they reach, and
//! nothing else. kubectl relies on three things here: the `x-kubernetes-group-version-kind` of definitions and
//! operations, the `fieldValidation` and `dryRun` parameters of PATCH, and list types for `explain`. There are no
//! descriptions: the tables hold structure only.

mod custom;
mod definitions;
mod gnostic;
mod paths;
mod v2;
mod v3;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha512};

use super::Schema;
use crate::{Connect, Kind, Serves, Verb};
use definitions::Definitions;
use paths::Path;

/// One served resource.
#[derive(Clone, Debug)]
pub struct Resource<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub list_kind: String,
    pub plural: &'a str,
    pub namespaced: bool,
    /// The kind's name in the schema: `io.k8s.api.core.v1.Pod`.
    pub definition: &'a str,
    /// In discovery's words: `get`, `list`, `create`, `deletecollection` …
    pub verbs: Vec<&'a str>,
    pub subresources: Vec<Subresource<'a>>,
    /// Of a custom kind: the schema as its definition has it.
    pub custom: Option<&'a Value>,
}

impl Resource<'_> {
    /// What the registry says of a kind.
    #[must_use]
    pub fn of_kind(kind: &'static Kind) -> Resource<'static> {
        let words = |verbs: &[Verb]| verbs.iter().map(|verb| verb.as_str()).collect();
        let subresources = kind.subresources.iter().map(|sub| Subresource {
            name: sub.name,
            verbs: words(sub.verbs),
            group: sub.group,
            version: sub.version,
            kind: sub.kind,
            speaks: match sub.serves {
                Serves::Log => Speaks::Text,
                Serves::Connect(connect) => Speaks::Connection(connect),
                Serves::Proxy(_) => Speaks::Http,
                Serves::Status
                | Serves::Scale(_)
                | Serves::View(_)
                | Serves::Finalize
                | Serves::Binding
                | Serves::Eviction
                | Serves::Token => Speaks::Kind,
            },
        });
        Resource {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            list_kind: kind.list_kind(),
            plural: kind.plural,
            namespaced: kind.namespaced,
            definition: kind.definition,
            verbs: words(kind.verbs),
            subresources: subresources.collect(),
            custom: kind.custom.map(|custom| &custom.published),
        }
    }
}

/// `<plural>/<name>`, and the kind of its bodies.
#[derive(Clone, Debug)]
pub struct Subresource<'a> {
    pub name: &'a str,
    pub verbs: Vec<&'a str>,
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub speaks: Speaks,
}

/// What a subresource's bodies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Its kind.
    Kind,
    /// The text of a log.
    Text,
    /// There are none: another protocol follows.
    Connection(Connect),
    /// Whatever somebody else says, who has paths of their own.
    Http,
}

/// A rendered document.
#[derive(Clone, Debug)]
pub struct Document {
    pub body: Vec<u8>,
    /// Quoted, as the header has it.
    pub etag: String,
}

impl Document {
    fn new(body: Vec<u8>) -> Document {
        let hash =
            Sha512::digest(&body).iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}"));
        Document { body, etag: format!("\"{hash}\"") }
    }
}

/// Every document of one set of served resources.
#[derive(Debug)]
pub struct OpenApi {
    index: Document,
    by_path: BTreeMap<String, Document>,
    v2_json: Document,
    v2_protobuf: Document,
}

impl OpenApi {
    /// Renders everything; tens of milliseconds. `version` is the server's, such as `v1.36.0`.
    #[must_use]
    pub fn build(schema: &Schema, version: &str, resources: &[Resource<'_>]) -> OpenApi {
        let definitions = Definitions::load(resources);
        let mut by_path = BTreeMap::new();
        let mut all_paths = Vec::new();
        let group_versions: BTreeSet<(&str, &str)> =
            resources.iter().map(|resource| (resource.group, resource.version)).collect();
        for (group, group_version) in group_versions {
            let mine = resources.iter().filter(|it| (it.group, it.version) == (group, group_version));
            let paths: Vec<Path> = mine.flat_map(|resource| paths::of(schema, resource)).collect();
            let document = v3::document(version, &paths, &definitions);
            by_path.insert(prefix(group, group_version), Document::new(document.to_string().into_bytes()));
            all_paths.extend(paths);
        }
        let swagger = v2::document(version, &all_paths, &definitions);
        let index = v3::index(&by_path);
        OpenApi {
            index: Document::new(index.to_string().into_bytes()),
            by_path,
            v2_protobuf: Document::new(gnostic::encode(&swagger)),
            v2_json: Document::new(swagger.to_string().into_bytes()),
        }
    }

    /// `/openapi/v3`.
    #[must_use]
    pub fn index(&self) -> &Document {
        &self.index
    }

    /// `/openapi/v3/<path>`, where path is `api/v1` or `apis/apps/v1`.
    #[must_use]
    pub fn document(&self, path: &str) -> Option<&Document> {
        self.by_path.get(path)
    }

    /// `/openapi/v2` for who accepts JSON.
    #[must_use]
    pub fn v2_json(&self) -> &Document {
        &self.v2_json
    }

    /// `/openapi/v2` for who accepts `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
    #[must_use]
    pub fn v2_protobuf(&self) -> &Document {
        &self.v2_protobuf
    }
}

/// Where a group and version is served, without the leading slash.
fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

#[cfg(test)]
mod tests;
