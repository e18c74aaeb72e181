//! Who comes to manage what by updates, and how the list of managers is kept.

use expect_test::expect;
use serde_json::{Value, json};

use super::super::*;
use super::{World, containers, deployment};
use crate::schema::Schema;
use crate::tree;

#[test]
fn a_creator_manages_what_it_set() {
    World::default()
        .update(
            "make",
            json!({
                "metadata": {"name": "x", "namespace": "n", "uid": "u", "labels": {"a": "1"}, "generation": 1},
                "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "a"}]}}},
                "status": {"replicas": 1},
            }),
        )
        .check(expect![[r#"
            {"metadata":{"name":"x","namespace":"n","uid":"u","labels":{"a":"1"},"generation":1},"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"a"}]}}},"status":{"replicas":1}}
            make Update .metadata.labels .metadata.labels.a .spec.replicas .spec.template.spec.containers[name="a"] .spec.template.spec.containers[name="a"].name .spec.template.spec.containers[name="a"].resources"#]]);
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut world = World::default();
    world
        .apply("a", json!({"metadata": {"labels": {"x": "1", "y": "1"}}, "spec": {"replicas": 1}}))
        .patch("edit", json!({"spec": {"replicas": 2}}))
        .patch("edit", json!({"metadata": {"labels": {"y": null}}}))
        .check(expect![[r#"
            {"metadata":{"labels":{"x":"1"}},"spec":{"replicas":2}}
            a Apply .metadata.labels.x
            edit Update .spec.replicas"#]])
        .refuse(
            "a",
            json!({"metadata": {"labels": {"x": "1"}}, "spec": {"replicas": 1}}),
            expect![[r#"Apply failed with 1 conflict: conflict with "edit" using apps/v1: .spec.replicas"#]],
        )
        .patch("edit", json!({"metadata": {"labels": {"z": "1"}}}))
        .check(expect![[r#"
            {"metadata":{"labels":{"x":"1","z":"1"}},"spec":{"replicas":2}}
            a Apply .metadata.labels.x
            edit Update .metadata.labels.z .spec.replicas"#]]);
}

#[test]
fn what_changes_nothing_changes_no_time() {
    let mut world = World::default();
    let config = json!({"metadata": {"labels": {"x": "1"}}});
    world.apply("a", config.clone()).patch("edit", json!({"spec": {"replicas": 2}}));
    let before = world.object.clone();
    world.apply("a", config.clone());
    assert_eq!(world.object, before);
    world.patch("other", json!({"spec": {"replicas": 2}}));
    assert_eq!(world.object, before);
    // An applier that is new changes nothing but the list of managers.
    world.apply("b", config);
    assert_ne!(world.object, before);
}

#[test]
fn times_tell_objects_apart_only_when_something_else_does() {
    let object = |time: &str, label: &str| {
        let managed = json!([{"manager": "a", "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}}]);
        json!({"metadata": {"labels": {"a": label}, "managedFields": managed}})
    };
    assert!(same_but_times(&object("1", "a"), &object("2", "a")));
    assert!(!same_but_times(&object("1", "a"), &object("1", "b")));
    let mut other = object("1", "a");
    other["metadata"]["managedFields"][0]["manager"] = json!("b");
    assert!(!same_but_times(&object("1", "a"), &other));
    let mut none = object("1", "a");
    crate::meta::remove(&mut none, "managedFields");
    assert!(!same_but_times(&object("1", "a"), &none));
}

#[test]
fn managed_fields_can_be_sent_and_reset() {
    let mut world = World::default();
    world.apply("a", json!({"spec": {"replicas": 1}}));
    let sent = json!([{"manager": "b", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-11-21T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}}]);
    world.patch("edit", json!({"metadata": {"managedFields": sent}})).check(expect![[r#"
        {"spec":{"replicas":1}}
        b Apply .spec.paused .spec.replicas"#]]);
    // What cannot be read is as if it were not there.
    world.patch("edit", json!({"metadata": {"managedFields": [{"manager": "x"}]}})).check(expect![[r#"
        {"spec":{"replicas":1}}
        b Apply .spec.paused .spec.replicas"#]]);
    world.patch("edit", json!({"metadata": {"managedFields": null}, "spec": {"replicas": 3}})).check(
        expect![[r#"
            {"spec":{"replicas":3}}
            b Apply .spec.paused
            edit Update .spec.replicas"#]],
    );
    world
        .patch("edit", json!({"metadata": {"managedFields": [{}]}}))
        .check(expect![[r#"{"spec":{"replicas":3}}"#]]);
    // From then on nobody manages anything, until someone applies.
    world.patch("edit", json!({"spec": {"replicas": 4}})).check(expect![[r#"{"spec":{"replicas":4}}"#]]);
    world.apply("a", json!({"metadata": {"labels": {"x": "1"}}})).check(expect![[r#"
        {"spec":{"replicas":4},"metadata":{"labels":{"x":"1"}}}
        a Apply .metadata.labels.x
        before-first-apply Update .spec.replicas"#]]);
}

#[test]
fn the_oldest_updates_are_merged() {
    let mut world = World::default();
    world.apply("a", json!({"metadata": {"labels": {"x": "1"}}}));
    for number in 0..13 {
        world.patch(
            &format!("m{number:02}"),
            json!({"metadata": {"annotations": {format!("k{number:02}"): "1"}}}),
        );
    }
    let encoded = world.managers().encode().unwrap_or_default();
    let names: Vec<&str> =
        encoded.as_array().unwrap().iter().map(|entry| tree::text(entry, "manager")).collect();
    expect!["a ancient-changes m04 m05 m06 m07 m08 m09 m10 m11 m12"].assert_eq(&names.join(" "));
    assert_eq!(tree::text(&encoded[1], "time"), "2026-11-21T00:00:05Z");
    expect![[r#"{"f:metadata":{"f:annotations":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{}}}}"#]]
        .assert_eq(&encoded[1]["fieldsV1"].to_string());
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let applied = json!({"spec": {"replicas": 1, "minReadySeconds": 1}});
    let history = format!(r#"{{"apiVersion":"apps/v1","kind":"Deployment","spec":{}}}"#, applied["spec"]);
    let annotations = json!({LAST_APPLIED: history, "other": "x"});
    let created =
        json!({"metadata": {"annotations": annotations}, "spec": {"replicas": 1, "minReadySeconds": 1}});
    let config = json!({"spec": {"replicas": 2, "minReadySeconds": 2}});
    let mut world = World::default();
    world.update("kubectl-client-side-apply", created.clone());
    world.refuse(
        "someone",
        config.clone(),
        expect![[r#"
            Apply failed with 2 conflicts: conflicts with "kubectl-client-side-apply" using apps/v1:
            - .spec.minReadySeconds
            - .spec.replicas"#]],
    );
    world.apply("kubectl", config.clone()).check(expect![[r#"
        {"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{\"minReadySeconds\":2,\"replicas\":2}}\n","other":"x"}},"spec":{"replicas":2,"minReadySeconds":2}}
        kubectl Apply .spec.minReadySeconds .spec.replicas
        kubectl-client-side-apply Update .metadata.annotations .metadata.annotations.kubectl.kubernetes.io/last-applied-configuration .metadata.annotations.other"#]]);
    // What somebody else changed meanwhile is no longer kubectl's.
    let mut world = World::default();
    world
        .update("kubectl-client-side-apply", created)
        .patch("edit", json!({"spec": {"replicas": 5}}))
        .refuse(
            "kubectl",
            config,
            expect![[r#"Apply failed with 1 conflict: conflict with "edit" using apps/v1: .spec.replicas"#]],
        );
}

#[test]
fn subresources_are_managers_apart() {
    let schema = Schema::builtin();
    let writer = |subresource: &str, ignored: FieldSet| Writer {
        manager: "m".to_owned(),
        api_version: "apps/v1".to_owned(),
        subresource: subresource.to_owned(),
        now: "2026-11-21T00:00:00Z".to_owned(),
        ignored,
        kind: None,
    };
    let mut world = World::default();
    world.update("m", json!({"spec": {"replicas": 1}}));
    let mut new = world.object.clone().unwrap();
    new["status"] = json!({"replicas": 1});
    // A subresource cannot set managed fields.
    new["metadata"]["managedFields"] = json!([{}]);
    let spec = FieldSet::of_names(&[&["spec"]]);
    track(&schema, deployment(), world.object.as_ref(), &mut new, &writer("status", spec.clone()));
    let config = json!({"status": {"replicas": 2}, "spec": {"replicas": 9}});
    let refused = apply(
        &schema,
        deployment(),
        Some(&new),
        &config,
        (&Writer { manager: "other".to_owned(), ..writer("status", spec.clone()) }, OnConflict::Refuse),
    );
    expect![[r#"Apply failed with 1 conflict: conflict with "m" with subresource "status" using apps/v1: .status.replicas"#]]
        .assert_eq(&refused.unwrap_err().to_string());
    let managed = &new["metadata"]["managedFields"];
    expect![[r#"[{"manager":"m","operation":"Update","apiVersion":"apps/v1","time":"2026-11-21T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:replicas":{}}},"subresource":"status"},{"manager":"m","operation":"Update","apiVersion":"apps/v1","time":"2026-11-21T00:00:01Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}}}]"#]]
        .assert_eq(&managed.to_string());
}

#[test]
fn a_list_that_is_hostile_costs_no_more_than_its_size() {
    let names: Vec<Value> =
        (0..100_000).map(|number| json!(format!("x.io/{}", number * 7919 % 100_003))).collect();
    let object = json!({"metadata": {"finalizers": names}});
    let mut world = World::default();
    world.update("a", object.clone()).apply("b", object);
    let items: Vec<Value> =
        (0..10_000).map(|number| json!({"name": format!("c{}", number * 7919 % 10_007)})).collect();
    World::default().update("a", containers(json!(items))).apply("b", containers(json!(items)));
}
