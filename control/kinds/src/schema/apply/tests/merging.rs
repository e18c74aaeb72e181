//! Configurations laid over objects: lists by key, sets, what is atomic, nesting, removal. The cases are those of
//! structured-merge-diff's suites, told about Deployments.

use expect_test::expect;
use serde_json::{Value, json};

use super::{World, containers};

fn labels(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}})
}

fn finalizers(finalizers: Value) -> Value {
    json!({"metadata": {"finalizers": finalizers}})
}

#[test]
fn maps_merge_by_name() {
    World::default()
        .apply("a", labels(json!({"x": "1", "y": "1"})))
        .apply("b", labels(json!({"z": "1"})))
        .check(expect![[r#"
            {"metadata":{"labels":{"x":"1","y":"1","z":"1"}}}
            a Apply .metadata.labels.x .metadata.labels.y
            b Apply .metadata.labels.z"#]])
        .apply("a", labels(json!({"y": "2"})))
        .check(expect![[r#"
            {"metadata":{"labels":{"y":"2","z":"1"}}}
            b Apply .metadata.labels.z
            a Apply .metadata.labels.y"#]]);
}

#[test]
fn an_applier_that_applies_nothing_takes_its_fields_along() {
    World::default()
        .apply("a", labels(json!({"x": "1"})))
        .apply("b", json!({"spec": {"replicas": 1}}))
        .apply("a", json!({}))
        .check(expect![[r#"
            {"spec":{"replicas":1}}
            b Apply .spec.replicas"#]]);
}

#[test]
fn lists_merge_by_key() {
    World::default()
        .apply("a", containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])))
        .apply("b", containers(json!([{"name": "c", "image": "1"}, {"name": "b", "tty": true}])))
        .check(expect![[r#"
            {"spec":{"template":{"spec":{"containers":[{"name":"a","image":"1"},{"name":"c","image":"1"},{"name":"b","image":"1","tty":true}]}}}}
            a Apply .spec.template.spec.containers[name="a"] .spec.template.spec.containers[name="b"] .spec.template.spec.containers[name="a"].image .spec.template.spec.containers[name="a"].name .spec.template.spec.containers[name="b"].image .spec.template.spec.containers[name="b"].name
            b Apply .spec.template.spec.containers[name="b"] .spec.template.spec.containers[name="c"] .spec.template.spec.containers[name="b"].name .spec.template.spec.containers[name="b"].tty .spec.template.spec.containers[name="c"].image .spec.template.spec.containers[name="c"].name"#]])
        // What a applies no more goes, but what b manages of it stays.
        .apply("a", containers(json!([])))
        .check(expect![[r#"
            {"spec":{"template":{"spec":{"containers":[{"name":"c","image":"1"},{"name":"b","tty":true}]}}}}
            b Apply .spec.template.spec.containers[name="b"] .spec.template.spec.containers[name="c"] .spec.template.spec.containers[name="b"].name .spec.template.spec.containers[name="b"].tty .spec.template.spec.containers[name="c"].image .spec.template.spec.containers[name="c"].name"#]]);
}

#[test]
fn keys_have_defaults() {
    let ports = |ports: Value| containers(json!([{"name": "a", "ports": ports}]));
    World::default()
        .apply("a", ports(json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}])))
        .apply("b", ports(json!([{"containerPort": 53, "protocol": "TCP", "name": "dns"}])))
        .check(expect![[r#"
            {"spec":{"template":{"spec":{"containers":[{"name":"a","ports":[{"containerPort":53,"protocol":"TCP","name":"dns"},{"containerPort":53,"protocol":"UDP"}]}]}}}}
            a Apply .spec.template.spec.containers[name="a"] .spec.template.spec.containers[name="a"].name .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"] .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="UDP"] .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"].containerPort .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="UDP"].containerPort .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="UDP"].protocol
            b Apply .spec.template.spec.containers[name="a"] .spec.template.spec.containers[name="a"].name .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"] .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"].containerPort .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"].name .spec.template.spec.containers[name="a"].ports[containerPort=53,protocol="TCP"].protocol"#]]);
}

/// Each line: what is there, what is applied, and what comes of it.
#[test]
fn sets_keep_the_order_of_the_configuration_between_what_is_there() {
    let cases = [
        ("ab", "cd", "abcd"),
        ("abc", "xb", "axbc"),
        ("abc", "cab", "cab"),
        ("abcd", "db", "acdb"),
        ("abc", "cxa", "bcxa"),
        ("ac", "abc", "abc"),
        ("", "ba", "ba"),
        ("ba", "", "ba"),
        ("dcba", "ab", "dcab"),
    ];
    let letters = |text: &str| text.chars().map(|letter| format!("x.io/{letter}")).collect::<Vec<_>>();
    for (there, applied, expected) in cases {
        let mut world = World::default();
        world.apply("a", finalizers(json!(letters(there)))).apply("b", finalizers(json!(letters(applied))));
        let object = world.object.unwrap_or_default();
        assert_eq!(object["metadata"]["finalizers"], json!(letters(expected)), "{there} {applied}");
    }
}

#[test]
fn items_of_sets_have_managers_of_their_own() {
    World::default()
        .apply("a", finalizers(json!(["x.io/a", "x.io/b"])))
        .apply("b", finalizers(json!(["x.io/b", "x.io/c"])))
        .apply("a", finalizers(json!(["x.io/a"])))
        .apply("b", finalizers(json!(["x.io/c"])))
        .check(expect![[r#"
            {"metadata":{"finalizers":["x.io/a","x.io/c"]}}
            a Apply .metadata.finalizers[="x.io/a"]
            b Apply .metadata.finalizers[="x.io/c"]"#]]);
}

#[test]
fn what_is_atomic_has_one_manager() {
    let selector = |selector: Value| json!({"spec": {"selector": {"matchLabels": selector}}});
    World::default()
        .apply("a", selector(json!({"x": "1"})))
        .refuse(
            "b",
            selector(json!({"y": "1"})),
            expect![[r#"Apply failed with 1 conflict: conflict with "a": .spec.selector"#]],
        )
        .force("b", selector(json!({"y": "1"})))
        .check(expect![[r#"
            {"spec":{"selector":{"matchLabels":{"y":"1"}}}}
            b Apply .spec.selector"#]]);
    World::default()
        .apply("a", containers(json!([{"name": "a", "args": ["1"]}])))
        .refuse(
            "b",
            containers(json!([{"name": "a", "args": ["1", "2"]}])),
            expect![[r#"Apply failed with 1 conflict: conflict with "a": .spec.template.spec.containers[name="a"].args"#]],
        );
}

#[test]
fn who_applies_the_same_shares() {
    World::default()
        .apply("a", labels(json!({"x": "1"})))
        .apply("b", labels(json!({"x": "1"})))
        .apply("a", json!({}))
        .check(expect![[r#"
            {"metadata":{"labels":{"x":"1"}}}
            b Apply .metadata.labels.x"#]])
        .apply("b", json!({}))
        .check(expect![[r#"{}"#]]);
}

#[test]
fn conflicts_name_every_manager_and_field() {
    World::default()
        .apply("b", labels(json!({"x": "1", "y": "1"})))
        .apply("a", json!({"spec": {"replicas": 1}}))
        .patch("edit", json!({"spec": {"minReadySeconds": 5}}))
        .refuse(
            "c",
            json!({"metadata": {"labels": {"x": "2", "y": "2", "z": "2"}}, "spec": {"replicas": 2, "minReadySeconds": 6}}),
            expect![[r#"
                Apply failed with 4 conflicts: conflicts with "a":
                - .spec.replicas
                conflicts with "b":
                - .metadata.labels.x
                - .metadata.labels.y
                conflicts with "edit" using apps/v1:
                - .spec.minReadySeconds"#]],
        )
        .force("c", labels(json!({"x": "2"})))
        .check(expect![[r#"
            {"metadata":{"labels":{"x":"2","y":"1"}},"spec":{"replicas":1,"minReadySeconds":5}}
            b Apply .metadata.labels.y
            a Apply .spec.replicas
            c Apply .metadata.labels.x
            edit Update .spec.minReadySeconds"#]]);
}

#[test]
fn an_item_goes_although_another_has_updated_in_it() {
    World::default()
        .apply("a", containers(json!([{"name": "a", "image": "1"}])))
        .update("edit", containers(json!([{"name": "a", "image": "1", "workingDir": "/"}])))
        .apply("a", json!({}))
        .check(expect![[r#"{"spec":{"template":{"spec":{}}}}"#]]);
}

#[test]
fn an_item_goes_whole_when_nobody_else_manages_in_it() {
    World::default()
        .apply("a", containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])))
        .apply("a", containers(json!([{"name": "b", "image": "1"}])))
        .check(expect![[r#"
            {"spec":{"template":{"spec":{"containers":[{"name":"b","image":"1"}]}}}}
            a Apply .spec.template.spec.containers[name="b"] .spec.template.spec.containers[name="b"].image .spec.template.spec.containers[name="b"].name"#]]);
}

#[test]
fn what_nobody_manages_is_taken_without_conflict() {
    World::default()
        .apply("a", labels(json!({"x": "1"})))
        .apply("b", json!({"spec": {"paused": true}}))
        .apply("b", json!({"metadata": {"labels": {}}, "spec": {"paused": true}}))
        .check(expect![[r#"
            {"metadata":{"labels":{"x":"1"}},"spec":{"paused":true}}
            a Apply .metadata.labels.x
            b Apply .metadata.labels .spec.paused"#]]);
}

#[test]
fn zero_is_a_wish_too() {
    World::default()
        .apply("a", json!({"spec": {"paused": false, "minReadySeconds": 0}}))
        .check(expect![[r#"
            {"spec":{}}
            a Apply .spec.minReadySeconds .spec.paused"#]])
        .refuse(
            "b",
            json!({"spec": {"paused": true}}),
            expect![[r#"Apply failed with 1 conflict: conflict with "a": .spec.paused"#]],
        );
}
