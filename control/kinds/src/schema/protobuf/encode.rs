//! From the JSON of an object to the bytes that Kubernetes itself writes for it.
//!
//! Fields stand in the order of their numbers, map entries in the order of their keys, and a field that is no pointer
//! in Go is written even when the JSON does not have it. JSON is read once, without a copy of its texts.

use base64::Engine as _;

use super::super::json;
use super::super::node::Node;
use super::super::{DecodeError, Schema};
use super::backwards::Backwards;
use super::special;
use super::table::{FieldKind, Label, Message, MessageField, Shape};

const MAGIC: &[u8] = b"k8s\0";
/// What fields that the JSON leaves out may add to a small object.
const SLACK_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("the object is no JSON")]
    NotJson(#[source] DecodeError),
    #[error("{value} is no value for the message field {field:?}")]
    Mismatch { field: String, value: &'static str },
}

/// A message that objects can be written as; of one schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(pub(super) u32);

/// What an envelope says of the message inside.
#[derive(Clone, Copy, Debug)]
pub struct TypeMeta<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
}

impl Schema {
    /// The message of a definition such as `io.k8s.api.core.v1.Pod`.
    #[must_use]
    pub fn message_of(&self, definition: &str) -> Option<MessageId> {
        let of_type = self.type_of(definition).and_then(|ty| self.messages.of_type(ty));
        of_type.or_else(|| self.messages.of_definition(definition)).map(MessageId)
    }

    /// The message of what says so of itself.
    #[must_use]
    pub fn message_of_object(&self, of: TypeMeta<'_>) -> Option<MessageId> {
        let (group, version) = of.api_version.rsplit_once('/').unwrap_or(("", of.api_version));
        let known = self.type_of_kind(group, version, of.kind).and_then(|ty| self.messages.of_type(ty));
        // Groups of answers that are no resources: OpenAPI does not define them.
        let package = match group {
            "meta.k8s.io" => "io.k8s.apimachinery.pkg.apis.meta",
            "apidiscovery.k8s.io" => "io.k8s.api.apidiscovery",
            _ => return known.map(MessageId),
        };
        let of_version = |version| self.message_of(&format!("{package}.{version}.{}", of.kind));
        known.map(MessageId).or_else(|| of_version(version)).or_else(|| of_version("v1"))
    }
}

/// A whole answer: the envelope with the object in it.
pub fn encode(
    schema: &Schema,
    (of, message): (TypeMeta<'_>, MessageId),
    json: &[u8],
) -> Result<Vec<u8>, EncodeError> {
    let node = json::read(json).map_err(EncodeError::NotJson)?;
    let mut writer = Writer::new(schema, json.len() + SLACK_BYTES);
    writer.enveloped(of, |writer| writer.message(message.0, Some(&node)))?;
    Ok(writer.out.finish())
}

/// A whole list, whose items need not be in memory as one JSON text. They are asked for from the last to the first.
pub fn encode_list<Item: AsRef<[u8]>>(
    schema: &Schema,
    (of, list): (TypeMeta<'_>, MessageId),
    metadata: &[u8],
    items: impl Iterator<Item = Item>,
) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new(schema, 16 * 1024);
    let message = schema.messages.get(list.0);
    writer.enveloped(of, |writer| {
        for item in items {
            let node = json::read(item.as_ref()).map_err(EncodeError::NotJson)?;
            writer.named(message, "items", &node)?;
        }
        writer.named(message, "metadata", &json::read(metadata).map_err(EncodeError::NotJson)?)
    })?;
    Ok(writer.out.finish())
}

/// One frame of a watch: its length in four bytes, then a bare `WatchEvent` around an object in its envelope.
#[must_use]
pub fn frame(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Backwards::with_capacity(object.len() + 40);
    out.bytes(1, object);
    out.close(2, 0);
    out.bytes(1, event_type.as_bytes());
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.put(&length.to_be_bytes());
    out.finish()
}

struct Writer<'s> {
    schema: &'s Schema,
    out: Backwards,
}

impl<'s> Writer<'s> {
    fn new(schema: &'s Schema, capacity: usize) -> Self {
        Writer { schema, out: Backwards::with_capacity(capacity) }
    }

    /// A `runtime.Unknown`, its last fields first.
    fn enveloped(
        &mut self,
        of: TypeMeta<'_>,
        content: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.out.bytes(4, b"");
        self.out.bytes(3, b"");
        let mark = self.out.len();
        content(self)?;
        self.out.close(2, mark);
        let mark = self.out.len();
        self.out.bytes(2, of.kind.as_bytes());
        self.out.bytes(1, of.api_version.as_bytes());
        self.out.close(1, mark);
        self.out.put(MAGIC);
        Ok(())
    }

    /// One value of the field `name`.
    fn named(&mut self, message: &Message, name: &str, value: &Node<'_>) -> Result<(), EncodeError> {
        match message.fields().iter().find(|field| &*field.name == name) {
            Some(field) => self.value(field, field.number, Some(value)),
            None => Ok(()),
        }
    }

    /// The content of a message; an absent one has what is written in any case.
    fn message(&mut self, id: u32, node: Option<&Node<'_>>) -> Result<(), EncodeError> {
        let message = self.schema.messages.get(id);
        match message.shape {
            Shape::Special(kind) => special::encode(kind, node, &mut self.out),
            Shape::Object => self.object(message, node),
            Shape::BareList => match message.fields().first() {
                Some(items) => self.field(items, node),
                None => Ok(()),
            },
            Shape::JsonSchemaOrBool => self.either(message, node, "schema", "allows"),
            Shape::JsonSchemaOrList => self.either(message, node, "schema", "jSONSchemas"),
            Shape::JsonSchemaOrStrings => self.either(message, node, "schema", "property"),
        }
    }

    /// A union of a schema, which is an object, and something else.
    fn either(
        &mut self,
        message: &Message,
        node: Option<&Node<'_>>,
        object: &str,
        other: &str,
    ) -> Result<(), EncodeError> {
        let is_object = matches!(node, Some(Node::Object(_)));
        let wanted = if is_object { object } else { other };
        for field in message.fields().iter().rev() {
            if &*field.name == wanted {
                // What is neither is nothing, as in Go.
                let fits = match (field.label, node) {
                    (Label::Repeated, Some(Node::List(_))) => true,
                    (Label::Optional, Some(Node::Object(_) | Node::Bool(_))) => true,
                    (Label::Optional | Label::Repeated | Label::Map, _) => false,
                };
                self.field(field, node.filter(|_| fits))?;
            } else if is_object && &*field.name == "allows" {
                // Who has a schema allows what it describes.
                self.out.number(field.number, 1);
            }
        }
        Ok(())
    }

    fn object(&mut self, message: &Message, node: Option<&Node<'_>>) -> Result<(), EncodeError> {
        let entries = match node {
            Some(Node::Object(entries)) => entries.as_slice(),
            None | Some(Node::Null) => &[],
            Some(other) => return Err(mismatch("", other)),
        };
        for field in message.fields().iter().rev() {
            if field.inline {
                let mark = self.out.len();
                let FieldKind::Message(id) = field.kind else { continue };
                self.message(id, node)?;
                self.out.close(field.number, mark);
                continue;
            }
            let found = entries.iter().find(|(key, _)| **key == *field.name).map(|(_, value)| value);
            self.field(field, found)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &MessageField, node: Option<&Node<'_>>) -> Result<(), EncodeError> {
        let node = node.filter(|node| !matches!(node, Node::Null));
        match (field.label, node) {
            (Label::Optional, None) if field.may_be_absent => Ok(()),
            (Label::Optional, node) => self.value(field, field.number, node),
            (Label::Repeated | Label::Map, None) => Ok(()),
            (Label::Repeated, Some(Node::List(items))) => {
                items.iter().rev().try_for_each(|item| self.value(field, field.number, Some(item)))
            }
            (Label::Map, Some(Node::Object(entries))) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| b.0.cmp(&a.0));
                sorted.into_iter().try_for_each(|(key, value)| {
                    let mark = self.out.len();
                    self.value(field, 2, Some(value))?;
                    self.out.bytes(1, key.as_bytes());
                    self.out.close(field.number, mark);
                    Ok(())
                })
            }
            (Label::Repeated | Label::Map, Some(other)) => Err(mismatch(&field.name, other)),
        }
    }

    /// One value as field `number`; none is the zero of its kind.
    fn value(
        &mut self,
        field: &MessageField,
        number: u32,
        node: Option<&Node<'_>>,
    ) -> Result<(), EncodeError> {
        let node = node.filter(|node| !matches!(node, Node::Null));
        match (field.kind, node) {
            (FieldKind::Message(id), node) => {
                let mark = self.out.len();
                self.message(id, node)?;
                self.out.close(number, mark);
            }
            (FieldKind::String | FieldKind::Bytes, None) => self.out.bytes(number, b""),
            (FieldKind::String, Some(Node::String(text))) => self.out.bytes(number, text.as_bytes()),
            (FieldKind::Bytes, Some(Node::String(text))) => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
                let decoded = decoded.map_err(|_| mismatch(&field.name, &Node::String("".into())))?;
                self.out.bytes(number, &decoded);
            }
            (FieldKind::Bool | FieldKind::Int32 | FieldKind::Int64, None) => self.out.number(number, 0),
            (FieldKind::Bool, Some(Node::Bool(flag))) => self.out.number(number, u64::from(*flag)),
            (FieldKind::Int32 | FieldKind::Int64, Some(node @ Node::Number(text))) => {
                let whole = special::whole(text).ok_or_else(|| mismatch(&field.name, node))?;
                self.out.number(number, whole.cast_unsigned());
            }
            (FieldKind::Double, None) => self.out.fixed64(number, 0),
            (FieldKind::Double, Some(node @ Node::Number(text))) => {
                let double: f64 = text.parse().map_err(|_| mismatch(&field.name, node))?;
                self.out.fixed64(number, double.to_bits());
            }
            (_, Some(other)) => return Err(mismatch(&field.name, other)),
        }
        Ok(())
    }
}

pub(super) fn mismatch(field: &str, value: &Node<'_>) -> EncodeError {
    EncodeError::Mismatch { field: field.to_owned(), value: value.word() }
}
