//! Priority classes: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::json;

use super::priority_class::PRIORITY_CLASS;
use crate::check::{create_errors, row, update};

#[test]
fn users_classes_stay_below_the_systems() {
    let of = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
    expect![[r#"
        value: Forbidden: maximum allowed value of a user defined priority is 1000000000
    "#]]
    .assert_eq(&create_errors(&PRIORITY_CLASS, of("high", 1_000_000_001)));
    expect![[r#"
        metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-high is not a known system priority class
    "#]].assert_eq(&create_errors(&PRIORITY_CLASS, of("system-high", 1)));
    expect![[r#"
        metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000
    "#]].assert_eq(&create_errors(&PRIORITY_CLASS, of("system-node-critical", 1)));
    expect![""].assert_eq(&create_errors(&PRIORITY_CLASS, of("system-node-critical", 2_000_001_000)));
    expect![[r#"
        preemptionPolicy: Unsupported value: "Sometimes": supported values: "Never", "PreemptLowerPriority"
    "#]]
    .assert_eq(&create_errors(&PRIORITY_CLASS, json!({"value": 1, "preemptionPolicy": "Sometimes"})));
}

#[test]
fn values_stay() {
    let of = |value: i64, policy: &str| json!({"value": value, "preemptionPolicy": policy});
    expect![[r#"
        value: Forbidden: may not be changed in an update.
        preemptionPolicy: Invalid value: "PreemptLowerPriority": field is immutable
    "#]]
    .assert_eq(&update(&PRIORITY_CLASS, of(1, "Never"), of(2, "PreemptLowerPriority")));
}

#[test]
fn columns() {
    expect![[r#"
        Name: x
        Value: 5
        Global-Default: false
        Age: 4m30s
        PreemptionPolicy: Never
    "#]]
    .assert_eq(&row(&PRIORITY_CLASS, json!({"value": 5, "preemptionPolicy": "Never"})));
}
