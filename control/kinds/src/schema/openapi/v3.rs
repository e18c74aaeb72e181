//! OpenAPI v3: the index, and one document per group and version.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Document;
use super::definitions::{Definitions, v3_reference};
use super::paths::{self, Operation, Parameter, Path};

const PRODUCES: [&str; 2] = ["application/json", "application/yaml"];

/// The index names each document under its hash, so that clients may keep it for good.
pub(super) fn index(documents: &BTreeMap<String, Document>) -> Value {
    let paths: Map<String, Value> = documents
        .iter()
        .map(|(path, document)| {
            let hash = document.etag.trim_matches('"');
            (path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
        })
        .collect();
    json!({ "paths": paths })
}

pub(super) fn document(version: &str, paths: &[Path], definitions: &Definitions) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": version },
        "paths": paths::items(paths, operation, parameter),
        "components": { "schemas": definitions.v3(paths) },
    })
}

fn operation(of: &Operation) -> Value {
    let mut rendered = json!({
        "tags": [of.tag],
        "operationId": of.id,
        "parameters": of.query.iter().map(|it| parameter(it)).collect::<Value>(),
        "responses": responses(of),
        "x-kubernetes-action": of.action,
        "x-kubernetes-group-version-kind": of.kind,
    });
    if let Some(body) = &of.body {
        let content: Map<String, Value> = of
            .consumes()
            .iter()
            .map(|media| ((*media).to_owned(), json!({ "schema": v3_reference(&body.definition) })))
            .collect();
        rendered["requestBody"] = json!({ "content": content });
        if body.required {
            rendered["requestBody"]["required"] = true.into();
        }
    }
    rendered
}

fn responses(of: &Operation) -> Map<String, Value> {
    let content: Map<String, Value> = match &of.answer {
        Some(answer) => PRODUCES
            .iter()
            .map(|media| ((*media).to_owned(), json!({ "schema": v3_reference(answer) })))
            .collect(),
        None => Map::from_iter([("text/plain".to_owned(), json!({ "schema": { "type": "string" } }))]),
    };
    of.responses("content", &Value::Object(content))
}

fn parameter(of: &Parameter) -> Value {
    let mut rendered =
        json!({ "name": of.name, "in": of.place, "schema": { "type": of.ty, "uniqueItems": true } });
    if of.place == "path" {
        rendered["required"] = true.into();
    }
    rendered
}
