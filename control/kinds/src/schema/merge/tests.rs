//! Patches on built-in types, and the laws that they keep.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::Schema;
use super::{merge_patch, strategic};

fn check(definition: &str, current: &Value, patch: &Value, expected: Expect) {
    let schema = Schema::builtin();
    let ty = schema.type_of(definition).expect("known definition");
    expected.assert_eq(&match strategic(&schema, ty, current, patch) {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    });
}

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn containers(names: &[&str]) -> Value {
    json!({"spec": {"containers": names.iter().map(|name| json!({"name": name, "image": "old"})).collect::<Vec<_>>()}})
}

#[test]
fn lists_merge_by_key_and_keep_their_order() {
    check(
        POD,
        &containers(&["a", "b", "c"]),
        &json!({"spec": {"containers": [{"name": "b", "image": "new"}]}}),
        expect![[
            r#"{"spec":{"containers":[{"name":"a","image":"old"},{"name":"b","image":"new"},{"name":"c","image":"old"}]}}"#
        ]],
    );
    check(
        POD,
        &containers(&["a", "b"]),
        &json!({"spec": {"containers": [{"name": "x", "image": null, "command": ["c"]}]}}),
        expect![[
            r#"{"spec":{"containers":[{"name":"x","command":["c"]},{"name":"a","image":"old"},{"name":"b","image":"old"}]}}"#
        ]],
    );
}

#[test]
fn the_patch_may_set_the_order() {
    check(
        POD,
        &containers(&["a", "b", "s"]),
        &json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}],
                         "containers": [{"name": "n", "image": "new"}]}}),
        expect![[
            r#"{"spec":{"containers":[{"name":"b","image":"old"},{"name":"n","image":"new"},{"name":"a","image":"old"},{"name":"s","image":"old"}]}}"#
        ]],
    );
    check(
        POD,
        &json!({"metadata": {"finalizers": ["a", "b"]}}),
        &json!({"metadata": {"$setElementOrder/finalizers": ["c", "a"], "finalizers": ["c"],
                             "$deleteFromPrimitiveList/finalizers": ["b"]}}),
        expect![[r#"{"metadata":{"finalizers":["c","a"]}}"#]],
    );
}

#[test]
fn directives_delete_and_replace() {
    check(
        POD,
        &containers(&["a", "b"]),
        &json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
        expect![[r#"{"spec":{"containers":[{"name":"b","image":"old"}]}}"#]],
    );
    check(
        POD,
        &containers(&["a", "b"]),
        &json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}),
        expect![[r#"{"spec":{"containers":[{"name":"z"}]}}"#]],
    );
    check(
        POD,
        &json!({"metadata": {"labels": {"a": "1"}, "name": "p"}}),
        &json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}, "name": null}}),
        expect![[r#"{"metadata":{"labels":{"b":"2"}}}"#]],
    );
    check(
        POD,
        &json!({"spec": {"securityContext": {"runAsUser": 1}}}),
        &json!({"spec": {"securityContext": {"$patch": "delete"}}}),
        expect![[r#"{"spec":{"securityContext":{}}}"#]],
    );
}

#[test]
fn retain_keys_drops_what_it_does_not_name() {
    check(
        DEPLOYMENT,
        &json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        &json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        expect![[r#"{"spec":{"strategy":{"type":"Recreate"}}}"#]],
    );
    check(
        POD,
        &json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        &json!({"spec": {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}}),
        expect![[r#"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}}"#]],
    );
}

#[test]
fn lists_without_a_strategy_are_replaced() {
    check(
        POD,
        &json!({"spec": {"tolerations": [{"key": "a"}], "containers": [{"name": "a", "command": ["x", "y"]}]}}),
        &json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "command": ["z"]}]}}),
        expect![[r#"{"spec":{"tolerations":[{"key":"b"}],"containers":[{"name":"a","command":["z"]}]}}"#]],
    );
}

#[test]
fn broken_patches_say_what_is_wrong() {
    check(
        POD,
        &containers(&["a"]),
        &json!({"spec": {"containers": [{"image": "x"}]}}),
        expect![[r#"error: map: {"image":"x"} does not contain declared merge key: name"#]],
    );
    check(
        POD,
        &containers(&["a"]),
        &json!({"spec": {"$patch": "zap"}}),
        expect!["error: unknown patch type: zap in map: {}"],
    );
    check(POD, &containers(&["a"]), &json!([1]), expect!["error: a strategic merge patch must be an object"]);
    check(
        DEPLOYMENT,
        &json!({"spec": {"strategy": {}}}),
        &json!({"spec": {"strategy": {"$retainKeys": [], "type": "Recreate"}}}),
        expect![
            "error: invalid patch format of retainKeys directive: the list must name every field that the patch sets"
        ],
    );
}

#[test]
fn merge_patch_follows_rfc_7386() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!(["a", "b"]), json!({"a": {"b": null}}), json!({"a": {}})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!([1]), json!([1])),
    ];
    for (mut target, patch, wanted) in cases {
        merge_patch(&mut target, &patch);
        assert_eq!(target, wanted);
    }
}

fn labels(prefix: &'static str) -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-c]{1,2}", proptest::option::of("[a-z]{0,3}"), 0..5).prop_map(
        move |map| {
            let labels: serde_json::Map<String, Value> = map
                .into_iter()
                .map(|(key, value)| (format!("{prefix}{key}"), value.map_or(Value::Null, Value::from)))
                .collect();
            json!({ "metadata": { "labels": labels } })
        },
    )
}

fn sorted(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let ordered: std::collections::BTreeMap<_, _> =
                entries.iter().map(|(key, value)| (key, sorted(value))).collect();
            format!("{ordered:?}")
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn patches_of_different_fields_commute(one in labels("x"), two in labels("y"), base in labels("x")) {
        let schema = Schema::builtin();
        let ty = schema.type_of(POD).expect("known");
        let both = |first: &Value, second: &Value| {
            let after = strategic(&schema, ty, &base, first).expect("merges");
            sorted(&strategic(&schema, ty, &after, second).expect("merges"))
        };
        prop_assert_eq!(both(&one, &two), both(&two, &one));
    }

    #[test]
    fn a_patch_applied_twice_changes_nothing_more(patch in labels("x"), base in labels("x")) {
        let schema = Schema::builtin();
        let ty = schema.type_of(POD).expect("known");
        let once = strategic(&schema, ty, &base, &patch).expect("merges");
        prop_assert_eq!(&strategic(&schema, ty, &once, &patch).expect("merges"), &once);
    }
}
