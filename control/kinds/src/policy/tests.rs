//! Disruption budgets: validation and columns.

use expect_test::expect;
use serde_json::json;

use super::pod_disruption_budget::POD_DISRUPTION_BUDGET;
use crate::check::{create_errors, row, update};

#[test]
fn a_budget_says_who_stays_or_who_may_go() {
    let of = |spec| create_errors(&POD_DISRUPTION_BUDGET, json!({"spec": spec}));
    expect![[r#"
        spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set
    "#]].assert_eq(&of(json!({"minAvailable": 1, "maxUnavailable": 1})));
    expect![[r#"
        spec.minAvailable: Invalid value: -1: must be greater than or equal to 0
        spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"
    "#]].assert_eq(&of(json!({"minAvailable": -1, "unhealthyPodEvictionPolicy": "Never"})));
    expect![[r#"
        spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%
        spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
    "#]].assert_eq(&of(json!({"maxUnavailable": "101%", "selector": {"matchLabels": {"a": "b c"}}})));
    expect![[r#"
        spec.maxUnavailable: Invalid value: "half": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
    "#]].assert_eq(&of(json!({"maxUnavailable": "half"})));
    expect![""].assert_eq(&of(json!({"minAvailable": "50%", "selector": {}})));
}

#[test]
fn a_change_moves_the_generation() {
    let of = |count: i64| json!({"spec": {"minAvailable": count}});
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&update(&POD_DISRUPTION_BUDGET, of(1), of(2)));
}

#[test]
fn columns() {
    expect![[r#"
        Name: x
        Min Available: N/A
        Max Unavailable: 25%
        Allowed Disruptions: 2
        Age: 4m30s
    "#]]
    .assert_eq(&row(
        &POD_DISRUPTION_BUDGET,
        json!({
        "spec": {"maxUnavailable": "25%"}, "status": {"disruptionsAllowed": 2}}),
    ));
}
