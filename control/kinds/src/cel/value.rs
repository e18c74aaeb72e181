//! Values that rules compute with. What comes from an object is lent by it; what a rule makes is shared, never copied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map as Fields, Value};

use super::library::{Format, Network, Semver, Url};
use super::meter::Failure;
use super::view::{Place, Shape, view};
use crate::custom::Structural;
use crate::quantity::Quantity;

#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Arc<[u8]>),
    /// In nanoseconds.
    Duration(i64),
    Timestamp(jiff::Timestamp),
    List(List<'a>),
    Map(Map<'a>),
    Object(Object<'a>),
    Optional(Option<Arc<Val<'a>>>),
    /// The name of a type.
    Type(&'static str),
    Ip(IpAddr),
    Cidr(Network),
    Url(Arc<Url>),
    Quantity(Quantity),
    Semver(Arc<Semver>),
    Format(&'static Format),
}

#[derive(Clone, Debug)]
pub(crate) enum Text<'a> {
    Lent(&'a str),
    Own(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Own(text) => text,
        }
    }
}

/// A list, and the schema that says whether its order and its doubles mean anything.
#[derive(Clone, Debug)]
pub(crate) struct List<'a> {
    pub items: Items<'a>,
    pub schema: Option<&'a Structural>,
}

#[derive(Clone, Debug)]
pub(crate) enum Items<'a> {
    /// Each has the schema.
    Lent(&'a [Value], &'a Structural),
    Own(Arc<Vec<Val<'a>>>),
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match &self.items {
            Items::Lent(items, _) => items.len(),
            Items::Own(items) => items.len(),
        }
    }

    /// The item of an index that is in bounds.
    pub(super) fn get(&self, index: usize) -> Result<Val<'a>, Failure> {
        let item = match &self.items {
            Items::Lent(items, schema) => items.get(index).map(|item| view(item, Place::Of(schema))),
            Items::Own(items) => items.get(index).cloned().map(Ok),
        };
        item.unwrap_or_else(|| Err(Failure::OutOfBounds(i64::try_from(index).unwrap_or(i64::MAX))))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Val<'a>, Failure>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// A key of a map. Whole numbers are one kind: `1` and `1u` are one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    /// Beyond what `Int` holds.
    Uint(u64),
    Text(Arc<str>),
}

impl Key {
    pub(super) fn of(value: &Val<'_>) -> Result<Self, Failure> {
        match value {
            Val::Bool(flag) => Ok(Self::Bool(*flag)),
            Val::Int(number) => Ok(Self::Int(*number)),
            Val::Uint(number) => Ok(i64::try_from(*number).map_or(Self::Uint(*number), Self::Int)),
            Val::Double(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => {
                Ok(Self::Int(*number as i64))
            }
            Val::Text(Text::Own(text)) => Ok(Self::Text(text.clone())),
            Val::Text(Text::Lent(text)) => Ok(Self::Text((*text).into())),
            _ => Err(Failure::said("unsupported key type")),
        }
    }

    pub(super) fn value<'a>(&self) -> Val<'a> {
        match self {
            Self::Bool(flag) => Val::Bool(*flag),
            Self::Int(number) => Val::Int(*number),
            Self::Uint(number) => Val::Uint(*number),
            Self::Text(text) => Val::Text(Text::Own(text.clone())),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Map<'a> {
    /// Each value has the schema.
    Lent(&'a Fields<String, Value>, &'a Structural),
    Own(Arc<BTreeMap<Key, Val<'a>>>),
}

impl<'a> Map<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Lent(fields, _) => fields.len(),
            Self::Own(entries) => entries.len(),
        }
    }

    pub(super) fn get(&self, key: &Val<'_>) -> Result<Option<Val<'a>>, Failure> {
        match (self, key) {
            (Self::Lent(fields, schema), Val::Text(key)) => {
                fields.get(&**key).map(|value| view(value, Place::Of(schema))).transpose()
            }
            (Self::Lent(_, _), _) => Ok(None),
            (Self::Own(entries), key) => Ok(entries.get(&Key::of(key)?).cloned()),
        }
    }

    pub(super) fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Self::Lent(fields, _) => fields.keys().map(|key| Val::Text(Text::Lent(key))).collect(),
            Self::Own(entries) => entries.keys().map(Key::value).collect(),
        }
    }
}

/// An object with named fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    pub fields: &'a Fields<String, Value>,
    pub shape: Shape<'a>,
}

impl<'a> Object<'a> {
    /// Whether the field that a rule calls so is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.shape.field(name).is_some_and(|(field, _)| self.fields.contains_key(&*field))
    }

    /// The field that a rule calls so; none when it is absent, or not named by the schema.
    pub(super) fn get(&self, name: &str) -> Result<Option<Val<'a>>, Failure> {
        let Some((field, place)) = self.shape.field(name) else { return Ok(None) };
        self.fields.get(&*field).map(|value| view(value, place)).transpose()
    }
}

impl<'a> Val<'a> {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Own(text.into()))
    }

    pub(super) fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List { items: Items::Own(Arc::new(items)), schema: None })
    }

    pub(super) fn map(entries: BTreeMap<Key, Val<'a>>) -> Self {
        Self::Map(Map::Own(Arc::new(entries)))
    }

    pub(crate) fn some(value: Val<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub(super) fn as_bool(&self) -> Result<bool, Failure> {
        match self {
            Self::Bool(flag) => Ok(*flag),
            _ => Err(Failure::NoOverload),
        }
    }

    pub(super) fn as_int(&self) -> Result<i64, Failure> {
        match self {
            Self::Int(number) => Ok(*number),
            _ => Err(Failure::NoOverload),
        }
    }

    pub(crate) fn as_text(&self) -> Result<&str, Failure> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Failure::NoOverload),
        }
    }

    pub(super) fn as_list(&self) -> Result<&List<'a>, Failure> {
        match self {
            Self::List(list) => Ok(list),
            _ => Err(Failure::NoOverload),
        }
    }

    /// Bytes that reading it takes, what it holds aside.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Object(_) => "object",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
        }
    }
}

/// The names of types that rules may compare with: `type(x) == int`.
pub(super) const TYPE_NAMES: &[&str] = &[
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "net.IP",
    "net.CIDR",
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
];
