//! From bytes to the value that the same object has in JSON.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::super::node::DEPTH_MAX;
use super::super::{DecodeError, Schema, TypeId, scalar};
use super::special;
use super::table::{FieldKind, Label, Message, MessageField, Shape};
use super::wire::{Fields, Raw};

const MAGIC: &[u8] = b"k8s\0";

/// How many values one body may hold; a body of the largest legal size needs far fewer.
const VALUES_MAX: usize = 2_000_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal tag {tag}")]
    IllegalTag { tag: u64 },
    #[error("proto: wrong wireType for field {field}")]
    WrongWireType { field: String },
    #[error("proto: string is not valid UTF-8")]
    NotUtf8,
    #[error("proto: time {seconds}s is out of range")]
    BadTime { seconds: i64 },
    #[error("proto: embedded JSON is broken")]
    BadJson,
    #[error(transparent)]
    BadScalar(DecodeError),
    #[error("proto: nested too deeply or holds too many values")]
    TooLarge,
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind { api_version: String, kind: String },
}

/// What `runtime.Unknown` says of the message inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Both empty when the sender left them to the URL.
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

/// Opens the envelope: `k8s\0`, then a `runtime.Unknown`.
pub fn envelope(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let message = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    let mut fields = Fields::new(message);
    while let Some((number, raw)) = fields.next()? {
        match (number, raw) {
            (1, Raw::Bytes(of)) => {
                let mut of = Fields::new(of);
                while let Some((number, raw)) = of.next()? {
                    match (number, raw) {
                        (1, Raw::Bytes(text)) => envelope.api_version = string(text)?,
                        (2, Raw::Bytes(text)) => envelope.kind = string(text)?,
                        (_, Raw::Bytes(_) | Raw::Varint(_) | Raw::Fixed32(_) | Raw::Fixed64(_)) => {}
                    }
                }
            }
            (2, Raw::Bytes(inner)) => envelope.raw = inner,
            (_, Raw::Bytes(_) | Raw::Varint(_) | Raw::Fixed32(_) | Raw::Fixed64(_)) => {}
        }
    }
    Ok(envelope)
}

/// Decodes a whole body into an object with its `apiVersion` and `kind`, which name its type.
///
/// An envelope without them cannot be decoded so; use [`envelope`] and [`decode_message`] with the URL's type.
pub fn decode(schema: &Schema, body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = envelope(body)?;
    let (group, version) = match envelope.api_version.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", envelope.api_version.as_str()),
    };
    let ty = schema.type_of_kind(group, version, &envelope.kind);
    let unknown = || ProtobufError::UnknownKind {
        api_version: envelope.api_version.clone(),
        kind: envelope.kind.clone(),
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), envelope.api_version.clone().into());
    object.insert("kind".to_owned(), envelope.kind.clone().into());
    match decode_message(schema, ty.ok_or_else(unknown)?, envelope.raw) {
        Ok(Value::Object(fields)) => object.extend(fields),
        Ok(_) => return Err(unknown()),
        Err(ProtobufError::UnknownKind { .. }) => return Err(unknown()),
        Err(error) => return Err(error),
    }
    Ok(Value::Object(object))
}

/// Decodes a bare message of a known type, without `apiVersion` and `kind`.
pub fn decode_message(schema: &Schema, ty: TypeId, message: &[u8]) -> Result<Value, ProtobufError> {
    let unknown = || ProtobufError::UnknownKind { api_version: String::new(), kind: String::new() };
    let id = schema.messages.of_type(ty).ok_or_else(unknown)?;
    Decoder { schema, values: 0 }.message(id, message, 0)
}

struct Decoder<'s> {
    schema: &'s Schema,
    values: usize,
}

impl<'s> Decoder<'s> {
    fn message(&mut self, id: u32, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Err(ProtobufError::TooLarge);
        }
        let message = self.schema.messages.get(id);
        match message.shape {
            Shape::Special(kind) => special::decode(kind, bytes),
            Shape::Object => self.object(message, bytes, depth).map(Value::Object),
            Shape::BareList => {
                let mut fields = self.object(message, bytes, depth)?;
                Ok(fields.shift_remove("items").unwrap_or_else(|| Value::Array(Vec::new())))
            }
            Shape::JsonSchemaOrBool => {
                let mut fields = self.object(message, bytes, depth)?;
                let allows = fields.shift_remove("allows").unwrap_or(Value::Bool(false));
                Ok(fields.shift_remove("schema").unwrap_or(allows))
            }
            Shape::JsonSchemaOrList => self.either(message, bytes, "jSONSchemas", depth),
            Shape::JsonSchemaOrStrings => self.either(message, bytes, "property", depth),
        }
    }

    /// A union of a list and one schema: the list, when it holds anything.
    fn either(
        &mut self,
        message: &Message,
        bytes: &[u8],
        list: &str,
        depth: usize,
    ) -> Result<Value, ProtobufError> {
        let mut fields = self.object(message, bytes, depth)?;
        let single = fields.shift_remove("schema");
        Ok(fields.shift_remove(list).or(single).unwrap_or(Value::Null))
    }

    fn object(
        &mut self,
        message: &Message,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Map<String, Value>, ProtobufError> {
        let mut into = Map::new();
        let mut fields = Fields::new(bytes);
        while let Some((number, raw)) = fields.next()? {
            if let Some(field) = message.field(number) {
                self.field(field, raw, &mut into, depth)?;
            }
        }
        Ok(into)
    }

    fn field(
        &mut self,
        field: &MessageField,
        raw: Raw<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match field.label {
            Label::Optional => {
                let value = self.value(field, raw, depth)?;
                if field.inline {
                    if let Value::Object(inner) = value {
                        into.extend(inner);
                    }
                } else if value.is_null() || (!field.keeps_zero && is_zero(field.kind, &value)) {
                    into.shift_remove(&*field.name);
                } else {
                    into.insert(field.name.to_string(), value);
                }
            }
            Label::Repeated => {
                let entry = into.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(items) = entry else { return Ok(()) };
                match (field.kind, raw) {
                    (FieldKind::Int32 | FieldKind::Int64 | FieldKind::Bool, Raw::Bytes(packed)) => {
                        let mut numbers = Fields::new(packed);
                        while !numbers.is_empty() {
                            items.push(self.value(field, Raw::Varint(numbers.varint()?), depth)?);
                        }
                    }
                    (_, raw) => items.push(self.value(field, raw, depth)?),
                }
            }
            Label::Map => {
                let (key, value) = self.entry(field, raw, depth)?;
                let entry = into.entry(&*field.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(entries) = entry {
                    entries.insert(key, value);
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        field: &MessageField,
        raw: Raw<'_>,
        depth: usize,
    ) -> Result<(String, Value), ProtobufError> {
        let Raw::Bytes(entry) = raw else { return Err(wrong_type(field)) };
        let (mut key, mut value) = (String::new(), None);
        let mut fields = Fields::new(entry);
        while let Some((number, raw)) = fields.next()? {
            match (number, raw) {
                (1, Raw::Bytes(text)) => key = string(text)?,
                (2, raw) => value = Some(self.value(field, raw, depth)?),
                (_, Raw::Bytes(_) | Raw::Varint(_) | Raw::Fixed32(_) | Raw::Fixed64(_)) => {}
            }
        }
        match value {
            Some(value) => Ok((key, value)),
            None => Ok((key, self.absent(field.kind, depth)?)),
        }
    }

    /// What a map entry without a value stands for.
    fn absent(&mut self, kind: FieldKind, depth: usize) -> Result<Value, ProtobufError> {
        match kind {
            FieldKind::String | FieldKind::Bytes => Ok("".into()),
            FieldKind::Bool => Ok(false.into()),
            FieldKind::Int32 | FieldKind::Int64 | FieldKind::Double => Ok(0.into()),
            FieldKind::Message(id) => self.message(id, &[], depth + 1),
        }
    }

    fn value(&mut self, field: &MessageField, raw: Raw<'_>, depth: usize) -> Result<Value, ProtobufError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(ProtobufError::TooLarge);
        }
        match (field.kind, raw) {
            (FieldKind::String, Raw::Bytes(text)) => Ok(string(text)?.into()),
            (FieldKind::Bytes, Raw::Bytes(bytes)) => {
                Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into())
            }
            (FieldKind::Message(id), Raw::Bytes(message)) => self.message(id, message, depth + 1),
            (FieldKind::Bool, Raw::Varint(value)) => Ok((value != 0).into()),
            (FieldKind::Int32, Raw::Varint(value)) => Ok(special::int32(value).into()),
            (FieldKind::Int64, Raw::Varint(value)) => Ok(value.cast_signed().into()),
            (FieldKind::Double, Raw::Fixed64(bits)) => Ok(scalar::double(f64::from_bits(bits))),
            (_, Raw::Bytes(_) | Raw::Varint(_) | Raw::Fixed32(_) | Raw::Fixed64(_)) => Err(wrong_type(field)),
        }
    }
}

fn is_zero(kind: FieldKind, value: &Value) -> bool {
    match (kind, value) {
        (FieldKind::Message(_), _) => false,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Bool(flag)) => !flag,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::Null | Value::Array(_) | Value::Object(_)) => false,
    }
}

fn wrong_type(field: &MessageField) -> ProtobufError {
    ProtobufError::WrongWireType { field: field.name.to_string() }
}

pub(super) fn string(bytes: &[u8]) -> Result<String, ProtobufError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ProtobufError::NotUtf8)
}
