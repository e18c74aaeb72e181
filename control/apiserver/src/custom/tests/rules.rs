//! Validation rules on every way by which an object is written.

use expect_test::expect;
use serde_json::{Value, json};

use super::{APPLY, DEFINITIONS, FOOS, MERGE, check, define, foo, object};
use crate::tests::bench::Bench;

/// The definition of the other tests, with rules.
fn ruled() -> Value {
    let mut foo = foo();
    let schema = &mut foo["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let spec = &mut schema["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([
        {"rule": "!has(self.color) || self.color != 'red' || self.replicas < 3"},
        {"rule": "!has(oldSelf.pattern) || has(self.pattern)", "message": "pattern may not be taken away"},
    ]);
    spec["properties"]["pattern"]["x-kubernetes-validations"] =
        json!([{"rule": "self == oldSelf", "message": "pattern is immutable"}]);
    schema["properties"]["status"]["x-kubernetes-validations"] = json!([{"rule": "!has(self.replicas) || self.replicas >= 0", "reason": "FieldValueForbidden", "fieldPath": ".replicas"}]);
    foo
}

#[tokio::test]
async fn rules_are_asked_whenever_an_object_is_written() {
    let bench = Bench::start().await;
    define(&bench, "POST", &ruled()).await;
    check(
        &bench.send("POST", FOOS, &object("a", json!({"color": "red", "replicas": 3}))).await,
        expect![[r#"
            422 Invalid: Foo.lab.io "a" is invalid: spec: Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3
            {"reason":"FieldValueInvalid","message":"Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3","field":"spec"}"#]],
    );
    check(
        &bench.send("POST", FOOS, &object("a", json!({"color": "red", "pattern": "a"}))).await,
        expect![[r#"201 Foo a generation 1 {"color":"red","pattern":"a","replicas":1} null"#]],
    );
    let uri = format!("{FOOS}/a");
    let patch = async |at: &str, body: Value| {
        bench.send_with("PATCH", at, &[MERGE], body.to_string().into_bytes()).await
    };
    check(
        &patch(&uri, json!({"spec": {"replicas": 3}})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: spec: Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3
        {"reason":"FieldValueInvalid","message":"Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3","field":"spec"}"#]],
    );
    check(
        &patch(&uri, json!({"spec": {"pattern": "aa"}})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: spec.pattern: Invalid value: "aa": pattern is immutable
        {"reason":"FieldValueInvalid","message":"Invalid value: \"aa\": pattern is immutable","field":"spec.pattern"}"#]],
    );
    check(
        &patch(&uri, json!({"spec": {"pattern": null}})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: spec: Invalid value: pattern may not be taken away
        {"reason":"FieldValueInvalid","message":"Invalid value: pattern may not be taken away","field":"spec"}"#]],
    );
    let applied = format!("{uri}?fieldManager=me&force=true");
    let body = object("a", json!({"color": "red", "replicas": 5}));
    check(
        &bench.send_with("PATCH", &applied, &[APPLY], body.into_bytes()).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: spec: Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3
        {"reason":"FieldValueInvalid","message":"Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3","field":"spec"}"#]],
    );
    let mut whole = bench.get(&uri).await;
    whole["spec"]["pattern"] = json!("aaa");
    check(
        &bench.send("PUT", &uri, &whole.to_string()).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: spec.pattern: Invalid value: "aaa": pattern is immutable
        {"reason":"FieldValueInvalid","message":"Invalid value: \"aaa\": pattern is immutable","field":"spec.pattern"}"#]],
    );
    check(
        &patch(&format!("{uri}/status"), json!({"status": {"replicas": -2}})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: [.status.replicas: Invalid value: -2: should be a non-negative integer, status.replicas: Forbidden: failed rule: !has(self.replicas) || self.replicas >= 0]
        {"reason":"FieldValueInvalid","message":"Invalid value: -2: should be a non-negative integer","field":".status.replicas"}
        {"reason":"FieldValueForbidden","message":"Forbidden: failed rule: !has(self.replicas) || self.replicas >= 0","field":"status.replicas"}"#]],
    );
    check(
        &patch(&uri, json!({"spec": {"replicas": 2}})).await,
        expect![[r#"200 Foo a generation 2 {"color":"red","pattern":"a","replicas":2} null"#]],
    );
    let v3 = bench.get("/openapi/v3/apis/lab.io/v1").await;
    let published =
        &v3["components"]["schemas"]["io.lab.v1.Foo"]["properties"]["spec"]["x-kubernetes-validations"];
    assert_eq!(published.as_array().map(Vec::len), Some(2), "{v3}");
}

#[tokio::test]
async fn what_an_older_definition_let_through_stays_until_it_is_touched() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    assert_eq!(
        bench.send("POST", FOOS, &object("a", json!({"color": "red", "replicas": 7}))).await.code,
        201
    );
    define(&bench, "PATCH", &ruled()).await;
    let uri = format!("{FOOS}/a");
    let patch =
        async |body: Value| bench.send_with("PATCH", &uri, &[MERGE], body.to_string().into_bytes()).await;
    check(
        &patch(json!({"metadata": {"labels": {"a": "b"}}})).await,
        expect![[r#"200 Foo a generation 1 {"color":"red","replicas":7} null"#]],
    );
    check(
        &patch(json!({"spec": {"replicas": 8}})).await,
        expect![[r#"
        422 Invalid: Foo.lab.io "a" is invalid: spec: Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3
        {"reason":"FieldValueInvalid","message":"Invalid value: failed rule: !has(self.color) || self.color != 'red' || self.replicas < 3","field":"spec"}"#]],
    );
    check(
        &patch(json!({"spec": {"replicas": 1}})).await,
        expect![[r#"200 Foo a generation 2 {"color":"red","replicas":1} null"#]],
    );
}

#[tokio::test]
async fn a_definition_whose_rules_make_no_sense_is_refused() {
    let bench = Bench::start().await;
    let mut foo = foo();
    let spec = &mut foo["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([{"rule": "self.replica > 1"}, {"rule": "self.replicas >"}]);
    check(
        &bench.send("POST", DEFINITIONS, &foo.to_string()).await,
        expect![[r#"
            422 Invalid: CustomResourceDefinition.apiextensions.k8s.io "foos.lab.io" is invalid: [spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.replica \u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field 'replica'
             | self.replica > 1
             | ....^, spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[1].rule: Invalid value: {"Rule":"self.replicas \u003e","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:16: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | self.replicas >
             | ...............^]
            {"reason":"FieldValueInvalid","message":"Invalid value: {\"Rule\":\"self.replica \\u003e 1\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:5: undefined field 'replica'\n | self.replica > 1\n | ....^","field":"spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"}
            {"reason":"FieldValueInvalid","message":"Invalid value: {\"Rule\":\"self.replicas \\u003e\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:16: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | self.replicas >\n | ...............^","field":"spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[1].rule"}"#]],
    );
}
