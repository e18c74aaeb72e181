//! What a reader hands to the decoder: a parsed document before anyone knows its type.
//!
//! Unlike a `Value` it keeps duplicate keys and the exact text of numbers, and borrows from its source where it can.

use std::borrow::Cow;

use serde_json::Value;

/// How deep a document may nest. serde_json, which reads the stored bytes again, stops at 128.
pub(super) const DEPTH_MAX: usize = 120;

#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the order of the source; keys may repeat.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// Go's word for it in a decoding error.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "bool",
            Node::Number(_) => "number",
            Node::String(_) => "string",
            Node::List(_) => "array",
            Node::Object(_) => "object",
        }
    }

    pub(super) fn of_value(value: &'a Value) -> Node<'a> {
        match value {
            Value::Null => Node::Null,
            Value::Bool(flag) => Node::Bool(*flag),
            Value::Number(number) => Node::Number(Cow::Owned(number.to_string())),
            Value::String(text) => Node::String(Cow::Borrowed(text)),
            Value::Array(items) => Node::List(items.iter().map(Node::of_value).collect()),
            Value::Object(entries) => Node::Object(
                entries
                    .iter()
                    .map(|(key, value)| (Cow::Borrowed(key.as_str()), Node::of_value(value)))
                    .collect(),
            ),
        }
    }

    /// The value as it stands, nulls included; of duplicate keys the last wins.
    pub(super) fn into_value(self) -> Value {
        match self {
            Node::Null => Value::Null,
            Node::Bool(flag) => Value::Bool(flag),
            Node::Number(text) => number(&text),
            Node::String(text) => Value::String(text.into_owned()),
            Node::List(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
            Node::Object(entries) => Value::Object(
                entries.into_iter().map(|(key, value)| (key.into_owned(), value.into_value())).collect(),
            ),
        }
    }
}

/// Integers stay integers as far as 64 bits go; what no `f64` holds becomes null, as JSON has no word for it.
fn number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    if let Ok(whole) = text.parse::<u64>() {
        return whole.into();
    }
    text.parse::<f64>().map_or(Value::Null, Value::from)
}
