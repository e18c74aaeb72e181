//! Priority classes, and what pods get of them.

use expect_test::expect;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Bench, PODS};

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

async fn class(bench: &Bench, name: &str, fields: &Value) -> String {
    let mut object = json!({"metadata": {"name": name}});
    for (field, value) in fields.as_object().expect("fields") {
        tree::set(&mut object, field, value.clone());
    }
    bench.line("POST", CLASSES, &object.to_string()).await
}

/// What became of a pod with these fields in its spec.
async fn pod(bench: &Bench, name: &str, fields: &Value) -> String {
    let mut object =
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in fields.as_object().expect("fields") {
        tree::set(&mut object, &format!("spec.{field}"), value.clone());
    }
    let line = bench.line("POST", PODS, &object.to_string()).await;
    if !line.starts_with("201") {
        return line;
    }
    let spec = bench.get(&format!("{PODS}/{name}")).await;
    let of = |field: &str| tree::get(&spec, &format!("spec.{field}")).to_string();
    format!("{} {} {}", of("priorityClassName"), of("priority"), of("preemptionPolicy"))
}

#[tokio::test]
async fn pods_have_the_priority_of_their_class() {
    let bench = Bench::start().await;
    expect!["201 PriorityClass high"]
        .assert_eq(&class(&bench, "high", &json!({"value": 10, "preemptionPolicy": "Never"})).await);
    expect![[r#""high" 10 "Never""#]]
        .assert_eq(&pod(&bench, "p1", &json!({"priorityClassName": "high"})).await);
    expect![[r#"403 Forbidden: pods "p2" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 10 from the given PriorityClass name"#]].assert_eq(&pod(&bench, "p2", &json!({"priorityClassName": "high", "priority": 5})).await);
    expect![[r#"403 Forbidden: pods "p3" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name"#]].assert_eq(
        &pod(&bench, "p3", &json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}))
            .await,
    );
    expect![[r#"403 Forbidden: pods "p4" is forbidden: no PriorityClass with name low was found"#]]
        .assert_eq(&pod(&bench, "p4", &json!({"priorityClassName": "low"})).await);
    expect![[r#""system-node-critical" 2000001000 "PreemptLowerPriority""#]]
        .assert_eq(&pod(&bench, "p5", &json!({"priorityClassName": "system-node-critical"})).await);
    expect![[r#"null 0 "PreemptLowerPriority""#]].assert_eq(&pod(&bench, "p6", &json!({})).await);
}

#[tokio::test]
async fn one_class_may_be_of_pods_that_name_none() {
    let bench = Bench::start().await;
    let default = json!({"value": 7, "globalDefault": true});
    expect!["201 PriorityClass usual"].assert_eq(&class(&bench, "usual", &default).await);
    expect![[r#"403 Forbidden: priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"#]].assert_eq(&class(&bench, "other", &default).await);
    expect![[r#""usual" 7 "PreemptLowerPriority""#]].assert_eq(&pod(&bench, "p1", &json!({})).await);
}
