//! Webhooks, policies and bindings: defaults, validation, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::policy::{MUTATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY};
use super::policy_binding::{MUTATING_ADMISSION_POLICY_BINDING, VALIDATING_ADMISSION_POLICY_BINDING};
use super::webhook_configuration::{MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION};
use crate::check::{create_errors, created, row, update};

fn webhook(fields: Value) -> Value {
    let mut webhook = json!({"name": "pods.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "default", "name": "hook"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        webhook[name] = value.clone();
    }
    json!({"webhooks": [webhook]})
}

#[test]
fn defaults_of_a_webhook() {
    let made = created(&MUTATING_WEBHOOK_CONFIGURATION, webhook(json!({})));
    expect![[r#"[{"name":"pods.example.com","sideEffects":"None","admissionReviewVersions":["v1"],"clientConfig":{"service":{"namespace":"default","name":"hook","port":443}},"rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"],"scope":"*"}],"failurePolicy":"Fail","matchPolicy":"Equivalent","timeoutSeconds":10,"namespaceSelector":{},"objectSelector":{},"reinvocationPolicy":"Never"}]"#]].assert_eq(&made["webhooks"].to_string());
    let of = |timeout: i64| webhook(json!({"timeoutSeconds": timeout}));
    expect![[r#"
        good, generation 2
    "#]]
    .assert_eq(&update(&VALIDATING_WEBHOOK_CONFIGURATION, of(1), of(2)));
}

#[test]
fn webhooks_that_are_refused() {
    let of = |fields: Value| create_errors(&VALIDATING_WEBHOOK_CONFIGURATION, webhook(fields));
    expect![""].assert_eq(&of(json!({})));
    expect![[r#"
        webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots
        webhooks[0].failurePolicy: Unsupported value: "Wait": supported values: "Fail", "Ignore"
        webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"
        webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds
        webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version
        webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1
    "#]].assert_eq(&of(json!({"name": "a.b", "sideEffects": "Some", "admissionReviewVersions": ["v2", "v2"], "timeoutSeconds": 31, "failurePolicy": "Wait"})));
    expect![[r#"
        webhooks[0].rules[0].operations: Invalid value: ["*","GET"]: if '*' is present, must not specify other operations
        webhooks[0].rules[0].operations[1]: Unsupported value: "GET": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"
        webhooks[0].rules[0].apiGroups: Required value
        webhooks[0].rules[0].apiVersions[0]: Required value
        webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log
        webhooks[0].rules[0].resources: Invalid value: ["pods/*","pods/log","*","nodes"]: if '*' is present, must not specify other resources without subresources
        webhooks[0].rules[0].scope: Unsupported value: "World": supported values: "*", "Cluster", "Namespaced"
        webhooks[0].rules[1].operations: Required value
        webhooks[0].rules[1].apiGroups: Required value
        webhooks[0].rules[1].apiVersions: Required value
        webhooks[0].rules[1].resources: Required value
    "#]].assert_eq(&of(json!({"rules": [{"operations": ["*", "GET"], "apiVersions": [""], "resources": ["pods/*", "pods/log", "*", "nodes"], "scope": "World"}, {}]})));
    expect![[r#"
        webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
        webhooks[0].clientConfig.url: Invalid value: "": host must be specified; desired format: https://host[/path]
        webhooks[0].clientConfig.url: Invalid value: "me": user information is not permitted in the URL
        webhooks[0].clientConfig.url: Invalid value: "b": fragments are not permitted in the URL
        webhooks[0].clientConfig.url: Invalid value: "a": query parameters are not permitted in the URL
    "#]].assert_eq(&of(json!({"clientConfig": {"url": "http://me@/x?a#b"}})));
    expect![[r#"
        webhooks[0].clientConfig.service.name: Required value: service name is required
        webhooks[0].clientConfig.service.namespace: Required value: service namespace is required
        webhooks[0].clientConfig.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive
        webhooks[0].clientConfig.service.path: Invalid value: "a//B/": must start with a '/'
    "#]].assert_eq(&of(json!({"clientConfig": {"service": {"path": "a//B/", "port": 70000}}})));
    expect![[r#"
        webhooks[0].clientConfig.service.path: Invalid value: "/a//B/": segment[1] may not be empty
        webhooks[0].clientConfig.service.path: Invalid value: "/a//B/": segment[2]: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]].assert_eq(&of(json!({"clientConfig": {"service": {"name": "a", "namespace": "b", "path": "/a//B/"}}})));
    expect![[r#"
        webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun
        webhooks[0].clientConfig: Required value: exactly one of url or service is required
        webhooks[0].matchConditions[0].expression: Required value
        webhooks[0].matchConditions[0].name: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        webhooks[0].matchConditions[1].name: Required value
        webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1
    "#]].assert_eq(&of(json!({"clientConfig": {}, "sideEffects": null, "admissionReviewVersions": null,
        "matchConditions": [{"name": "a b", "expression": " "}, {"expression": "true"}]})));
    let twice = json!({"webhooks": [webhook(json!({}))["webhooks"][0], webhook(json!({}))["webhooks"][0]]});
    expect![[r#"
        webhooks[1].name: Duplicate value: "pods.example.com"
    "#]]
    .assert_eq(&create_errors(&MUTATING_WEBHOOK_CONFIGURATION, twice));
}

fn rules() -> Value {
    json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]})
}

#[test]
fn policies() {
    let good = json!({"spec": {"matchConstraints": rules(), "validations": [{"expression": "object.spec.replicas <= 5"}]}});
    expect![[r#"{"matchConstraints":{"resourceRules":[{"operations":["CREATE"],"apiGroups":["apps"],"apiVersions":["v1"],"resources":["deployments"],"scope":"*"}],"matchPolicy":"Equivalent","namespaceSelector":{},"objectSelector":{}},"validations":[{"expression":"object.spec.replicas <= 5"}],"failurePolicy":"Fail"}"#]].assert_eq(&created(&VALIDATING_ADMISSION_POLICY, good.clone())["spec"].to_string());
    expect![""].assert_eq(&create_errors(&VALIDATING_ADMISSION_POLICY, good));
    expect![[r#"
        spec.matchConstraints: Required value
        spec.validations: Required value: validations or auditAnnotations must contain at least one item
        spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item
    "#]]
    .assert_eq(&create_errors(&VALIDATING_ADMISSION_POLICY, json!({"spec": {}})));
    expect![[r#"
        spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c
        spec.paramKind.kind: Invalid value: "1": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.matchConstraints.matchPolicy: Unsupported value: "Some": supported values: "Equivalent", "Exact"
        spec.matchConstraints.resourceRules: Required value
        spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier
        spec.variables[1].expression: Required value: expression is not specified
        spec.validations[0].expression: Required value: expression is not specified
        spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified
        spec.validations[0].message: Invalid value: "a\nb": message must not contain line breaks
        spec.validations[0].reason: Unsupported value: "Because": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"
        spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified
        spec.auditAnnotations[1].key: Duplicate value: "k"
    "#]].assert_eq(&create_errors(&VALIDATING_ADMISSION_POLICY, json!({"spec": {
        "paramKind": {"apiVersion": "a/b/c", "kind": "1"}, "matchConstraints": {"matchPolicy": "Some"},
        "variables": [{"name": "in", "expression": "1"}, {"name": "ok"}],
        "validations": [{"expression": " ", "message": "a\nb", "reason": "Because", "messageExpression": " "}],
        "auditAnnotations": [{"key": "k", "valueExpression": "1"}, {"key": "k"}]}})));
    let mutation = |mutations: Value| json!({"spec": {"matchConstraints": rules(), "reinvocationPolicy": "Never", "mutations": mutations}});
    let patch = json!({"expression": "[]"});
    expect![""].assert_eq(&create_errors(
        &MUTATING_ADMISSION_POLICY,
        mutation(json!([{"patchType": "JSONPatch", "jsonPatch": patch}])),
    ));
    expect![[r#"
        spec.mutations[0].patchType: Required value
        spec.mutations[1].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"
        spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch
        spec.mutations[2].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch
        spec.mutations[3].applyConfiguration.expression: Required value: expression is not specified
    "#]].assert_eq(&create_errors(&MUTATING_ADMISSION_POLICY, mutation(json!([
        {}, {"patchType": "Merge"}, {"patchType": "JSONPatch", "applyConfiguration": patch}, {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": ""}}]))));
    expect![[r#"
        spec.mutations: Required value: mutations must contain at least one item
        spec.reinvocationPolicy: Required value
    "#]]
    .assert_eq(&create_errors(&MUTATING_ADMISSION_POLICY, json!({"spec": {"matchConstraints": rules()}})));
}

#[test]
fn bindings() {
    let of = |spec: Value| create_errors(&VALIDATING_ADMISSION_POLICY_BINDING, json!({"spec": spec}));
    expect![""].assert_eq(&of(json!({"policyName": "p", "validationActions": ["Deny", "Audit"]})));
    expect![[r#"
        spec.policyName: Required value
        spec.paramRef.name: Forbidden: name and selector are mutually exclusive
        spec.paramRef.selector: Forbidden: name and selector are mutually exclusive
        spec.paramRef.parameterNotFoundAction: Required value
        spec.matchResouces.matchPolicy: Unsupported value: "No": supported values: "Equivalent", "Exact"
        spec.validationActions[3]: Unsupported value: "Shout": supported values: "Audit", "Deny", "Warn"
        spec.validationActions[2]: Duplicate value: "Warn"
        spec.validationActions: Invalid value: ["Deny","Warn","Warn","Shout"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)
    "#]].assert_eq(&of(json!({"validationActions": ["Deny", "Warn", "Warn", "Shout"], "paramRef": {"name": "a", "selector": {"matchLabels": {"a": "b"}}}, "matchResources": {"matchPolicy": "No"}})));
    expect![[r#"
        spec.paramRef: Required value: one of name or selector must be specified
    "#]]
    .assert_eq(&create_errors(
        &MUTATING_ADMISSION_POLICY_BINDING,
        json!({"spec": {"policyName": "p", "paramRef": {"parameterNotFoundAction": "Allow"}}}),
    ));
    expect![[r#"
        Name: x
        PolicyName: p
        ParamRef: n/a
        Age: 4m30s
    "#]]
    .assert_eq(&row(
        &VALIDATING_ADMISSION_POLICY_BINDING,
        json!({"spec": {"policyName": "p", "paramRef": {"name": "a", "namespace": "n"}}}),
    ));
    expect![[r#"
        Name: x
        Validations: 1
        ParamKind: v1/ConfigMap
        Age: 4m30s
    "#]]
    .assert_eq(&row(
        &VALIDATING_ADMISSION_POLICY,
        json!({"spec": {"validations": [{}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
    ));
}
