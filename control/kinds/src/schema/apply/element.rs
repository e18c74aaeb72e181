//! One step of a path into an object, as `fieldsV1` writes it: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:3`.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use super::FieldsError;

/// The order is that of structured-merge-diff, in which `fieldsV1` is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of a struct, or a key of a map.
    Field(Box<str>),
    /// The item of a list whose keys have these values; sorted by name.
    Key(Box<[(Box<str>, Atom)]>),
    /// The item of a set.
    Value(Atom),
    Index(i64),
}

/// A value that can tell items of a list apart.
#[derive(Clone, Debug)]
pub enum Atom {
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Flag(bool),
    Null,
}

impl Element {
    pub fn field(name: &str) -> Element {
        Element::Field(name.into())
    }

    pub(super) fn key(mut parts: Vec<(Box<str>, Atom)>) -> Element {
        parts.sort();
        Element::Key(parts.into())
    }

    /// As a key of `fieldsV1`.
    pub(super) fn encode(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(parts) => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|(name, value)| format!("{}:{}", json_text(name), value.json()))
                    .collect();
                format!("k:{{{}}}", parts.join(","))
            }
            Element::Value(value) => format!("v:{}", value.json()),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    /// From a key of `fieldsV1`; none for a sort of step that a later version may know.
    pub(super) fn decode(text: &str) -> Result<Option<Element>, FieldsError> {
        let malformed = || FieldsError::Element(text.to_owned());
        let (sort, rest) = text.split_once(':').filter(|(sort, _)| sort.len() == 1).ok_or_else(malformed)?;
        let json = || serde_json::from_str::<Value>(rest).map_err(|_| malformed());
        Ok(Some(match sort {
            "f" => Element::field(rest),
            "k" => {
                let Value::Object(parts) = json()? else { return Err(malformed()) };
                Element::key(key_parts(&parts).ok_or_else(malformed)?)
            }
            "v" => Element::Value(Atom::of(&json()?).ok_or_else(malformed)?),
            "i" => Element::Index(rest.parse().map_err(|_| malformed())?),
            _ => return Ok(None),
        }))
    }
}

fn key_parts(parts: &Map<String, Value>) -> Option<Vec<(Box<str>, Atom)>> {
    parts.iter().map(|(name, value)| Some((name.as_str().into(), Atom::of(value)?))).collect()
}

impl Atom {
    /// None for lists and objects.
    pub fn of(value: &Value) -> Option<Atom> {
        match value {
            Value::Null => Some(Atom::Null),
            Value::Bool(flag) => Some(Atom::Flag(*flag)),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Some(Atom::Int(whole)),
                None => number.as_f64().map(Atom::Float),
            },
            Value::String(text) => Some(Atom::Text(text.as_str().into())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn json(&self) -> String {
        match self {
            Atom::Int(whole) => whole.to_string(),
            Atom::Float(number) => Value::from(*number).to_string(),
            Atom::Text(text) => json_text(text),
            Atom::Flag(flag) => flag.to_string(),
            Atom::Null => "null".to_owned(),
        }
    }

    /// Numbers come first and compare as numbers whatever their form.
    fn rank(&self) -> u8 {
        match self {
            Atom::Int(_) | Atom::Float(_) => 0,
            Atom::Text(_) => 1,
            Atom::Flag(_) => 2,
            Atom::Null => 3,
        }
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Atom::Int(a), Atom::Int(b)) => a.cmp(b),
            (Atom::Float(a), Atom::Float(b)) => a.total_cmp(b),
            (Atom::Int(a), Atom::Float(b)) => (*a as f64).total_cmp(b),
            (Atom::Float(a), Atom::Int(b)) => a.total_cmp(&(*b as f64)),
            (Atom::Text(a), Atom::Text(b)) => a.cmp(b),
            (Atom::Flag(a), Atom::Flag(b)) => a.cmp(b),
            (
                Atom::Int(_) | Atom::Float(_) | Atom::Text(_) | Atom::Flag(_) | Atom::Null,
                Atom::Int(_) | Atom::Float(_) | Atom::Text(_) | Atom::Flag(_) | Atom::Null,
            ) => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Atom {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Atom {}

/// As Go writes a text into JSON: what HTML could misread is escaped too.
fn json_text(text: &str) -> String {
    let json = Value::from(text).to_string();
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json;
    }
    let escape = |letter: char| match letter {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    json.chars().map(escape).collect()
}

/// As messages write it: `.name`, `[name="a"]`, `[="x"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(to, ".{name}"),
            Element::Key(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(to, "[{}]", parts.join(","))
            }
            Element::Value(value) => write!(to, "[={value}]"),
            Element::Index(index) => write!(to, "[{index}]"),
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Text(text) => write!(to, "{text:?}"),
            Atom::Int(_) | Atom::Float(_) | Atom::Flag(_) | Atom::Null => to.write_str(&self.json()),
        }
    }
}
