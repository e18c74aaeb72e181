//! Flow schemas and priority levels: defaults, validation, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::flow_schema::FLOW_SCHEMA;
use super::priority_level_configuration::PRIORITY_LEVEL_CONFIGURATION as LEVEL;
use crate::check::{create_errors, created, row};

#[test]
fn schemas_that_are_refused() {
    let of = |rule: Value| {
        create_errors(
            &FLOW_SCHEMA,
            json!({"spec": {"priorityLevelConfiguration": {"name": "low"}, "rules": [rule]}}),
        )
    };
    let everybody = json!([{"kind": "Group", "group": {"name": "system:authenticated"}}]);
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]);
    expect![""].assert_eq(&of(json!({"subjects": everybody, "resourceRules": all})));
    expect![[r#"
        spec.rules[0].subjects: Required value: subjects must contain at least one value
        spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty
    "#]]
    .assert_eq(&of(json!({})));
    expect![[r#"
        spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'
        spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'
        spec.rules[0].subjects[1].serviceAccount.name: Invalid value: "A B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[0].subjects[1].serviceAccount.namespace: Required value: must specify namespace for service account
        spec.rules[0].subjects[2].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"
        spec.rules[0].resourceRules[0].verbs: Invalid value: ["get","*"]: if '*' is present, must not specify other verbs
        spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["","*"]: if '*' is present, must not specify other api groups
        spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource
        spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["look"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"
        spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "healthz": must start with slash
        spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "/a//b": must not contain double slash
        spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: "/a*": wildcard can only do suffix matching
    "#]].assert_eq(&of(json!({
        "subjects": [{"kind": "User", "group": {"name": "a"}}, {"kind": "ServiceAccount", "serviceAccount": {"name": "A B"}}, {"kind": "Robot"}],
        "resourceRules": [{"verbs": ["get", "*"], "apiGroups": ["", "*"], "namespaces": ["A"]}],
        "nonResourceRules": [{"verbs": ["look"], "nonResourceURLs": ["healthz", "/a//b", "/a*"]}]})));
    expect![[r#"
        spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1
        spec.distinguisherMethod.type: Unsupported value: "ByMood": supported values: "ByNamespace", "ByUser"
        spec.priorityLevelConfiguration.name: Required value: must reference a priority level
    "#]].assert_eq(&create_errors(
        &FLOW_SCHEMA,
        json!({"spec": {"matchingPrecedence": 1, "distinguisherMethod": {"type": "ByMood"}}}),
    ));
}

#[test]
fn levels_that_are_refused() {
    let of = |spec: Value| create_errors(&LEVEL, json!({"spec": spec}));
    expect![[r#"
        spec.type: Invalid value: "Exempt": type must be 'Exempt' if and only if name is 'exempt'
        spec.limited: Forbidden: must be nil if the type is not Limited
    "#]]
    .assert_eq(&of(json!({"type": "Exempt", "limited": {}})));
    expect![[r#"
        spec.limited: Required value: must not be empty when type is Limited
    "#]]
    .assert_eq(&of(json!({"type": "Limited"})));
    let queue = |queuing: Value| {
        of(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}))
    };
    expect![""].assert_eq(&queue(json!({"queues": 128, "handSize": 6, "queueLengthLimit": 50})));
    expect![[r#"
        spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive
        spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60
    "#]].assert_eq(&queue(json!({"queues": 512, "handSize": 8, "queueLengthLimit": -1})));
    expect![[r#"
        spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)
    "#]]
    .assert_eq(&queue(json!({"queues": 4, "handSize": 8})));
}

#[test]
fn defaults_and_columns() {
    let made = created(
        &LEVEL,
        json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 8}}}}}),
    );
    expect![[r#"{"type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{"queues":8,"handSize":8,"queueLengthLimit":50}},"nominalConcurrencyShares":30,"lendablePercent":0}}"#]].assert_eq(&made["spec"].to_string());
    expect![[r#"
        Name: x
        Type: Limited
        NominalConcurrencyShares: 30
        Queues: 8
        HandSize: 8
        QueueLengthLimit: 50
        Age: 4m30s
    "#]]
    .assert_eq(&row(&LEVEL, made));
    let schema = created(&FLOW_SCHEMA, json!({"spec": {"priorityLevelConfiguration": {"name": "low"}}}));
    expect![[r#"
        Name: x
        PriorityLevel: low
        MatchingPrecedence: 1000
        DistinguisherMethod: <none>
        Age: 4m30s
        MissingPL: ?
    "#]]
    .assert_eq(&row(&FLOW_SCHEMA, schema));
}
