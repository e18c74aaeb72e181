//! The smaller core kinds: what they refuse, fill in and show.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::check::{create_errors, created, object, row, update};
use crate::coordination::lease::LEASE;
use crate::core::config_map::CONFIG_MAP;
use crate::core::event::EVENT;
use crate::core::namespace::NAMESPACE;
use crate::core::node::NODE;
use crate::core::secret::SECRET;
use crate::core::service::SERVICE;
use crate::{Kind, tree};

fn check(kind: &Kind, fields: Value, expected: Expect) {
    expected.assert_eq(&create_errors(kind, fields));
}

fn check_update(kind: &Kind, old: Value, new: Value, expected: Expect) {
    expected.assert_eq(&update(kind, old, new));
}

fn check_row(kind: &Kind, fields: Value, expected: Expect) {
    expected.assert_eq(&row(kind, fields));
}

#[test]
fn metadata_is_checked_for_every_kind() {
    check(
        &CONFIG_MAP,
        json!({"metadata": {"name": ""}}),
        expect![[r#"
        metadata.name: Required value: name or generateName is required
    "#]],
    );
    check(
        &CONFIG_MAP,
        json!({"metadata": {"name": "Bad_Name", "namespace": "A"}}),
        expect![[r#"
        metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        metadata.namespace: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
    "#]],
    );
    check(
        &NAMESPACE,
        json!({"metadata": {"name": "a.b", "namespace": "c"}}),
        expect![[r#"
        metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        metadata.namespace: Forbidden: not allowed on this type
    "#]],
    );
    check(
        &CONFIG_MAP,
        json!({"metadata": {"labels": {"a b": "c d"}, "annotations": {"/": ""}, "finalizers": ["no spaces"],
            "ownerReferences": [{"kind": "A", "name": "a", "controller": true},
                {"apiVersion": "v1", "kind": "B", "name": "b", "uid": "1", "controller": true}]}}),
        expect![[r#"
            metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.labels: Invalid value: "c d": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            metadata.annotations: Invalid value: "/": prefix part must be non-empty
            metadata.annotations: Invalid value: "/": name part must be non-empty
            metadata.annotations: Invalid value: "/": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.ownerReferences[0].apiVersion: Invalid value: "": version must not be empty
            metadata.ownerReferences[0].uid: Invalid value: "": must not be empty
            metadata.ownerReferences: Invalid value: [{"kind":"A","name":"a","controller":true},{"apiVersion":"v1","kind":"B","name":"b","uid":"1","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for A and B
            metadata.finalizers: Invalid value: "no spaces": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        "#]],
    );
    check(&CONFIG_MAP, json!({"metadata": {"generateName": "a-"}}), expect![[""]]);
    check(
        &CONFIG_MAP,
        json!({"metadata": {"generateName": "A-"}}),
        expect![[r#"
        metadata.generateName: Invalid value: "A-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
}

#[test]
fn metadata_of_an_update_is_checked() {
    let mut old = object(
        &CONFIG_MAP,
        json!({"metadata": {"uid": "1", "finalizers": ["a.b/c"],
        "deletionTimestamp": "2026-11-21T12:00:00Z"}}),
    );
    let mut new = object(&CONFIG_MAP, json!({"metadata": {"uid": "2", "finalizers": ["a.b/c", "a.b/d"]}}));
    CONFIG_MAP.prepare_update(&mut new, &old);
    expect![[r#"[metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.b/d"}, metadata.uid: Invalid value: "2": field is immutable]"#]].assert_eq(&CONFIG_MAP.validate_update(&new, &old).to_string());
    tree::remove(&mut new, "metadata.uid");
    tree::remove(&mut old, "metadata.deletionTimestamp");
    tree::remove(&mut new, "metadata.deletionTimestamp");
    CONFIG_MAP.prepare_update(&mut new, &old);
    expect!["[]"].assert_eq(&CONFIG_MAP.validate_update(&new, &old).to_string());
}

#[test]
fn config_maps_and_secrets() {
    check(
        &CONFIG_MAP,
        json!({"data": {"a/b": "", "..c": "", "d": ""}, "binaryData": {"d": ""}}),
        expect![[r#"
            data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            data[..c]: Invalid value: "..c": must not start with '..'
            data[d]: Invalid value: "d": duplicate of key present in binaryData
        "#]],
    );
    check_update(
        &CONFIG_MAP,
        json!({"immutable": true, "data": {"a": "1"}}),
        json!({"data": {"a": "2"}}),
        expect![[r#"
            immutable: Forbidden: field is immutable when `immutable` is set
            data: Forbidden: field is immutable when `immutable` is set
        "#]],
    );
    check_row(
        &CONFIG_MAP,
        json!({"data": {"a": "1"}, "binaryData": {"b": ""}}),
        expect![[r#"
        Name: x
        Data: 2
        Age: 4m30s
    "#]],
    );
    check(
        &SECRET,
        json!({"type": "kubernetes.io/tls"}),
        expect![[r#"
        data[tls.crt]: Required value
        data[tls.key]: Required value
    "#]],
    );
    check(
        &SECRET,
        json!({"type": "kubernetes.io/basic-auth"}),
        expect![[r#"
        data[username]: Required value
        data[password]: Required value
    "#]],
    );
    check_update(
        &SECRET,
        json!({}),
        json!({"type": "x"}),
        expect![[r#"
        type: Invalid value: "x": field is immutable
    "#]],
    );
    let secret = created(&SECRET, json!({"stringData": {"a": "text"}}));
    expect![[r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","namespace":"default","creationTimestamp":"2026-11-21T11:55:30Z"},"data":{"a":"dGV4dA=="},"type":"Opaque"}"#]].assert_eq(&secret.to_string());
}

#[test]
fn namespaces_hold_themselves() {
    let namespace = created(&NAMESPACE, json!({}));
    expect![[r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x","creationTimestamp":"2026-11-21T11:55:30Z","labels":{"kubernetes.io/metadata.name":"x"}},"status":{"phase":"Active"},"spec":{"finalizers":["kubernetes"]}}"#]].assert_eq(&namespace.to_string());
    check_row(
        &NAMESPACE,
        json!({"status": {"phase": "Active"}}),
        expect![[r#"
        Name: x
        Status: Active
        Age: 4m30s
    "#]],
    );
}

#[test]
fn services() {
    let service = created(&SERVICE, json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}));
    expect![[r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x","namespace":"default","creationTimestamp":"2026-11-21T11:55:30Z"},"spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":80}],"selector":{"app":"web"},"sessionAffinity":"None","type":"ClusterIP","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}}"#]].assert_eq(&service.to_string());
    check(
        &SERVICE,
        json!({"spec": {}}),
        expect![[r#"
        spec.ports: Required value
    "#]],
    );
    check(&SERVICE, json!({"spec": {"clusterIP": "None"}}), expect![[""]]);
    check(
        &SERVICE,
        json!({"metadata": {"name": "1a"}, "spec": {"type": "X", "ports": [{"port": 0}]}}),
        expect![[r#"
            metadata.name: Invalid value: "1a": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
        "#]],
    );
    check(
        &SERVICE,
        json!({"spec": {"clusterIP": "nope", "sessionAffinity": "Y", "ports": [
            {"port": 80, "name": "a"}, {"port": 80, "name": "a", "protocol": "Z"}, {"port": 80, "targetPort": "--"}]}}),
        expect![[r#"
            spec.ports[1].name: Duplicate value: "a"
            spec.ports[1].protocol: Unsupported value: "Z": supported values: "SCTP", "TCP", "UDP"
            spec.ports[2].name: Required value
            spec.ports[2].targetPort: Invalid value: "--": must contain at least one letter (a-z)
            spec.ports[2].targetPort: Invalid value: "--": must not contain consecutive hyphens
            spec.ports[2].targetPort: Invalid value: "--": must not begin or end with a hyphen
            spec.ports[2]: Duplicate value: {"protocol":"TCP","port":80}
            spec.sessionAffinity: Unsupported value: "Y": supported values: "ClientIP", "None"
            spec.clusterIPs[0]: Invalid value: "nope": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        "#]],
    );
    let given = |address: &str| json!({"spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    check_update(
        &SERVICE,
        given("10.0.0.1"),
        given("10.0.0.2"),
        expect![[r#"
        spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set
    "#]],
    );
    check_update(
        &SERVICE,
        given("10.0.0.1"),
        json!({"spec": {"ports": [{"port": 81}]}}),
        expect![[r#"
        good, generation null
    "#]],
    );
    let mut waiting = service;
    waiting["spec"]["clusterIP"] = json!("10.0.0.9");
    check_row(
        &SERVICE,
        waiting,
        expect![[r#"
        Name: x
        Type: ClusterIP
        Cluster-IP: 10.0.0.9
        External-IP: <none>
        Port(s): 80/TCP
        Age: 4m30s
        Selector: app=web
    "#]],
    );
}

#[test]
fn nodes() {
    check_row(
        &NODE,
        json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.4"},
                "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}]}}),
        expect![[r#"
            Name: x
            Status: Ready,SchedulingDisabled
            Roles: edge,worker
            Age: 4m30s
            Version: v1.36.4
            Internal-IP: 10.1.1.1
            External-IP: <none>
            OS-Image: <unknown>
            Kernel-Version: <unknown>
            Container-Runtime: <unknown>
        "#]],
    );
    check(
        &NODE,
        json!({"spec": {"taints": [{"key": "a", "effect": "X"}, {"key": "b", "effect": "NoExecute"},
        {"key": "b", "value": "1", "effect": "NoExecute"}]}}),
        expect![[r#"
            spec.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.taints[2]: Duplicate value: {"key":"b","value":"1","effect":"NoExecute"}: taints must be unique by key and effect pair
        "#]],
    );
    check_update(
        &NODE,
        json!({"spec": {"podCIDRs": ["10.1.0.0/24"]}}),
        json!({}),
        expect![[r#"
            spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid
        "#]],
    );
}

#[test]
fn events() {
    check_row(
        &EVENT,
        json!({"involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"}, "reason": "Pulled",
            "type": "Normal", "message": " done\n", "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-11-21T11:00:00Z", "lastTimestamp": "2026-11-21T11:59:00Z", "count": 4}),
        expect![[r#"
            Last Seen: 60s
            Type: Normal
            Reason: Pulled
            Object: pod/p
            Subobject: spec.containers{c}
            Source: kubelet, n1
            Message: done
            First Seen: 60m
            Count: 4
            Name: x
        "#]],
    );
    check_row(
        &EVENT,
        json!({"involvedObject": {"kind": "Node"}, "eventTime": "2026-11-21T11:59:00.000000Z",
            "reportingComponent": "scheduler", "reportingInstance": "s-1"}),
        expect![[r#"
            Last Seen: 60s
            Type: 
            Reason: 
            Object: node
            Subobject: 
            Source: scheduler, s-1
            Message: 
            First Seen: 60s
            Count: 1
            Name: x
        "#]],
    );
    check(
        &EVENT,
        json!({"involvedObject": {"namespace": "other"}}),
        expect![[r#"
        involvedObject.namespace: Invalid value: "other": does not match event.namespace
    "#]],
    );
}

#[test]
fn leases() {
    check(
        &LEASE,
        json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
        expect![[r#"
        spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
        spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0
    "#]],
    );
    check_row(
        &LEASE,
        json!({"spec": {"holderIdentity": "server-1"}}),
        expect![[r#"
        Name: x
        Holder: server-1
        Age: 4m30s
    "#]],
    );
}
