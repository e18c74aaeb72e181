//! A Swagger document as `openapi.v2.Document` of gnostic, the protobuf that kubectl asks `/openapi/v2` for.
//!
//! Only what our own documents contain is written. Values of open types (extensions, enums) travel as YAML, and JSON
//! is YAML. Numbers of fields: gnostic's OpenAPIv2.proto.

use serde_json::{Map, Value};

/// Encodes a document of [`super::v2::document`].
pub(super) fn encode(swagger: &Value) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, swagger["swagger"].as_str());
    document.message(2, |info| {
        info.text(1, swagger["info"]["title"].as_str());
        info.text(2, swagger["info"]["version"].as_str());
    });
    document.message(8, |paths| {
        for (template, item) in entries(&swagger["paths"]) {
            paths.named(2, template, |path| path_item(path, item));
        }
    });
    document.message(9, |definitions| {
        for (name, definition) in entries(&swagger["definitions"]) {
            definitions.named(1, name, |message| schema(message, definition));
        }
    });
    for requirement in items(&swagger["security"]) {
        document.message(12, |message| {
            for (name, _) in entries(requirement) {
                message.named(1, name, |_| {});
            }
        });
    }
    document.message(13, |definitions| {
        for (name, definition) in entries(&swagger["securityDefinitions"]) {
            definitions.named(1, name, |item| item.message(2, |key| api_key(key, definition)));
        }
    });
    document.0
}

fn api_key(message: &mut Message, definition: &Value) {
    for (number, name) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
        message.text(number, definition[name].as_str());
    }
}

fn path_item(message: &mut Message, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(of) = item.get(method) {
            message.message(number, |message| operation(message, of));
        }
    }
    for of in items(&item["parameters"]) {
        message.message(9, |message| parameter(message, of));
    }
}

fn operation(message: &mut Message, of: &Value) {
    for (number, list) in [(1, "tags"), (6, "produces"), (7, "consumes"), (10, "schemes")] {
        for text in items(&of[list]) {
            message.text(number, text.as_str());
        }
    }
    message.text(5, of["operationId"].as_str());
    for of in items(&of["parameters"]) {
        message.message(8, |message| parameter(message, of));
    }
    message.message(9, |responses| {
        for (status, response) in entries(&of["responses"]) {
            responses.named(1, status, |value| {
                value.message(1, |message| {
                    message.text(1, response["description"].as_str());
                    if let Some(of) = response.get("schema") {
                        message.message(2, |item| item.message(1, |message| schema(message, of)));
                    }
                });
            });
        }
    });
    extensions(message, 13, of);
}

/// A `ParametersItem`: a parameter of the body, or of the query or path.
fn parameter(message: &mut Message, of: &Value) {
    message.message(1, |parameter| {
        if of["in"] == "body" {
            parameter.message(1, |body| {
                body.text(2, of["name"].as_str());
                body.text(3, of["in"].as_str());
                body.flag(4, of["required"] == true);
                body.message(5, |message| schema(message, &of["schema"]));
            });
            return;
        }
        // The query's message has one field more, before its type.
        let (kind, shift) = if of["in"] == "query" { (3, 1) } else { (4, 0) };
        parameter.message(2, |other| {
            other.message(kind, |message| {
                message.flag(1, of["required"] == true);
                message.text(2, of["in"].as_str());
                message.text(4, of["name"].as_str());
                message.text(5 + shift, of["type"].as_str());
                message.flag(19 + shift, of["uniqueItems"] == true);
            });
        });
    });
}

fn schema(message: &mut Message, of: &Value) {
    message.text(1, of["$ref"].as_str());
    message.text(2, of["format"].as_str());
    message.text(4, of["description"].as_str());
    for name in items(&of["required"]) {
        message.text(19, name.as_str());
    }
    for value in items(&of["enum"]) {
        message.message(20, |any| any.text(2, Some(&value.to_string())));
    }
    if let Some(values) = of.get("additionalProperties") {
        message.message(21, |item| item.message(1, |message| schema(message, values)));
    }
    if let Some(ty) = of["type"].as_str() {
        message.message(22, |item| item.text(1, Some(ty)));
    }
    if let Some(element) = of.get("items") {
        message.message(23, |item| item.message(1, |message| schema(message, element)));
    }
    if of.get("properties").is_some() {
        message.message(25, |properties| {
            for (name, property) in entries(&of["properties"]) {
                properties.named(1, name, |message| schema(message, property));
            }
        });
    }
    extensions(message, 31, of);
}

/// Everything that begins with `x-`, each as a `NamedAny`.
fn extensions(message: &mut Message, number: u32, of: &Value) {
    for (name, value) in entries(of).filter(|(name, _)| name.starts_with("x-")) {
        message.named(number, name, |any| any.text(2, Some(&value.to_string())));
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// A message being written; empty texts and false flags are left out, as proto3 does.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(&mut self, number: u32, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn flag(&mut self, number: u32, flag: bool) {
        if flag {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, number: u32, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// A `Named…` message: a name, and under 2 a value.
    fn named(&mut self, number: u32, name: &str, write: impl FnOnce(&mut Message)) {
        self.message(number, |message| {
            message.text(1, Some(name));
            message.message(2, write);
        });
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
