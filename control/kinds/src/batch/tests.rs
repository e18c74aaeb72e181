//! Jobs and CronJobs: defaults, validation, updates, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::cron_job::CRON_JOB;
use super::job::JOB;
use super::schedule;
use crate::check::{create_errors, created, row, update};
use crate::tree;

fn job(changes: Value) -> Value {
    let mut spec = json!({"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}});
    for (path, value) in changes.as_object().expect("changes") {
        tree::set(&mut spec, path, value.clone());
    }
    json!({"metadata": {"uid": "u-1"}, "spec": spec})
}

fn cron_job(schedule: &str, job: Value) -> Value {
    json!({"spec": {"schedule": schedule, "jobTemplate": {"spec": tree::get(&job, "spec")}}})
}

#[test]
fn a_job_tells_its_pods_by_its_uid() {
    let whole = created(&JOB, job(json!({})));
    let template = tree::get(&whole, "spec.template.metadata.labels");
    expect![[r#"{"controller-uid":"u-1","batch.kubernetes.io/controller-uid":"u-1","job-name":"x","batch.kubernetes.io/job-name":"x"}"#]].assert_eq(&serde_json::to_string(template).expect("JSON"));
    expect![[r#"{"matchLabels":{"batch.kubernetes.io/controller-uid":"u-1"}}"#]]
        .assert_eq(&serde_json::to_string(tree::get(&whole, "spec.selector")).expect("JSON"));
    let mut spec = tree::get(&whole, "spec").clone();
    tree::remove(&mut spec, "template");
    tree::remove(&mut spec, "selector");
    expect![[r#"{"completions":1,"parallelism":1,"backoffLimit":6,"completionMode":"NonIndexed","suspend":false,"manualSelector":false,"podReplacementPolicy":"TerminatingOrFailed"}"#]].assert_eq(&serde_json::to_string(&spec).expect("JSON"));
}

#[test]
fn what_a_job_may_ask_for() {
    let errors = |changes| create_errors(&JOB, job(changes));
    expect![""].assert_eq(&errors(json!({})));
    expect![[r#"
        spec.parallelism: Invalid value: -1: must be greater than or equal to 0
        spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
    "#]]
    .assert_eq(&errors(json!({"template.spec.restartPolicy": "Always", "parallelism": -1})));
    expect![[r#"
        spec.completions: Required value: when completion mode is Indexed
        spec.parallelism: Invalid value: 200000: must be less than or equal to 100000 when completion mode is Indexed
    "#]].assert_eq(&errors(json!({"completionMode": "Indexed", "parallelism": 200_000})));
    expect![[r#"
        spec.completionMode: Unsupported value: "Odd": supported values: "Indexed", "NonIndexed"
        spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode
        spec.podReplacementPolicy: Unsupported value: "Soon": supported values: "Failed", "TerminatingOrFailed"
    "#]].assert_eq(&errors(
        json!({"completionMode": "Odd", "backoffLimitPerIndex": 1, "podReplacementPolicy": "Soon"}),
    ));
    expect![[r#"
        spec.template.metadata.labels: Invalid value: {"controller-uid":"u-1","batch.kubernetes.io/controller-uid":"u-1","job-name":"x","batch.kubernetes.io/job-name":"x"}: `selector` does not match template `labels`
        spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` not auto-generated
    "#]].assert_eq(&errors(json!({"selector": {"matchLabels": {"a": "b"}}})));
    expect![""].assert_eq(&errors(json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template.metadata.labels": {"a": "b"}})));
    expect![[r#"
        spec.selector: Required value
    "#]]
    .assert_eq(&errors(json!({"manualSelector": true})));
}

#[test]
fn what_of_a_job_may_change() {
    let change = |old, new| {
        let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}});
        let with = |changes: Value| {
            let mut object = created(&JOB, job(changes));
            tree::set(&mut object, "spec.selector", selector.clone());
            object
        };
        update(&JOB, with(old), with(new))
    };
    expect![[r#"
        spec.completions: Invalid value: null: field is immutable
    "#]]
    .assert_eq(&change(json!({}), json!({"parallelism": 3})));
    expect![[r#"
        spec.completions: Invalid value: 3: field is immutable
    "#]]
    .assert_eq(&change(json!({}), json!({"completions": 3})));
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&change(
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}),
        json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}),
    ));
    expect![[r#"
        spec.template: Invalid value: {"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i:1","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"nodeSelector":{"a":"b"},"terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"},"metadata":{"labels":{"controller-uid":"u-1","batch.kubernetes.io/controller-uid":"u-1","job-name":"x","batch.kubernetes.io/job-name":"x"}}}: field is immutable
    "#]].assert_eq(&change(json!({}), json!({"template.spec.nodeSelector": {"a": "b"}})));
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&change(
        json!({"suspend": true}),
        json!({"suspend": false, "template.spec.nodeSelector": {"a": "b"}}),
    ));
}

#[test]
fn columns() {
    expect![[r#"
        Name: x
        Status: Complete
        Completions: 3/3
        Duration: 45s
        Age: 4m30s
        Containers: 
        Images: 
        Selector: <none>
    "#]]
    .assert_eq(&row(
        &JOB,
        json!({
        "spec": {"completions": 3},
        "status": {
            "succeeded": 3, "startTime": "2026-11-21T11:58:00Z", "completionTime": "2026-11-21T11:58:45Z",
            "conditions": [{"type": "Complete", "status": "True"}]}}),
    ));
    expect![[r#"
        Name: x
        Status: Running
        Completions: 0/1 of 4
        Duration: 2m
        Age: 4m30s
        Containers: 
        Images: 
        Selector: <none>
    "#]]
    .assert_eq(&row(
        &JOB,
        json!({"spec": {"parallelism": 4}, "status": {"startTime": "2026-11-21T11:58:00Z"}}),
    ));
    expect![[r#"
        Name: x
        Schedule: */5 * * * *
        Timezone: <none>
        Suspend: False
        Active: 1
        Last Schedule: 60s
        Age: 4m30s
        Containers: 
        Images: 
        Selector: <none>
    "#]]
    .assert_eq(&row(
        &CRON_JOB,
        json!({
        "spec": {"schedule": "*/5 * * * *", "suspend": false},
        "status": {"active": [{}], "lastScheduleTime": "2026-11-21T11:59:00Z"}}),
    ));
}

#[test]
fn what_a_cron_job_may_ask_for() {
    let errors = |schedule: &str, changes| create_errors(&CRON_JOB, cron_job(schedule, job(changes)));
    expect![""].assert_eq(&errors("*/5 * * * *", json!({})));
    expect![[r#"
        spec.schedule: Required value
        spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
        spec.jobTemplate.spec.manualSelector: Unsupported value: "": supported values: "nil", "false"
    "#]]
    .assert_eq(&errors("", json!({"template.spec.restartPolicy": "Always", "manualSelector": true})));
    expect![[r#"
        spec.schedule: Invalid value: "TZ=UTC 0 0 * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead
    "#]].assert_eq(&errors("TZ=UTC 0 0 * * *", json!({})));
    expect![[r#"
        spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"
        spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
        metadata.name: Invalid value: "a-name-that-is-too-long-for-the-jobs-that-would-be-made-of-it": must be no more than 52 characters
    "#]].assert_eq(&create_errors(
        &CRON_JOB,
        json!({
        "metadata": {"name": "a-name-that-is-too-long-for-the-jobs-that-would-be-made-of-it"},
        "spec": {
            "schedule": "@hourly", "concurrencyPolicy": "Maybe", "startingDeadlineSeconds": -1,
            "jobTemplate": {"spec": tree::get(&job(json!({})), "spec")}}}),
    ));
}

#[test]
fn schedules() {
    for good in ["* * * * *", "0 0 1 jan sun", "0-30/2,45 */2 ? * MON-FRI", "@daily"] {
        assert_eq!(schedule::check(good), Ok(()), "{good}");
    }
    let said: String = [
        "x",
        "@often",
        "a * * * *",
        "60 * * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "1/2/3 * * * *",
        "1-2-3 * * * *",
    ]
    .iter()
    .map(|text| format!("{text}: {}\n", schedule::check(text).expect_err("not a schedule")))
    .collect();
    expect![[r#"
        x: expected exactly 5 fields, found 1: [x]
        @often: unrecognized descriptor: @often
        a * * * *: failed to parse int from a
        60 * * * *: end of range (60) above maximum (59): 60
        * * 0 * *: beginning of range (0) below minimum (1): 0
        5-1 * * * *: beginning of range (5) beyond end of range (1): 5-1
        */0 * * * *: step of range should be a positive number: */0
        1/2/3 * * * *: too many slashes: 1/2/3
        1-2-3 * * * *: too many hyphens: 1-2-3
    "#]]
    .assert_eq(&said);
}
