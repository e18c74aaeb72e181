//! OpenAPI v2 (Swagger 2.0): everything in one document.

use serde_json::{Value, json};

use super::definitions::{Definitions, v2_reference};
use super::paths::{self, Operation, Parameter, Path};

pub(super) fn document(version: &str, paths: &[Path], definitions: &Definitions) -> Value {
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": version },
        "paths": paths::items(paths, operation, parameter),
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
    json!({
        "tags": [of.tag],
        "operationId": of.id,
        "schemes": ["https"],
        "consumes": of.consumes(),
        "produces": ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
        "parameters": parameters,
        "responses": of.responses("schema", &answer),
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
