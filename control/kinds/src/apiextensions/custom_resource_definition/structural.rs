//! Whether a schema is structural: every value has one type, so that pruning and defaulting are plain.
//!
//! Follows "Specifying a structural schema" in Kubernetes' documentation, worded as its server words it.

use serde_json::Value;

use super::rules;
use crate::custom::{Pattern, Structural, pruned, rule_errors, schema_errors};
use crate::{Field, FieldError, FieldErrors, tree};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// What JSON Schema has and structural schemas have not.
const UNSUPPORTED: &[&str] =
    &["$ref", "$schema", "additionalItems", "definitions", "dependencies", "id", "patternProperties"];
/// What is said once, outside of `allOf`, `anyOf`, `oneOf` and `not`.
const ONLY_OUTSIDE: &[&str] = &[
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "type",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
const JUNCTIONS: &[&str] = &["allOf", "anyOf", "oneOf"];

/// Where in a schema we are, for what depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Item,
}

/// All that is wrong with `schema`, which stands at `path`.
pub(super) fn validate(schema: &Value, path: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let at = Field { value: schema, path: path.to_owned() };
    node(&at, Place::Root, &mut errors);
    // What depends on a schema waits until there is one.
    if errors.is_empty() {
        rules::validate(&at, &mut errors);
    }
    if errors.is_empty() {
        defaults(&at, &mut errors);
    }
    errors
}

fn node(at: &Field<'_>, place: Place, errors: &mut FieldErrors) {
    validate_type(at, place, errors);
    validate_general(at, place, errors);
    validate_lists(at, errors);
    for name in JUNCTIONS {
        for (index, junct) in at.get(name).items().enumerate() {
            let is_alternative = is_int_or_string_alternative(at.value, name, index);
            inside(&junct, at.value, is_alternative, errors);
        }
    }
    if at.get("not").is_set() {
        inside(&at.get("not"), at.value, false, errors);
    }
    for (name, property) in at.get("properties").entries() {
        if place == Place::Root && matches!(name, "apiVersion" | "kind" | "metadata") {
            validate_root_property(name, &property, errors);
        } else {
            node(&property, Place::Property, errors);
        }
    }
    if at.get("items").is_set() {
        match at.get("items").value {
            Value::Array(_) => {
                errors.push(at.get("items").forbidden("items must be a schema object and not an array"));
            }
            _ => node(&at.get("items"), Place::Item, errors),
        }
    }
    match at.get("additionalProperties").value {
        Value::Bool(false) => errors
            .push(at.get("additionalProperties").forbidden("additionalProperties cannot be set to false")),
        Value::Object(_) => node(&at.get("additionalProperties"), Place::Property, errors),
        _ => {}
    }
}

fn validate_type(at: &Field<'_>, place: Place, errors: &mut FieldErrors) {
    let ty = at.get("type");
    let is_free =
        at.get("x-kubernetes-int-or-string").flag() || at.get("x-kubernetes-preserve-unknown-fields").flag();
    match (ty.text(), place) {
        ("", Place::Root) => errors.push(ty.required("must not be empty at the root")),
        ("object", _) => {}
        (_, Place::Root) => errors.push(ty.invalid("must be object at the root")),
        ("", _) if is_free => {}
        ("", Place::Property) => {
            errors.push(ty.required("must not be empty for specified object fields"));
        }
        ("", Place::Item) => errors.push(ty.required("must not be empty for specified array items")),
        ("null", _) => {
            errors.push(ty.forbidden("type cannot be set to null, use nullable as an alternative"));
        }
        (text, _) if !TYPES.contains(&text) => errors.push(ty.not_supported(TYPES)),
        ("array", _) if !at.get("items").is_set() => {
            errors.push(at.get("items").required("must be specified"))
        }
        (_, _) => {}
    }
}

fn validate_general(at: &Field<'_>, place: Place, errors: &mut FieldErrors) {
    for name in UNSUPPORTED {
        if at.get(name).is_set() {
            errors.push(at.get(name).forbidden(format!("{name} is not supported")));
        }
    }
    if at.get("uniqueItems").flag() {
        errors.push(
            at.get("uniqueItems").forbidden(
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ),
        );
    }
    if at.get("additionalProperties").is_set() && at.get("properties").is_set() {
        errors.push(
            at.get("additionalProperties")
                .forbidden("additionalProperties and properties are mutual exclusive"),
        );
    }
    if place == Place::Root && at.get("additionalProperties").is_set() {
        errors.push(at.get("additionalProperties").forbidden("must not be used at the root"));
    }
    if place == Place::Root && at.get("nullable").flag() {
        errors.push(at.get("nullable").forbidden("nullable cannot be true at the root"));
    }
    if at.get("x-kubernetes-int-or-string").flag() && !at.get("type").text().is_empty() {
        errors.push(at.get("type").invalid("must be empty if x-kubernetes-int-or-string is true"));
    }
    if at.get("x-kubernetes-embedded-resource").flag() {
        let has_fields =
            at.get("properties").is_set() || at.get("x-kubernetes-preserve-unknown-fields").flag();
        if at.get("type").text() != "object" {
            errors.push(at.get("type").invalid("must be object if x-kubernetes-embedded-resource is true"));
        } else if !has_fields {
            errors.push(at.get("properties").required(
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ));
        }
    }
    validate_pattern(at, errors);
    rules::validate_texts(at, errors);
}

fn validate_pattern(at: &Field<'_>, errors: &mut FieldErrors) {
    let pattern = at.get("pattern");
    if !pattern.text().is_empty()
        && let Err(error) = Pattern::parse(pattern.text())
    {
        errors.push(pattern.invalid(format!("must be a valid regular expression, but isn't: {error}")));
    }
}

fn validate_lists(at: &Field<'_>, errors: &mut FieldErrors) {
    let (list, keys) = (at.get("x-kubernetes-list-type"), at.get("x-kubernetes-list-map-keys"));
    let map = at.get("x-kubernetes-map-type");
    if map.is_set() {
        if at.get("type").text() != "object" {
            errors.push(at.get("type").invalid("must be object if x-kubernetes-map-type is specified"));
        }
        errors.extend(map.one_of(&["atomic", "granular"]));
    }
    if list.is_set() {
        if at.get("type").text() != "array" {
            errors.push(at.get("type").invalid("must be array if x-kubernetes-list-type is specified"));
        }
        errors.extend(list.one_of(&["atomic", "map", "set"]));
    }
    if list.text() != "map" {
        if keys.is_set() {
            errors.push(list.required("must be map if x-kubernetes-list-map-keys is non-empty"));
        }
        return;
    }
    if keys.list().is_empty() {
        errors.push(keys.required("must not be empty if x-kubernetes-list-type is map"));
    }
    let items = at.get("items");
    for key in keys.items() {
        let property = items.get("properties").value.get(key.text());
        let required = items.get("required").list().contains(key.value);
        match property {
            None => errors.push(key.invalid("entries must all be names of item properties")),
            Some(of) if matches!(tree::text(of, "type"), "array" | "object") => {
                errors.push(key.invalid("must refer to a property of scalar type"));
            }
            Some(of) if !required && of.get("default").is_none() => {
                let path = format!("{}.properties[{}].default", items.path, key.text());
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                errors.push(FieldError::required(path, why));
            }
            Some(_) => {}
        }
    }
}

/// A property that all objects have: it may be narrowed a little, and nothing else.
fn validate_root_property(name: &str, at: &Field<'_>, errors: &mut FieldErrors) {
    let ty = at.get("type");
    if name != "metadata" {
        if ty.text() != "string" {
            errors.push(ty.invalid("must be string"));
        }
        return validate_pattern(at, errors);
    }
    if ty.text() != "object" {
        errors.push(ty.invalid("must be object"));
    }
    for (name, property) in at.get("properties").entries() {
        if !matches!(name, "name" | "generateName") {
            errors.push(property.forbidden(
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
        validate_pattern(&property, errors);
    }
}

/// A schema inside of a junction validates values that the schema around it describes.
fn inside(at: &Field<'_>, around: &Value, may_have_type: bool, errors: &mut FieldErrors) {
    for name in ONLY_OUTSIDE {
        if at.get(name).is_set() && !(may_have_type && *name == "type") {
            errors.push(at.get(name).forbidden("must be empty to be structural"));
        }
    }
    validate_pattern(at, errors);
    for name in UNSUPPORTED {
        if at.get(name).is_set() {
            errors.push(at.get(name).forbidden(format!("{name} is not supported")));
        }
    }
    for (name, property) in at.get("properties").entries() {
        match around.get("properties").and_then(|them| them.get(name)) {
            Some(around) => inside(&property, around, false, errors),
            None if tree::flag(around, "x-kubernetes-preserve-unknown-fields") => {}
            None => {
                let why = format!("because it is defined in {}", property.path);
                errors.push(FieldError::required(&property.path, &why));
            }
        }
    }
    if at.get("items").is_set() {
        inside(&at.get("items"), around.get("items").unwrap_or(&Value::Null), false, errors);
    }
    for name in JUNCTIONS {
        for junct in at.get(name).items() {
            inside(&junct, around, may_have_type, errors);
        }
    }
    if at.get("not").is_set() {
        inside(&at.get("not"), around, false, errors);
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, the one junction that may name types, or `allOf` around it.
fn is_int_or_string_alternative(around: &Value, junction: &str, index: usize) -> bool {
    tree::flag(around, "x-kubernetes-int-or-string")
        && (junction == "anyOf" || junction == "allOf" && index == 0)
}

/// Each default is what its own schema wants.
fn defaults(at: &Field<'_>, errors: &mut FieldErrors) {
    if let Some(default) = at.value.get("default").filter(|default| !default.is_null()) {
        let schema = Structural::parse(at.value);
        let path = format!("{}.default", at.path);
        if pruned(&schema, default) != *default {
            errors.push(FieldError::invalid(&path, default.clone(), "must not have unknown fields"));
        }
        let wrong = schema_errors(&schema, default, &path);
        if wrong.is_empty() {
            errors.extend(rule_errors(&schema, default, &path));
        }
        errors.extend(wrong);
    }
    for (_, property) in at.get("properties").entries() {
        defaults(&property, errors);
    }
    for name in ["items", "additionalProperties"] {
        if at.get(name).value.is_object() {
            defaults(&at.get(name), errors);
        }
    }
}
