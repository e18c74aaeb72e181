//! APIServices: names, priorities, columns.

use expect_test::expect;
use serde_json::json;

use super::API_SERVICE;
use crate::check::{create_errors, row};

#[test]
fn what_is_refused() {
    let spec = json!({"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "service": {"namespace": "kube-system", "name": "metrics"}});
    let good = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": spec});
    expect![""].assert_eq(&create_errors(&API_SERVICE, good));
    expect![[r#"
        metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "V1."
        spec.group: Required value: only v1 may have an empty group and it better be legacy kube
        spec.version: Invalid value: "V1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000
        spec.versionPriority: Invalid value: 0: must be positive and less than 1000
        spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify
    "#]].assert_eq(&create_errors(
        &API_SERVICE,
        json!({"spec": {"version": "V1", "groupPriorityMinimum": 20001, "insecureSkipTLSVerify": true}}),
    ));
    expect![[r#"
        spec.service.namespace: Required value
        spec.service.name: Required value
        spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive
        spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present
    "#]].assert_eq(&create_errors(
        &API_SERVICE,
        json!({"metadata": {"name": "v1."}, "spec": {"version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "caBundle": "YQ==", "insecureSkipTLSVerify": true, "service": {"port": 0}}}),
    ));
}

#[test]
fn columns() {
    expect![[r#"
        Name: x
        Service: a/b
        Available: False (MissingEndpoints)
        Age: 4m30s
    "#]].assert_eq(&row(
        &API_SERVICE,
        json!({"spec": {"service": {"namespace": "a", "name": "b"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}}),
    ));
    assert!(row(&API_SERVICE, json!({})).contains("Service: Local\nAvailable: Unknown"));
}
