//! The definitions of a custom kind and of its list, made from the schema that its definition has.
//!
//! Version 3 takes a schema as it is. Version 2 knows less, and clients check by it what they send, so there it says
//! nothing where it could only be wrong: of values that may be null, of alternatives, of fields beyond those named.

use serde_json::{Map, Value, json};

use super::Resource;
use super::definitions::{V2_PREFIX, V2_SHAPE};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values.";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase.";
const METADATA: &str = "Standard object's metadata.";

/// Each with its name and the kind that it is; none for a built-in kind.
pub(super) fn definitions(resource: &Resource<'_>) -> Vec<(String, Value, Value)> {
    let Some(schema) = resource.custom else { return Vec::new() };
    let Resource { group, version, kind, definition, list_kind, .. } = resource;
    let served = |kind: &str| json!({"group": group, "kind": kind, "version": version});
    let mut object = with_metadata(schema);
    object[V2_SHAPE] = with_metadata(&simplified(schema));
    let list = json!({
        "description": format!("{list_kind} is a list of {kind}"),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {
                "description": format!("List of {}.", resource.plural),
                "type": "array",
                "items": {"$ref": format!("{V2_PREFIX}{definition}")},
            },
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"description": "Standard list metadata.", "$ref": format!("{V2_PREFIX}{META}.ListMeta")},
        },
    });
    vec![
        ((*definition).to_owned(), object, served(kind)),
        (format!("{definition}List"), list, served(list_kind)),
    ]
}

fn with_metadata(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let is_known = schema.get("properties").is_some();
    if let Some(fields) = schema.as_object_mut()
        && (is_known || !fields.contains_key("x-kubernetes-preserve-unknown-fields"))
    {
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = json!({"description": API_VERSION, "type": "string"});
        properties["kind"] = json!({"description": KIND, "type": "string"});
        properties["metadata"] =
            json!({"description": METADATA, "$ref": format!("{V2_PREFIX}{META}.ObjectMeta")});
    }
    schema
}

/// What version 2 can say without being wrong.
fn simplified(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or_default();
    let mut dropped = vec!["default", "nullable", "allOf", "anyOf", "oneOf", "not", "example"];
    if flag("nullable") {
        dropped.extend(["type", "items", "properties", "additionalProperties", "format", "required"]);
    }
    if flag("x-kubernetes-preserve-unknown-fields") {
        dropped.extend(["items", "properties"]);
    }
    if flag("x-kubernetes-int-or-string") {
        dropped.push("type");
    }
    if fields.get("additionalProperties").is_some_and(Value::is_boolean) {
        dropped.push("additionalProperties");
    }
    let mut kept = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| !dropped.contains(&name.as_str())) {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, of)| (name.clone(), simplified(of))).collect()
            }
            ("items" | "additionalProperties", of) => simplified(of),
            (_, other) => other.clone(),
        };
        kept.insert(name.clone(), value);
    }
    Value::Object(kept)
}
