//! Events under their newer names: the same objects, stricter rules.

use expect_test::expect;
use serde_json::{Value, json};

use super::EVENT_V1;
use crate::check::{create_errors, created, object, row, update};
use crate::core::event::EVENT;

fn told(fields: Value) -> Value {
    let mut event = json!({
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"}, "reason": "Started", "note": "it runs",
        "type": "Normal", "eventTime": "2026-11-21T11:59:00.000000Z", "action": "Start",
        "reportingController": "example.com/agent", "reportingInstance": "node-1"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event
}

#[test]
fn both_names_are_one_object() {
    let mut stored = created(&EVENT_V1, told(json!({"deprecatedCount": 0})));
    EVENT_V1.store(&mut stored);
    expect![[r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"x","namespace":"default","creationTimestamp":"2026-11-21T11:55:30Z"},"reason":"Started","type":"Normal","eventTime":"2026-11-21T11:59:00.000000Z","action":"Start","reportingInstance":"node-1","involvedObject":{"kind":"Pod","name":"web","namespace":"default"},"message":"it runs","reportingComponent":"example.com/agent","count":0}"#]].assert_eq(&stored.to_string());
    let old = json!({"involvedObject": {"kind": "Node", "name": "n"}, "message": "m", "count": 2, "source": {"component": "c"},
        "firstTimestamp": "2026-11-21T11:00:00Z", "lastTimestamp": "2026-11-21T11:30:00Z", "reportingComponent": "c"});
    let old = object(&EVENT, old);
    let mut served = old.clone();
    EVENT_V1.serve(&mut served);
    expect![[r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"x","namespace":"default","creationTimestamp":"2026-11-21T11:55:30Z"},"regarding":{"kind":"Node","name":"n"},"note":"m","reportingController":"c","deprecatedSource":{"component":"c"},"deprecatedFirstTimestamp":"2026-11-21T11:00:00Z","deprecatedLastTimestamp":"2026-11-21T11:30:00Z","deprecatedCount":2}"#]].assert_eq(&served.to_string());
    EVENT_V1.store(&mut served);
    assert!(crate::tree::same(&served, &old));
}

#[test]
fn what_the_newer_group_asks_for() {
    expect![""].assert_eq(&create_errors(
        &EVENT_V1,
        told(json!({"series": {"count": 2, "lastObservedTime": "2026-11-21T11:59:00.000000Z"}})),
    ));
    expect![[r#"
        eventTime: Required value
        type: Invalid value: "": has invalid value: Bad
        count: Invalid value: "": needs to be unset
    "#]]
    .assert_eq(&create_errors(
        &EVENT_V1,
        json!({"regarding": {"namespace": "default"}, "type": "Bad", "deprecatedCount": 3}),
    ));
    expect![[r#"
        reportingController: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        action: Required value
        series.count: Invalid value: "": should be at least 2
        series.lastObservedTime: Required value
    "#]].assert_eq(&create_errors(&EVENT_V1, told(json!({"action": "", "reportingController": "a b", "series": {"count": 1}}))));
    expect![[r#"
        message: Invalid value: "it ran": field is immutable
        reportingController: Invalid value: "other": field is immutable
    "#]]
    .assert_eq(&update(
        &EVENT_V1,
        told(json!({})),
        told(json!({"note": "it ran", "reportingController": "other"})),
    ));
}

#[test]
fn columns_are_those_of_the_stored_version() {
    let cx = crate::CellContext { now: crate::check::NOW.parse().expect("a time") };
    let cells = EVENT_V1.cells(&object(&EVENT_V1, told(json!({}))), &cx);
    expect![[r#"["60s","Normal","Started","pod/web","","example.com/agent, node-1","it runs","60s",1,"x"]"#]]
        .assert_eq(&Value::from(cells).to_string());
    assert!(row(&EVENT, json!({"message": "m"})).contains("Message: m"));
}

#[test]
fn fields_are_selected_by_their_newer_names() {
    let event = object(&EVENT_V1, told(json!({})));
    assert_eq!(EVENT_V1.field(&event, "regarding.name").expect("selectable"), "web");
    assert!(EVENT_V1.field(&event, "involvedObject.name").is_err());
}
