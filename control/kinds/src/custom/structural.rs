//! A structural schema: what a version of a definition says about its objects, parsed once.
//!
//! The same shape serves the schema itself and what stands in `allOf`, `anyOf`, `oneOf` and `not`. Parsing takes what
//! the definition's validation let through and does not complain again.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

use super::Pattern;
use super::rules::Rule;
use crate::schema::ListKind;
use crate::tree;

/// One node of the tree.
#[derive(Debug, Default)]
pub struct Structural {
    /// Empty when anything goes.
    pub ty: String,
    pub format: String,
    pub nullable: bool,
    pub default: Option<Value>,
    pub int_or_string: bool,
    /// What the schema does not name is kept.
    pub preserves_unknown: bool,
    /// The value is a whole object, with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    pub properties: BTreeMap<String, Structural>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Structural>>,
    pub list: Option<ListKind>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
    pub checks: Checks,
}

/// What keys beyond the properties may hold.
#[derive(Debug)]
pub enum Additional {
    Anything,
    Of(Box<Structural>),
}

/// Validations of a value beyond its type.
#[derive(Debug, Default)]
pub struct Checks {
    pub values: Option<Vec<Value>>,
    pub pattern: Option<Pattern>,
    pub minimum: Option<Number>,
    pub exclusive_minimum: bool,
    pub maximum: Option<Number>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<Number>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub required: Vec<String>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,
}

impl Structural {
    /// From a JSONSchemaProps.
    pub fn parse(schema: &Value) -> Self {
        let text = |name: &str| tree::text(schema, name).to_owned();
        let flag = |name: &str| tree::flag(schema, name);
        let properties = tree::map(schema, "properties").into_iter().flatten();
        Self {
            ty: text("type"),
            format: text("format"),
            nullable: flag("nullable"),
            default: schema.get("default").filter(|default| !default.is_null()).cloned(),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserves_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: properties.map(|(name, of)| (name.clone(), Self::parse(of))).collect(),
            additional: match schema.get("additionalProperties") {
                Some(Value::Bool(true)) => Some(Additional::Anything),
                Some(of @ Value::Object(_)) => Some(Additional::Of(Box::new(Self::parse(of)))),
                _ => None,
            },
            items: schema.get("items").map(|items| Box::new(Self::parse(items))),
            list: list_kind(schema),
            atomic: tree::text(schema, "x-kubernetes-map-type") == "atomic",
            rules: tree::items(schema, "x-kubernetes-validations").iter().map(Rule::parse).collect(),
            checks: Checks::parse(schema),
        }
    }

    /// The schema of the value under a key; none when the schema does not name it.
    pub fn below(&self, key: &str) -> Option<&Structural> {
        self.properties.get(key).or(match &self.additional {
            Some(Additional::Of(of)) => Some(of),
            Some(Additional::Anything) | None => None,
        })
    }

    /// Whether a null here stands for absence.
    pub fn drops_null(&self) -> bool {
        !self.nullable
    }
}

impl Checks {
    fn parse(schema: &Value) -> Self {
        let number = |name: &str| schema.get(name).and_then(Value::as_number).cloned();
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        let all = |name: &str| tree::items(schema, name).iter().map(Structural::parse).collect();
        let required = tree::items(schema, "required").iter().filter_map(Value::as_str);
        let pattern = tree::text(schema, "pattern");
        Self {
            values: schema.get("enum").and_then(Value::as_array).cloned(),
            pattern: Some(pattern).filter(|text| !text.is_empty()).and_then(|text| Pattern::parse(text).ok()),
            minimum: number("minimum"),
            exclusive_minimum: tree::flag(schema, "exclusiveMinimum"),
            maximum: number("maximum"),
            exclusive_maximum: tree::flag(schema, "exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            required: required.map(str::to_owned).collect(),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: schema.get("not").map(|not| Box::new(Structural::parse(not))),
        }
    }
}

fn list_kind(schema: &Value) -> Option<ListKind> {
    match tree::text(schema, "x-kubernetes-list-type") {
        "set" => Some(ListKind::Set),
        "map" => {
            let keys = tree::items(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
            Some(ListKind::Map { keys: keys.map(Into::into).collect() })
        }
        "atomic" => Some(ListKind::Atomic),
        _ => None,
    }
}
