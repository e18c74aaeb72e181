//! An object's values as rules see them: which type each has, and what it is, both by its schema.

use std::borrow::Cow;

use base64::Engine as _;
use serde_json::Value;

use super::escape::{escape, is_reserved, unescape};
use super::library::time;
use super::meter::Failure;
use super::types::Type;
use super::value::{Items, List, Map, Object, Text, Val};
use crate::custom::{Additional, Structural};

/// What names the fields of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    Of(&'a Structural),
    /// A whole object: with `apiVersion`, `kind` and `metadata`, whatever the schema says of them.
    Root(&'a Structural),
    /// Metadata, of which rules see `name` and `generateName`.
    Metadata,
}

/// What says of what type a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Of(&'a Structural),
    Whole(&'a Structural),
    Metadata,
    Text,
}

impl<'a> Shape<'a> {
    /// The field that a rule calls so.
    pub(super) fn field(self, name: &str) -> Option<(Cow<'_, str>, Place<'a>)> {
        if !name.contains("__") && !is_reserved(name) {
            return Some((Cow::Borrowed(name), self.place(name)?));
        }
        let field = unescape(name);
        // A name that comes back as another is no name of this field.
        let place = self.place(&field).filter(|_| escape(&field).as_deref() == Some(name))?;
        Some((Cow::Owned(field), place))
    }

    /// What the field of this name in the object is.
    pub(super) fn place(self, field: &str) -> Option<Place<'a>> {
        match (self, field) {
            (Self::Metadata, "name" | "generateName") | (Self::Root(_), "apiVersion" | "kind") => {
                Some(Place::Text)
            }
            (Self::Root(_), "metadata") => Some(Place::Metadata),
            (Self::Metadata, _) => None,
            (Self::Of(schema) | Self::Root(schema), _) => schema.properties.get(field).map(place_of),
        }
    }

    pub(super) fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Of(a), Self::Of(b)) | (Self::Root(a), Self::Root(b)) => std::ptr::eq(a, b),
            (Self::Metadata, Self::Metadata) => true,
            (_, _) => false,
        }
    }

    /// The fields that rules see, by their names in the object.
    pub(super) fn names(self) -> Vec<&'a str> {
        match self {
            Self::Metadata => vec!["name", "generateName"],
            Self::Of(schema) => schema.properties.keys().map(String::as_str).collect(),
            Self::Root(schema) => {
                let whole = ["apiVersion", "kind", "metadata"];
                let others = schema.properties.keys().map(String::as_str).filter(|it| !whole.contains(it));
                whole.into_iter().chain(others).collect()
            }
        }
    }
}

fn place_of(schema: &Structural) -> Place<'_> {
    if schema.embedded { Place::Whole(schema) } else { Place::Of(schema) }
}

/// The type of values here; none of what rules do not see.
pub(crate) fn type_of(place: Place<'_>) -> Option<Type<'_>> {
    let schema = match place {
        Place::Text => return Some(Type::Text),
        Place::Metadata => return Some(Type::Object(Shape::Metadata)),
        Place::Whole(schema) => return Some(Type::Object(Shape::Root(schema))),
        Place::Of(schema) => schema,
    };
    if schema.int_or_string {
        return Some(Type::Dyn);
    }
    match (schema.ty.as_str(), schema.format.as_str()) {
        ("array", _) => Some(Type::list(type_of(place_of(schema.items.as_deref()?))?)),
        ("object", _) => match &schema.additional {
            Some(Additional::Of(of)) => Some(Type::map(Type::Text, type_of(place_of(of))?)),
            Some(Additional::Anything) | None => Some(Type::Object(Shape::Of(schema))),
        },
        ("string", "byte") => Some(Type::Bytes),
        ("string", "duration") => Some(Type::Duration),
        ("string", "date" | "date-time") => Some(Type::Timestamp),
        ("string", _) => Some(Type::Text),
        ("boolean", _) => Some(Type::Bool),
        ("number", _) => Some(Type::Double),
        ("integer", _) => Some(Type::Int),
        (_, _) => None,
    }
}

/// The value as rules see it.
///
/// # Errors
/// It is not what its schema says.
pub(crate) fn view<'a>(value: &'a Value, place: Place<'a>) -> Result<Val<'a>, Failure> {
    let shape = match place {
        Place::Whole(schema) => Some(Shape::Root(schema)),
        Place::Metadata => Some(Shape::Metadata),
        Place::Of(schema) if schema.embedded => Some(Shape::Root(schema)),
        Place::Text | Place::Of(_) => None,
    };
    let unlike =
        |wanted: &str| Err(Failure::said(format!("invalid data, expected {wanted} to match the schema")));
    if let Some(shape) = shape {
        return match value {
            Value::Object(fields) => Ok(Val::Object(Object { fields, shape })),
            Value::Null => Ok(Val::Null),
            _ => unlike("an object"),
        };
    }
    let schema = match (value, place) {
        (Value::Null, _) => return Ok(Val::Null),
        (Value::Bool(flag), _) => return Ok(Val::Bool(*flag)),
        (Value::String(text), Place::Of(schema)) if schema.ty == "string" => return text_view(text, schema),
        (Value::String(text), _) => return Ok(Val::Text(Text::Lent(text))),
        (_, Place::Of(schema)) => schema,
        (_, _) => return unlike("a string"),
    };
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) if schema.ty != "number" => Ok(Val::Int(whole)),
            (_, Some(number)) if schema.ty == "integer" && number.fract() == 0.0 && number.abs() < 9.2e18 => {
                Ok(Val::Int(number as i64))
            }
            (_, Some(number)) => Ok(Val::Double(number)),
            (_, None) => unlike("a number"),
        },
        Value::Array(items) => match schema.items.as_deref() {
            Some(of) => Ok(Val::List(List { items: Items::Lent(items, of), schema: Some(schema) })),
            None => unlike("no array"),
        },
        Value::Object(fields) => match &schema.additional {
            Some(Additional::Of(of)) => Ok(Val::Map(Map::Lent(fields, of))),
            Some(Additional::Anything) | None => Ok(Val::Object(Object { fields, shape: Shape::Of(schema) })),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(Val::Null),
    }
}

fn text_view<'a>(text: &'a str, schema: &Structural) -> Result<Val<'a>, Failure> {
    let unlike = |wanted: &str| Failure::said(format!("Invalid {wanted} {text:?}"));
    match schema.format.as_str() {
        "byte" => match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => Ok(Val::Bytes(bytes.into())),
            Err(_) => Err(unlike("byte formatted string")),
        },
        "duration" => time::parse_duration(text).map(Val::Duration).ok_or_else(|| unlike("duration")),
        "date" => match text
            .parse::<jiff::civil::Date>()
            .ok()
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        {
            Some(day) => Ok(Val::Timestamp(day.timestamp())),
            None => Err(unlike("date formatted string")),
        },
        "date-time" => {
            time::parse_timestamp(text).map(Val::Timestamp).map_err(|_| unlike("date-time formatted string"))
        }
        _ => Ok(Val::Text(Text::Lent(text))),
    }
}
