//! Definitions: what is filled in, what is refused, and what may not change. Texts are those of a real server.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::custom_resource_definition::CUSTOM_RESOURCE_DEFINITION as KIND;
use crate::check::{create_errors, created, row, update};
use crate::tree;

fn definition(schema: Value) -> Value {
    json!({
        "metadata": {"name": "bars.lab.io"},
        "spec": {
            "group": "lab.io",
            "scope": "Namespaced",
            "names": {"plural": "bars", "kind": "Bar"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn with(path: &str, value: Value) -> Value {
    let mut made = definition(json!({"type": "object"}));
    tree::set(&mut made, path, value);
    made
}

/// What is wrong with a definition.
fn refuse(definition: Value, expected: Expect) {
    expected.assert_eq(&create_errors(&KIND, definition));
}

/// What is wrong with a schema; paths start where the schema does.
fn schema(schema: Value, expected: Expect) {
    let told = create_errors(&KIND, definition(schema));
    expected.assert_eq(&told.replace("spec.validation.openAPIV3Schema.", ""));
}

#[test]
fn names_and_status_are_filled_in() {
    let made = created(&KIND, definition(json!({"type": "object"})));
    expect![[r#"{"plural":"bars","kind":"Bar","singular":"bar","listKind":"BarList"} "None" {"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":["v1"]}"#]]
        .assert_eq(&format!(
            "{} {} {}",
            made["spec"]["names"], made["spec"]["conversion"]["strategy"], made["status"]
        ));
    expect![[r#"
        Name: x
        Created At: 2026-11-21T11:55:30Z
    "#]]
    .assert_eq(&row(&KIND, json!({})));
}

#[test]
fn what_is_no_definition() {
    refuse(definition(json!({"type": "object"})), expect![""]);
    refuse(
        with("metadata.name", json!("x.lab.io")),
        expect![[r#"
        metadata.name: Invalid value: "x.lab.io": must be spec.names.plural+"."+spec.group
    "#]],
    );
    refuse(
        with("spec.preserveUnknownFields", json!(true)),
        expect![[r#"
        spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead
    "#]],
    );
    refuse(
        with("spec.conversion", json!({"strategy": "Webhook"})),
        expect![[r#"
        spec.conversion.strategy: Unsupported value: "Webhook": supported values: "None"
    "#]],
    );
    refuse(
        with("spec.scope", json!("Galaxy")),
        expect![[r#"
        spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"
    "#]],
    );
    refuse(
        with("spec.names.listKind", json!("Bar")),
        expect![[r#"
        spec.names.listKind: Invalid value: "Bar": kind and listKind may not be the same
    "#]],
    );
    refuse(
        with("spec.versions", json!([{"name": "v1", "storage": true}])),
        expect![[r#"
        spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required
        spec.versions: Invalid value: [{"name":"v1","storage":true}]: must have at least one version marked as served
    "#]],
    );
    let mut protected = with("spec.group", json!("x.k8s.io"));
    tree::set(&mut protected, "metadata.name", "bars.x.k8s.io");
    refuse(
        protected,
        expect![[r#"
        metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111
    "#]],
    );
}

#[test]
fn what_is_no_structural_schema() {
    schema(
        json!({}),
        expect![[r#"
        type: Required value: must not be empty at the root
    "#]],
    );
    schema(
        json!({"type": "object", "properties": {"spec": {}}}),
        expect![[r#"
        properties[spec].type: Required value: must not be empty for specified object fields
    "#]],
    );
    schema(
        json!({"type": "object", "properties": {
            "a": {"type": "array"},
            "b": {"type": "array", "items": {}, "uniqueItems": true},
            "c": {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": {"type": "string"}},
            "d": {"type": "object", "additionalProperties": false},
            "e": {"type": "strange"},
            "f": {"type": "object", "$ref": "#/x", "definitions": {"x": {"type": "string"}}},
            "g": {"x-kubernetes-int-or-string": true},
            "h": {"x-kubernetes-preserve-unknown-fields": true},
        }}),
        expect![[r#"
            properties[a].items: Required value: must be specified
            properties[b].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic
            properties[b].items.type: Required value: must not be empty for specified array items
            properties[c].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive
            properties[d].additionalProperties: Forbidden: additionalProperties cannot be set to false
            properties[e].type: Unsupported value: "strange": supported values: "array", "boolean", "integer", "number", "object", "string"
            properties[f].$ref: Forbidden: $ref is not supported
            properties[f].definitions: Forbidden: definitions is not supported
        "#]],
    );
    schema(
        json!({"type": "object", "properties": {"spec": {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "anyOf": [{"properties": {"a": {"type": "string", "default": "x"}}}, {"properties": {"b": {"pattern": "x"}}}],
            "not": {"description": "no"},
        }}}),
        expect![[r#"
            properties[spec].anyOf[0].properties[a].default: Forbidden: must be empty to be structural
            properties[spec].anyOf[0].properties[a].type: Forbidden: must be empty to be structural
            properties[spec].anyOf[1].properties[b]: Required value: because it is defined in properties[spec].anyOf[1].properties[b]
            properties[spec].not.description: Forbidden: must be empty to be structural
        "#]],
    );
}

#[test]
fn what_could_not_be_honoured_is_refused() {
    schema(
        json!({"type": "object", "properties": {
            "pattern": {"type": "string", "pattern": "(?=a)"},
            "default": {"type": "integer", "default": "x"},
            "unknown": {"type": "object", "default": {"x": 1}},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}},
        }}),
        expect![[r#"
            properties[pattern].pattern: Invalid value: "(?=a)": must be a valid regular expression, but isn't: error parsing regexp: invalid or unsupported Perl syntax: `(?=`
            properties[list].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
            properties[list].x-kubernetes-list-map-keys[1]: Invalid value: "b": entries must all be names of item properties
            properties[metadata].properties[labels]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified
        "#]],
    );
    schema(
        json!({"type": "object", "properties": {
            "default": {"type": "integer", "default": "x"},
            "unknown": {"type": "object", "default": {"x": 1}},
        }}),
        expect![[r#"
            properties[default].default: Invalid value: "string": properties[default].default in body must be of type integer: "string"
            properties[unknown].default: Invalid value: {"x":1}: must not have unknown fields
        "#]],
    );
}

#[test]
fn rules_are_checked_against_the_schema() {
    schema(
        json!({"type": "object", "properties": {
            "blank": {"type": "integer", "x-kubernetes-validations": [
                {"rule": " "}, {"rule": "self > 1", "message": " "}, {"rule": "self > 1", "message": "a\nb"},
                {"rule": "self >\n1"}, {"rule": "true", "messageExpression": " ", "reason": "Because", "fieldPath": " "},
            ]},
        }}),
        expect![[r#"
            properties[blank].x-kubernetes-validations[0].rule: Required value: rule is not specified
            properties[blank].x-kubernetes-validations[1].message: Invalid value: " ": must be non-empty if specified
            properties[blank].x-kubernetes-validations[2].message: Invalid value: "a\nb": must not contain line breaks
            properties[blank].x-kubernetes-validations[3].message: Required value: message must be specified if rule contains line breaks
            properties[blank].x-kubernetes-validations[4].messageExpression: Required value: messageExpression must be non-empty if specified
            properties[blank].x-kubernetes-validations[4].reason: Unsupported value: "Because": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"
            properties[blank].x-kubernetes-validations[4].fieldPath: Invalid value: " ": must be non-empty if specified
        "#]],
    );
    schema(
        json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.metadata.name == self.spec.name && self.metadata.labels.size() == 0"},
        ], "properties": {
            "spec": {"type": "object", "properties": {"name": {"type": "string"}}, "x-kubernetes-validations": [
                {"rule": "self.name"}, {"rule": "self.nam == 'x'"}, {"rule": "self.name == "},
                {"rule": "true", "messageExpression": "1"}, {"rule": "true", "messageExpression": "self.x"},
                {"rule": "true", "fieldPath": ".nam"}, {"rule": "true", "fieldPath": ".name"},
                {"rule": "true", "optionalOldSelf": true},
            ]},
            "list": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string",
                    "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}},
            "any": {"x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": [{"rule": "true"}]},
        }}),
        expect![[r#"
            x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.metadata.name == self.spec.name \u0026\u0026 self.metadata.labels.size() == 0","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:54: undefined field 'labels'
             | self.metadata.name == self.spec.name && self.metadata.labels.size() == 0
             | .....................................................^
            properties[spec].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.name","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: cel expression must evaluate to a bool
            properties[spec].x-kubernetes-validations[1].rule: Invalid value: {"Rule":"self.nam == 'x'","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field 'nam'
             | self.nam == 'x'
             | ....^
            properties[spec].x-kubernetes-validations[2].rule: Invalid value: {"Rule":"self.name == ","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:14: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | self.name == 
             | .............^
            properties[spec].x-kubernetes-validations[3].messageExpression: Invalid value: {"Rule":"true","Message":"","MessageExpression":"1","Reason":null,"FieldPath":"","OptionalOldSelf":null}: messageExpression must evaluate to a string
            properties[spec].x-kubernetes-validations[4].messageExpression: Invalid value: {"Rule":"true","Message":"","MessageExpression":"self.x","Reason":null,"FieldPath":"","OptionalOldSelf":null}: messageExpression compilation failed: ERROR: <input>:1:5: undefined field 'x'
             | self.x
             | ....^
            properties[spec].x-kubernetes-validations[5].fieldPath: Invalid value: ".nam": must be a valid path
            properties[spec].x-kubernetes-validations[7].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule
            properties[list].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within properties[list].items
            properties[any].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"true","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: failed to retrieve type information for x-kubernetes-validations
        "#]],
    );
    schema(
        json!({"type": "object", "properties": {"n": {
            "type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1"}],
        }}}),
        expect![[r#"
            properties[n].default: Invalid value: 1: failed rule: self > 1
        "#]],
    );
}

#[test]
fn views_of_a_version() {
    let mut made =
        definition(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "color": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}},
        }}}}));
    let version = json!({
        "subresources": {"scale": {"specReplicasPath": ".status.x", "labelSelectorPath": "x"}},
        "additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": ".a[0:1]"}, {"type": "string"}],
        "selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.list"}, {"jsonPath": ".spec.no"}, {"jsonPath": ".metadata.name"}],
    });
    let known = made["spec"]["versions"][0].as_object_mut().expect("a version");
    known.extend(version.as_object().cloned().expect("fields"));
    refuse(
        made,
        expect![[r#"
        spec.versions[0].subresources.scale.specReplicasPath: Invalid value: ".status.x": should be a json path under .spec
        spec.versions[0].subresources.scale.statusReplicasPath: Required value
        spec.versions[0].subresources.scale.labelSelectorPath: Invalid value: "x": should be a simple json path starting with .
        spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: "text": supported values: "boolean", "date", "integer", "number", "string"
        spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: ".a[0:1]": [0:1] is not understood
        spec.versions[0].additionalPrinterColumns[1].name: Required value
        spec.versions[0].additionalPrinterColumns[1].jsonPath: Required value
        spec.versions[0].selectableFields[1].jsonPath: Invalid value: ".spec.list": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.
        spec.versions[0].selectableFields[2].jsonPath: Invalid value: ".spec.no": does not refer to a valid field
        spec.versions[0].selectableFields[3].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata
    "#]],
    );
}

#[test]
fn what_may_not_change() {
    let old = definition(json!({"type": "object"}));
    let next = with(
        "spec.versions",
        json!([
            {"name": "v2", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ]),
    );
    expect![[r#"
        status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions
    "#]]
    .assert_eq(&update(&KIND, old.clone(), next));
    expect!["good, generation 2\n"].assert_eq(&update(
        &KIND,
        old.clone(),
        with("spec.scope", json!("Cluster")),
    ));
    expect!["good, generation 1\n"].assert_eq(&update(&KIND, old.clone(), old));
}
