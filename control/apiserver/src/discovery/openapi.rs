//! OpenAPI: version 3 as an index and a document per version, version 2 as one document in JSON or protobuf.
//!
//! Documents are made when first asked for, and then kept until the custom kinds change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue, VARY};
use http::request::Parts;
use kinds::schema::openapi::{Document, OpenApi, Resource};

use super::{Tagged, page_not_found, tagged};
use crate::body::Body;
use crate::server::Shared;
use crate::status::Status;

/// What clients ask for, and what they call it when they get it: `@` is no letter of a media type.
const V2_PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3_PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Documents that were made already.
#[derive(Default)]
pub(crate) struct Documents(Mutex<Option<(u64, Arc<Built>)>>);

impl Documents {
    /// Those of the kinds that are served now.
    fn now(&self, server: &Shared) -> Arc<Built> {
        let generation = server.registry.generation();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, documents)) if *of == generation => Arc::clone(documents),
            _ => {
                let documents = Arc::new(Built::new(server));
                *made = Some((generation, Arc::clone(&documents)));
                documents
            }
        }
    }
}

struct Built {
    index: Tagged,
    /// By path: `api/v1`, `apis/apps/v1`.
    by_path: BTreeMap<String, Tagged>,
    v2_json: Tagged,
    v2_protobuf: Tagged,
}

pub(super) fn answer(server: &Shared, path: &str, head: &Parts) -> Result<Response<Body>, Status> {
    let documents = server.documents.now(server);
    let mut response = match path {
        "/openapi/v2" if accepts(head, V2_PROTOBUF_ASKED) || accepts(head, V2_PROTOBUF) => {
            tagged(head, V2_PROTOBUF, &documents.v2_protobuf)
        }
        "/openapi/v2" => {
            check_json(head)?;
            tagged(head, "application/json", &documents.v2_json)
        }
        _ => {
            check_json(head)?;
            match path.strip_prefix("/openapi/v3") {
                Some("") => tagged(head, "application/json", &documents.index),
                Some(below) => match documents.by_path.get(below.trim_start_matches('/')) {
                    Some(document) => versioned(head, document),
                    None => page_not_found(),
                },
                None => page_not_found(),
            }
        }
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// A document that is asked for by its hash never changes.
fn versioned(head: &Parts, document: &Tagged) -> Response<Body> {
    let mut response = tagged(head, "application/json", document);
    if head.uri.query().is_some_and(|query| query.contains("hash=")) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    }
    response
}

impl Built {
    fn new(server: &Shared) -> Self {
        let kinds = server.registry.all().into_iter();
        // What is measured has no schema: nobody sends it.
        let described = kinds.filter(|kind| kind.strategy.measured.is_none());
        let resources: Vec<Resource<'_>> = described.map(Resource::of_kind).collect();
        let made = OpenApi::build(&server.schema, &super::git_version(), &resources);
        let mut by_path = BTreeMap::new();
        for (group, versions) in server.registry.groups() {
            for version in versions {
                let path = match group {
                    "" => format!("api/{version}"),
                    group => format!("apis/{group}/{version}"),
                };
                if let Some(document) = made.document(&path) {
                    by_path.insert(path, held(document));
                }
            }
        }
        Self {
            index: held(made.index()),
            by_path,
            v2_json: held(made.v2_json()),
            v2_protobuf: held(made.v2_protobuf()),
        }
    }
}

fn held(document: &Document) -> Tagged {
    Tagged { bytes: Bytes::from(document.body.clone()), tag: document.etag.clone() }
}

fn accepts(head: &Parts, wanted: &str) -> bool {
    ranges(head).any(|range| range == wanted)
}

/// JSON must be among what the client takes.
fn check_json(head: &Parts) -> Result<(), Status> {
    let known = ["application/json", "application/*", "*/*", V3_PROTOBUF_ASKED];
    let mut ranges = ranges(head).peekable();
    let any = ranges.peek().is_none() || ranges.any(|range| known.contains(&range));
    if any { Ok(()) } else { Err(Status::not_acceptable()) }
}

fn ranges(head: &Parts) -> impl Iterator<Item = &str> {
    head.headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
}
