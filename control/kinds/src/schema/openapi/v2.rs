//! OpenAPI v2 (Swagger 2.0): everything in one document.

use serde_json::{Map, Value, json};

use super::definitions::{Definitions, v2_reference};
use super::paths::{Operation, Parameter, Path};

pub(super) fn document(version: &str, paths: &[Path], definitions: &Definitions) -> Value {
    let items: Map<String, Value> = paths.iter().map(|it| (it.template.clone(), path(it))).collect();
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": version },
        "paths": items,
        "definitions": definitions.v2(paths),
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "in": "header",
                "name": "authorization",
                "type": "apiKey",
            },
        },
        "security": [{ "BearerToken": [] }],
    })
}

fn path(path: &Path) -> Value {
    let mut item = Map::new();
    for of in &path.operations {
        item.insert(of.method.as_str().to_owned(), operation(of));
    }
    if !path.parameters.is_empty() {
        item.insert("parameters".to_owned(), path.parameters.iter().map(|it| parameter(it)).collect());
    }
    Value::Object(item)
}

fn operation(of: &Operation) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(body) = &of.body {
        let mut rendered = json!({ "name": "body", "in": "body", "schema": v2_reference(&body.definition) });
        if body.required {
            rendered["required"] = true.into();
        }
        parameters.push(rendered);
    }
    parameters.extend(of.query.iter().map(|it| parameter(it)));
    let answer = of.answer.as_ref().map_or(json!({ "type": "string" }), |answer| v2_reference(answer));
    let responses: Map<String, Value> = of
        .statuses
        .iter()
        .map(|(status, description)| {
            let response = if *status == "401" {
                json!({ "description": description })
            } else {
                json!({ "description": description, "schema": answer })
            };
            ((*status).to_owned(), response)
        })
        .collect();
    json!({
        "tags": [of.tag],
        "operationId": of.id,
        "schemes": ["https"],
        "consumes": of.method.consumes(),
        "produces": ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
        "parameters": parameters,
        "responses": responses,
        "x-kubernetes-action": of.action,
        "x-kubernetes-group-version-kind": of.kind,
    })
}

fn parameter(of: &Parameter) -> Value {
    let mut rendered = json!({ "name": of.name, "in": of.place, "type": of.ty, "uniqueItems": true });
    if of.place == "path" {
        rendered["required"] = true.into();
    }
    rendered
}
