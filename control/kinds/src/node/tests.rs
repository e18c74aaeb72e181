//! Runtime classes: validation and updates.

use expect_test::expect;
use serde_json::json;

use super::runtime_class::RUNTIME_CLASS;
use crate::check::{create_errors, row, update};

#[test]
fn a_handler_is_a_label_and_stays() {
    expect![[r#"
        handler: Invalid value: "run_c": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        overhead.podFixed[cpu]: Invalid value: "-1": must be greater than or equal to 0
    "#]].assert_eq(&create_errors(
        &RUNTIME_CLASS,
        json!({"handler": "run_c", "overhead": {"podFixed": {"cpu": "-1"}}}),
    ));
    expect![[r#"
        handler: Invalid value: "kata": field is immutable
    "#]]
    .assert_eq(&update(&RUNTIME_CLASS, json!({"handler": "runc"}), json!({"handler": "kata"})));
    expect![[r#"
        Name: x
        Handler: runc
        Age: 4m30s
    "#]]
    .assert_eq(&row(&RUNTIME_CLASS, json!({"handler": "runc"})));
}
