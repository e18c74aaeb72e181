//! Pruning, defaulting and validation by schemas as definitions have them. Texts are those of a real server.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Structural, defaults, prune, schema_errors};

/// The object after pruning and defaulting, what went, and what is wrong.
fn check(schema: Value, object: Value, expected: Expect) {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": schema}}));
    let mut object =
        json!({"apiVersion": "lab.io/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": object});
    let gone = prune::prune(&schema, &mut object);
    defaults::apply(&schema, &mut object);
    let once = object.clone();
    defaults::apply(&schema, &mut object);
    assert_eq!(object, once, "defaults are idempotent");
    let mut told = object["spec"].to_string();
    told.extend(gone.iter().map(|path| format!("\n- {path}")));
    told.extend(schema_errors(&schema, &object, "").iter().map(|error| format!("\n! {error}")));
    expected.assert_eq(&told);
}

#[test]
fn unknown_fields_go() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "integer"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"type": "string"}}}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "known": {"type": "object", "properties": {"c": {"type": "string"}}},
        }},
        "bare": {"type": "object"},
        "free": {"type": "object", "additionalProperties": true},
        "whole": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
    }});
    check(
        schema,
        json!({
            "a": 1, "yy": 2, "list": [{"name": "a", "zz": 1}], "map": {"k": {"b": "x", "c": 1}},
            "any": {"x": {"y": null}, "known": {"c": "1", "d": 2}}, "bare": {"x": 1}, "free": {"x": {"y": 1}},
            "whole": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}, "more": 1},
        }),
        expect![[r#"
            {"a":1,"list":[{"name":"a"}],"map":{"k":{"b":"x"}},"any":{"x":{"y":null},"known":{"c":"1"}},"bare":{},"free":{"x":{"y":1}},"whole":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{}}}
            - spec.yy
            - spec.list[0].zz
            - spec.map.k.c
            - spec.any.known.d
            - spec.bare.x
            - spec.whole.spec.x
            - spec.whole.more"#]],
    );
}

#[test]
fn defaults_fill_what_is_absent_and_nulls_go() {
    let schema = json!({"type": "object", "properties": {
        "replicas": {"type": "integer", "default": 1},
        "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "string", "default": "d"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "default": 7}},
        "nullable": {"type": "string", "nullable": true, "default": "x"},
        "plain": {"type": "string"},
    }});
    check(
        schema.clone(),
        json!({"replicas": null, "list": [{}], "map": {"a": null, "b": 1}, "nullable": null, "plain": null}),
        expect![[
            r#"{"replicas":1,"list":[{"p":"TCP"}],"map":{"a":7,"b":1},"nullable":null,"nested":{"deep":"d"}}"#
        ]],
    );
    check(schema, json!({}), expect![[r#"{"nested":{"deep":"d"},"nullable":"x","replicas":1}"#]]);
}

fn checked() -> Value {
    json!({"type": "object", "required": ["replicas"], "properties": {
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "format": "int32"},
        "color": {"type": "string", "enum": ["red", "green", "blue"]},
        "pattern": {"type": "string", "pattern": "^a+$", "maxLength": 3, "minLength": 1},
        "list": {"type": "array", "maxItems": 2, "minItems": 1, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ios": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "when": {"type": "string", "format": "date-time"},
        "half": {"type": "number", "multipleOf": 0.5, "minimum": 0, "exclusiveMinimum": true},
        "one": {"type": "object", "maxProperties": 1, "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "not": {"type": "string", "not": {"enum": ["x"]}, "allOf": [{"minLength": 2}]},
    }})
}

#[test]
fn values_are_validated_in_the_words_of_a_real_server() {
    let wrong = |object: Value, expected: Expect| check(checked(), object, expected);
    wrong(
        json!({"replicas": 1, "ios": "50%", "half": 1.5, "one": {"a": ""}, "not": "yy", "when": "2026-11-21T00:00:00Z"}),
        expect![[
            r#"{"replicas":1,"ios":"50%","half":1.5,"one":{"a":""},"not":"yy","when":"2026-11-21T00:00:00Z"}"#
        ]],
    );
    wrong(
        json!({"replicas": "string"}),
        expect![[r#"
        {"replicas":"string"}
        ! spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#]],
    );
    wrong(
        json!({"replicas": -1}),
        expect![[r#"
        {"replicas":-1}
        ! spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0"#]],
    );
    wrong(
        json!({"replicas": 11, "color": "pink"}),
        expect![[r#"
        {"replicas":11,"color":"pink"}
        ! spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10
        ! spec.color: Unsupported value: "pink": supported values: "red", "green", "blue""#]],
    );
    wrong(
        json!({"replicas": 1, "pattern": "bbb"}),
        expect![[r#"
        {"replicas":1,"pattern":"bbb"}
        ! spec.pattern: Invalid value: "bbb": spec.pattern in body should match '^a+$'"#]],
    );
    wrong(
        json!({"replicas": 1, "pattern": "aaaa"}),
        expect![[r#"
        {"replicas":1,"pattern":"aaaa"}
        ! spec.pattern: Too long: may not be more than 3 bytes"#]],
    );
}

#[test]
fn lists_formats_and_junctions_are_validated() {
    let wrong = |object: Value, expected: Expect| check(checked(), object, expected);
    wrong(
        json!({"replicas": 1, "list": [{}]}),
        expect![[r#"
        {"replicas":1,"list":[{}]}
        ! spec.list[0].name: Required value"#]],
    );
    wrong(
        json!({"replicas": 1, "list": [{"name": "a"}, {"name": "a"}, {"name": "b"}], "set": ["a", "a"]}),
        expect![[r#"
        {"replicas":1,"list":[{"name":"a"},{"name":"a"},{"name":"b"}],"set":["a","a"]}
        ! spec.list: Too many: 3: must have at most 2 items
        ! spec.list[1]: Duplicate value: {"name":"a"}
        ! spec.set[1]: Duplicate value: "a""#]],
    );
    wrong(
        json!({"list": [], "ios": true, "when": "nope"}),
        expect![[r#"
        {"list":[],"ios":true,"when":"nope"}
        ! spec.replicas: Required value
        ! spec.list: Invalid value: 0: spec.list in body should have at least 1 items
        ! spec.ios: Invalid value: "boolean": spec.ios in body must be of type integer,string: "boolean"
        ! spec.when: Invalid value: "nope": spec.when in body must be of type date-time: "nope""#]],
    );
    wrong(
        json!({"replicas": 1, "half": 0.7, "one": {"a": "", "b": ""}, "not": "x"}),
        expect![[r#"
        {"replicas":1,"half":0.7,"one":{"a":"","b":""},"not":"x"}
        ! spec.half: Invalid value: 0.7: spec.half in body should be a multiple of 0.5
        ! spec.one: Too many: 2: must have at most 1 item
        ! spec.one: Invalid value: {"a":"","b":""}: "spec.one" must validate one and only one schema (oneOf). Found 2 valid alternatives
        ! spec.not: Invalid value: "x": "spec.not" must not validate the schema (not)
        ! spec.not: Invalid value: "x": "spec.not" must validate all the schemas (allOf). None validated
        ! spec.not: Invalid value: "x": spec.not in body should be at least 2 chars long"#]],
    );
}
