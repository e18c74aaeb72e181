//! Turns a document into a value of a type: wrong types are errors, unknown and duplicate fields are collected.
//!
//! The result is what Kubernetes' own structs would give back: nulls are absent, and so are empty strings, zeroes and
//! empty collections where its structs leave them out. Errors are worded as Go's decoder words them, for clients
//! print and match them. Follows KEP-2885 (server-side field validation).

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::node::Node;
use super::{Field, Scalar, Schema, Struct, Type, TypeId, json, scalar, yaml};
use crate::quantity::QuantityError;

/// Kubernetes stops counting strict errors here.
const STRICT_ERRORS_MAX: usize = 100;

#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    /// Strict decoding errors in the order of the source: `unknown field "spec.x"`, `duplicate field "spec.y"`.
    pub unknown: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("unexpected end of JSON input")]
    Truncated,
    #[error("invalid character {found} {place}")]
    Syntax { found: String, place: String },
    #[error("error converting YAML to JSON: yaml: {problem}")]
    Yaml { problem: String },
    #[error("exceeded max depth")]
    TooDeep,
    #[error("json: cannot unmarshal {found} into Go {place} of type {wanted}")]
    Mismatch { found: String, place: String, wanted: String },
    #[error(transparent)]
    Quantity(QuantityError),
    #[error("parsing time {text:?} as {layout:?}{problem}")]
    Time { text: String, layout: String, problem: String },
    #[error("illegal base64 data at input byte {offset}")]
    Base64 { offset: usize },
}

/// Decodes a JSON body of the given type.
pub fn decode_json(schema: &Schema, ty: TypeId, text: &[u8]) -> Result<Decoded, DecodeError> {
    decode(schema, ty, json::read(text)?)
}

/// Decodes a YAML body of the given type, as strictly as JSON.
pub fn decode_yaml(schema: &Schema, ty: TypeId, text: &[u8]) -> Result<Decoded, DecodeError> {
    decode(schema, ty, yaml::read(text)?)
}

/// Decodes what is already parsed, such as the outcome of a patch.
pub fn decode_value(schema: &Schema, ty: TypeId, value: &Value) -> Result<Decoded, DecodeError> {
    decode(schema, ty, Node::of_value(value))
}

fn decode(schema: &Schema, ty: TypeId, node: Node<'_>) -> Result<Decoded, DecodeError> {
    let mut decoder =
        Decoder { schema, strict: Vec::new(), path: String::new(), fields: Vec::new(), holder: None };
    let value = decoder.value(ty, node)?;
    Ok(Decoded { value, unknown: decoder.strict })
}

struct Decoder<'s> {
    schema: &'s Schema,
    strict: Vec<String>,
    /// Where we are, with indices and map keys: `spec.containers[0].ports`.
    path: String,
    /// Where we are as Go names it: fields only.
    fields: Vec<&'s str>,
    /// The innermost struct whose field is being decoded.
    holder: Option<&'s Struct>,
}

impl<'s> Decoder<'s> {
    fn value(&mut self, ty: TypeId, node: Node<'_>) -> Result<Value, DecodeError> {
        let schema = self.schema;
        match (schema.get(ty), node) {
            (Type::Scalar(kind), node) => self.scalar(*kind, node),
            (_, Node::Null) => Ok(zero(schema, ty)),
            (Type::Struct(of), Node::Object(entries)) => self.object(of, entries),
            (Type::Map(of), Node::Object(entries)) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, node) in entries {
                    let mark = self.enter_key(&key);
                    if map.contains_key(&*key) {
                        self.complain("duplicate");
                    }
                    let value = self.value(of.values, node)?;
                    map.insert(key.into_owned(), value);
                    self.path.truncate(mark);
                }
                Ok(Value::Object(map))
            }
            (Type::List(of), Node::List(nodes)) => {
                let mut items = Vec::with_capacity(nodes.len());
                let mark = self.path.len();
                for (index, node) in nodes.into_iter().enumerate() {
                    // Writing to a String cannot fail.
                    let _ = write!(self.path, "[{index}]");
                    items.push(self.value(of.items, node)?);
                    self.path.truncate(mark);
                }
                Ok(Value::Array(items))
            }
            (Type::Struct(_) | Type::Map(_) | Type::List(_), node) => Err(self.mismatch(ty, node.word())),
        }
    }

    fn object(
        &mut self,
        of: &'s Struct,
        entries: Vec<(std::borrow::Cow<'_, str>, Node<'_>)>,
    ) -> Result<Value, DecodeError> {
        let mut map = Map::with_capacity(entries.len());
        let mut seen: Vec<&str> = Vec::with_capacity(entries.len());
        let holder = self.holder.replace(of);
        for (key, node) in entries {
            let mark = self.enter_key(&key);
            match of.field(&key) {
                None => self.complain("unknown"),
                Some(field) => {
                    if seen.contains(&&*field.name) {
                        self.complain("duplicate");
                    }
                    seen.push(&field.name);
                    self.field(field, node, &mut map)?;
                }
            }
            self.path.truncate(mark);
        }
        self.holder = holder;
        Ok(Value::Object(map))
    }

    fn field(
        &mut self,
        field: &'s Field,
        node: Node<'_>,
        into: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        if matches!(node, Node::Null) {
            return Ok(());
        }
        self.fields.push(&field.name);
        let value = self.value(field.ty, node)?;
        self.fields.pop();
        if is_written(self.schema, field, &value) {
            into.insert(field.name.to_string(), value);
        } else {
            into.shift_remove(&*field.name);
        }
        Ok(())
    }

    fn scalar(&mut self, kind: Scalar, node: Node<'_>) -> Result<Value, DecodeError> {
        match (kind, node) {
            (Scalar::Any | Scalar::Object, node) => Ok(node.into_value()),
            (Scalar::String, Node::String(text)) => Ok(text.into_owned().into()),
            (Scalar::Boolean, Node::Bool(flag)) => Ok(flag.into()),
            (Scalar::Int32, Node::Number(text)) => self.integer::<i32>(&text, "int32").map(Value::from),
            (Scalar::Int64, Node::Number(text)) => self.integer::<i64>(&text, "int64").map(Value::from),
            (Scalar::Double, Node::Number(text)) => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                number.map(scalar::double).ok_or_else(|| self.expected("float64", &format!("number {text}")))
            }
            (Scalar::Bytes, Node::String(text)) => scalar::bytes(&text).map(Value::from),
            (Scalar::Quantity, Node::String(text) | Node::Number(text)) => {
                scalar::quantity(text.trim()).map(Value::from)
            }
            (Scalar::IntOrString, Node::String(text)) => Ok(text.into_owned().into()),
            (Scalar::IntOrString, Node::Number(text)) => self.integer::<i32>(&text, "int32").map(Value::from),
            (Scalar::Time, Node::String(text)) => scalar::time(&text).map(Value::from),
            (Scalar::MicroTime, Node::String(text)) => scalar::micro_time(&text).map(Value::from),
            (Scalar::Duration, Node::String(text)) => Ok(text.into_owned().into()),
            (kind, Node::Null) => Ok(zero_scalar(kind)),
            (Scalar::Quantity, _) => Err(DecodeError::Quantity(QuantityError::Format)),
            (kind, node) => Err(self.expected(go_scalar(kind), node.word())),
        }
    }

    fn integer<T: std::str::FromStr>(&self, text: &str, wanted: &str) -> Result<T, DecodeError> {
        text.parse().map_err(|_| self.expected(wanted, &format!("number {text}")))
    }

    fn enter_key(&mut self, key: &str) -> usize {
        let mark = self.path.len();
        if mark > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        mark
    }

    fn complain(&mut self, what: &str) {
        let complaint = format!("{what} field {:?}", self.path);
        if self.strict.len() < STRICT_ERRORS_MAX && !self.strict.contains(&complaint) {
            self.strict.push(complaint);
        }
    }

    fn mismatch(&self, ty: TypeId, found: &str) -> DecodeError {
        self.expected(&go_type(self.schema, ty), found)
    }

    fn expected(&self, wanted: &str, found: &str) -> DecodeError {
        let place = match self.holder {
            Some(holder) if !self.fields.is_empty() => {
                format!("struct field {}.{}", holder.short_name(), self.fields.join("."))
            }
            Some(_) | None => "value".to_owned(),
        };
        DecodeError::Mismatch { found: found.to_owned(), place, wanted: wanted.to_owned() }
    }
}

/// Whether Kubernetes' struct would write this field out again (Go's `omitempty`).
pub(super) fn is_written(schema: &Schema, field: &Field, value: &Value) -> bool {
    if field.keeps_zero || field.required {
        return true;
    }
    match (schema.get(field.ty), value) {
        (Type::List(_), Value::Array(items)) => !items.is_empty(),
        (Type::Map(_), Value::Object(entries)) => !entries.is_empty(),
        (Type::Scalar(Scalar::String | Scalar::Bytes), Value::String(text)) => !text.is_empty(),
        (Type::Scalar(Scalar::Boolean), Value::Bool(flag)) => *flag,
        (Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double), Value::Number(number)) => {
            number.as_f64() != Some(0.0)
        }
        _ => true,
    }
}

/// What Go puts where a list or a map holds null.
fn zero(schema: &Schema, ty: TypeId) -> Value {
    match schema.get(ty) {
        Type::Struct(_) | Type::Map(_) => Value::Object(Map::new()),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Scalar(kind) => zero_scalar(*kind),
    }
}

fn zero_scalar(kind: Scalar) -> Value {
    match kind {
        Scalar::String | Scalar::Bytes => "".into(),
        Scalar::Boolean => false.into(),
        Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString | Scalar::Double => 0.into(),
        Scalar::Quantity => "0".into(),
        Scalar::Duration => "0s".into(),
        Scalar::Time | Scalar::MicroTime | Scalar::Object | Scalar::Any => Value::Null,
    }
}

/// A type as Go prints it: `[]v1.Container`, `map[string]string`, `v1.PodSpec`.
fn go_type(schema: &Schema, ty: TypeId) -> String {
    match schema.get(ty) {
        Type::Scalar(kind) => go_scalar(*kind).to_owned(),
        Type::List(list) => format!("[]{}", go_type(schema, list.items)),
        Type::Map(map) => match schema.get(map.values) {
            Type::Scalar(Scalar::Quantity) => "v1.ResourceList".to_owned(),
            Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Scalar(_) => {
                format!("map[string]{}", go_type(schema, map.values))
            }
        },
        Type::Struct(of) => {
            let mut parts = of.definition.rsplit('.');
            let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{package}.{name}")
        }
    }
}

fn go_scalar(kind: Scalar) -> &'static str {
    match kind {
        Scalar::String | Scalar::Time | Scalar::MicroTime | Scalar::Duration => "string",
        Scalar::Boolean => "bool",
        Scalar::Int32 | Scalar::IntOrString => "int32",
        Scalar::Int64 => "int64",
        Scalar::Double => "float64",
        Scalar::Bytes => "[]uint8",
        Scalar::Quantity => "resource.Quantity",
        Scalar::Object => "map[string]interface {}",
        Scalar::Any => "interface {}",
    }
}
