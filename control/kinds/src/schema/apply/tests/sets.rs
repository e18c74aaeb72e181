//! Sets of fields: their algebra, their encoding, and which fields an object has.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::super::*;
use crate::schema::Schema;

fn type_of(definition: &str) -> crate::schema::TypeId {
    Schema::builtin().type_of(definition).expect("known definition")
}

fn fields(definition: &str, object: &Value) -> FieldSet {
    fields_of(&Schema::builtin(), type_of(definition), object)
}

fn check(definition: &str, object: Value, expected: Expect) {
    let set = fields(definition, &object);
    let encoded = set.to_fields_v1();
    assert_eq!(FieldSet::from_fields_v1(&encoded).unwrap(), set);
    expected.assert_eq(&encoded.to_string());
}

const POD: &str = "io.k8s.api.core.v1.Pod";

#[test]
fn structs_maps_lists_and_sets_have_fields() {
    let object = json!({
        "metadata": {"labels": {"b": "1", "a": ""}, "finalizers": ["x.io/b", "x.io/a"], "annotations": {}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [{
                "name": "web", "args": ["-v", "-v"], "resources": {},
                "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
            }],
        },
    });
    check(
        POD,
        object,
        expect![[
            r#"{"f:metadata":{"f:annotations":{},"f:finalizers":{"v:\"x.io/a\"":{},"v:\"x.io/b\"":{}},"f:labels":{"f:a":{},"f:b":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:args":{},"f:name":{},"f:ports":{"k:{\"containerPort\":53,\"protocol\":\"UDP\"}":{".":{},"f:containerPort":{},"f:protocol":{}},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{}}},"f:nodeSelector":{}}}"#
        ]],
    );
}

#[test]
fn items_that_share_a_key_are_one_field() {
    let object = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}]}});
    check(POD, object, expect![[r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{}}}}"#]]);
}

#[test]
fn keys_are_written_as_go_writes_them() {
    let object = json!({"metadata": {"finalizers": ["a<b>&\"c\"", "\u{2028}", "é\n"]}});
    check(
        POD,
        object,
        expect![[
            r#"{"f:metadata":{"f:finalizers":{"v:\"a\\u003cb\\u003e\\u0026\\\"c\\\"\"":{},"v:\"é\\n\"":{},"v:\"\\u2028\"":{}}}}"#
        ]],
    );
}

#[test]
fn elements_are_ordered_as_upstream_orders_them() {
    let encoded = json!({
        "i:1": {}, "v:true": {}, "v:\"a\"": {}, "v:2": {}, "v:1.5": {}, "v:10": {}, "k:{\"b\":1}": {},
        "k:{\"a\":2}": {}, "k:{\"a\":2,\"b\":1}": {}, "f:z": {}, "f:a": {"f:x": {}, ".": {}}, "v:null": {},
    });
    let set = FieldSet::from_fields_v1(&encoded).unwrap();
    expect![[r#"{"f:a":{".":{},"f:x":{}},"f:z":{},"k:{\"a\":2}":{},"k:{\"a\":2,\"b\":1}":{},"k:{\"b\":1}":{},"v:1.5":{},"v:2":{},"v:10":{},"v:\"a\"":{},"v:true":{},"v:null":{},"i:1":{}}"#]]
        .assert_eq(&set.to_fields_v1().to_string());
    expect![[r#"
        .a
        .z
        [a=2]
        [a=2,b=1]
        [b=1]
        [=1.5]
        [=2]
        [=10]
        [="a"]
        [=true]
        [=null]
        [1]
        .a.x"#]]
    .assert_eq(&set.to_string());
}

#[test]
fn what_is_no_path_element_is_refused_and_what_may_come_is_left_out() {
    let read = |encoded: Value| match FieldSet::from_fields_v1(&encoded) {
        Ok(set) => set.to_fields_v1().to_string(),
        Err(error) => error.to_string(),
    };
    expect![[r#""x" is no path element"#]].assert_eq(&read(json!({"x": {}})));
    expect![[r#""k:{" is no path element"#]].assert_eq(&read(json!({"f:a": {"k:{": {}}})));
    expect![[r#""v:[1]" is no path element"#]].assert_eq(&read(json!({"v:[1]": {}})));
    expect!["managed fields must be objects"].assert_eq(&read(json!({"f:a": 1})));
    expect![[r#"{"f:b":{}}"#]].assert_eq(&read(json!({"q:new": {"f:a": {}}, "f:b": {}})));
}

#[test]
fn the_algebra_of_sets() {
    let read = |encoded: &str| FieldSet::from_fields_v1(&serde_json::from_str(encoded).unwrap()).unwrap();
    let a = read(r#"{"f:a":{".":{},"f:x":{},"f:y":{}},"f:b":{}}"#);
    let b = read(r#"{"f:a":{"f:x":{}},"f:c":{"f:z":{}}}"#);
    let shown = |set: FieldSet| set.to_string().replace('\n', " ");
    expect![".a .b .a.x .a.y .c.z"].assert_eq(&shown(a.union(&b)));
    expect![".a.x"].assert_eq(&shown(a.intersection(&b)));
    expect![".a .b .a.y"].assert_eq(&shown(a.difference(&b)));
    expect![".c.z"].assert_eq(&shown(b.difference(&a)));
    expect![".c.z"].assert_eq(&shown(b.recursive_difference(&a)));
    expect![""].assert_eq(&shown(b.recursive_difference(&read(r#"{"f:a":{},"f:c":{}}"#))));
    expect![".a.x .c.z"].assert_eq(&shown(b.difference(&read(r#"{"f:a":{},"f:c":{}}"#))));
}

/// Added, modified, removed.
fn check_compare(old: Value, new: Value, expected: Expect) {
    let found = compare(&Schema::builtin(), type_of(POD), &old, &new);
    let shown = |set: &FieldSet| set.to_string().replace('\n', " ");
    let lines = [("+", &found.added), ("~", &found.modified), ("-", &found.removed)];
    let lines: Vec<String> =
        lines.map(|(mark, set)| format!("{mark} {}", shown(set)).trim_end().to_owned()).into();
    expected.assert_eq(&lines.join("\n"));
    let back = compare(&Schema::builtin(), type_of(POD), &new, &old);
    assert_eq!((back.added, back.modified, back.removed), (found.removed, found.modified, found.added));
}

#[test]
fn objects_are_compared_field_by_field() {
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    check_compare(
        labels(json!({"a": "1", "b": "1"})),
        labels(json!({"b": "2", "c": "1"})),
        expect![[r#"
        + .metadata.labels.c
        ~ .metadata.labels.b
        - .metadata.labels.a"#]],
    );
    check_compare(
        json!({"metadata": {}}),
        labels(json!({"a": "1"})),
        expect![[r#"
        + .metadata.labels .metadata.labels.a
        ~
        -"#]],
    );
    let pod = |containers: Value| json!({"spec": {"containers": containers}});
    check_compare(
        pod(json!([{"name": "a", "args": ["1"], "resources": {}}, {"name": "b"}])),
        pod(json!([{"name": "c", "image": "x"}, {"name": "a", "args": ["1", "2"]}])),
        expect![[r#"
            + .spec.containers[name="c"] .spec.containers[name="c"].image .spec.containers[name="c"].name .spec.containers[name="c"].resources
            ~ .spec.containers[name="a"].args
            - .spec.containers[name="b"] .spec.containers[name="b"].name .spec.containers[name="b"].resources"#]],
    );
    check_compare(
        pod(json!([{"name": "a", "image": "1"}, {"name": "a", "image": "2"}])),
        pod(json!([{"name": "a", "image": "1"}])),
        expect![[r#"
            + .spec.containers[name="a"] .spec.containers[name="a"].image .spec.containers[name="a"].name .spec.containers[name="a"].resources
            ~
            - .spec.containers[name="a"]"#]],
    );
}

#[test]
fn a_configuration_names_declared_fields_of_their_types() {
    let check = |config: Value, expected: Expect| {
        let outcome = check_declared(&Schema::builtin(), type_of(POD), &config);
        expected.assert_eq(&outcome.err().unwrap_or_default());
    };
    check(json!({"spec": {"containers": [{"name": "a", "image": null}], "nodeSelector": {}}}), expect![""]);
    check(json!({"spec": {"foo": 1}}), expect![".spec.foo: field not declared in schema"]);
    check(
        json!({"spec": {"containers": [{"name": "a", "imag": 1}], "hostNetwork": "x"}, "x": 1}),
        expect![[r#"
            errors:
              .spec.containers[name="a"].imag: field not declared in schema
              .spec.hostNetwork: expected boolean, got &{x}
              .x: field not declared in schema"#]],
    );
    check(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
        expect![[r#".spec.containers: duplicate entries for key [name="a"]"#]],
    );
    check(
        json!({"spec": {"terminationGracePeriodSeconds": "1"}}),
        expect![".spec.terminationGracePeriodSeconds: expected numeric (int or float), got string"],
    );
    check(
        json!({"spec": {"nodeName": 1, "containers": {}}, "metadata": []}),
        expect![[r#"
            errors:
              .spec.nodeName: expected string, got &value.valueUnstructured{Value:1}
              .spec.containers: expected list, got &{{}}
              .metadata: expected map, got &{[]}"#]],
    );
    check(
        json!({"metadata": {"finalizers": [null]}, "spec": {"containers": [1]}}),
        expect![[r#"
            errors:
              .metadata.finalizers: element 0: associative list without keys has an element that's an explicit null
              .spec.containers: element 0: associative list with keys may not have non-map elements"#]],
    );
}
