//! Claims, classes and slices of devices: defaults, validation, columns.

use expect_test::expect;
use serde_json::{Value, json};

use super::device_class::DEVICE_CLASS;
use super::resource_claim::{RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE};
use super::resource_slice::RESOURCE_SLICE;
use crate::check::{create_errors, created, object, row, update};

fn claim(requests: Value) -> Value {
    json!({"spec": {"devices": {"requests": requests}}})
}

#[test]
fn a_request_is_for_one_device_unless_it_says_otherwise() {
    let made = created(
        &RESOURCE_CLAIM,
        claim(json!([
        {"name": "a", "exactly": {"deviceClassName": "gpu"}},
        {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu", "allocationMode": "All"}]}])),
    );
    expect![[r#"{"devices":{"requests":[{"name":"a","exactly":{"deviceClassName":"gpu","allocationMode":"ExactCount","count":1}},{"name":"b","firstAvailable":[{"name":"x","deviceClassName":"gpu","allocationMode":"All"}]}]}}"#]].assert_eq(&made["spec"].to_string());
}

#[test]
fn claims_that_are_refused() {
    let of = |requests: Value| create_errors(&RESOURCE_CLAIM, claim(requests));
    let cel = |expression: &str| json!({"cel": {"expression": expression}});
    expect![""].assert_eq(&of(
        json!([{"name": "a", "exactly": {"deviceClassName": "gpu", "selectors": [cel("true")]}}]),
    ));
    expect![[r#"
        spec.devices.requests[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required
        spec.devices.requests[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set
        spec.devices.requests[1]: Duplicate value: "A"
    "#]].assert_eq(&of(json!([{"name": "A"}, {"name": "A", "exactly": {}, "firstAvailable": [{"name": "x"}]}])));
    expect![[r#"
        spec.devices.requests[0].exactly.selectors[0].cel: Required value
        spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"
        spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "v": must be empty for operator `Exists`
        spec.devices.requests[0].exactly.tolerations[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "None"
    "#]].assert_eq(&of(json!([{"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "Some", "selectors": [{}],
        "tolerations": [{"operator": "Exists", "value": "v", "effect": "Never"}]}}])));
    let mut whole = claim(json!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}]));
    whole["spec"]["devices"]["constraints"] = json!([{"requests": ["b"], "matchAttribute": "size"}, {}]);
    whole["spec"]["devices"]["config"] = json!([{"opaque": {"driver": "Gpu_1", "parameters": {}}}, {}]);
    expect![[r#"
        spec.devices.constraints[0].requests[0]: Invalid value: "b": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
        spec.devices.constraints[0].matchAttribute: Invalid value: "size": a fully qualified name must be a domain and a name separated by a slash
        spec.devices.constraints[1].matchAttribute: Required value
        spec.devices.config[0].opaque.driver: Invalid value: "Gpu_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.devices.config[1].opaque: Required value
    "#]].assert_eq(&create_errors(&RESOURCE_CLAIM, whole.clone()));
    expect![[r#"
        spec.metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required
    "#]].assert_eq(&create_errors(&RESOURCE_CLAIM_TEMPLATE, json!({"spec": {"metadata": {"labels": {"a b": "c"}}, "spec": {"devices": {"requests": [{"name": "a"}]}}}})));
    expect![[r#"
        spec: Invalid value: {"devices":{"requests":[{"name":"a","exactly":{"deviceClassName":"gpu","allocationMode":"ExactCount","count":1}}]}}: field is immutable
    "#]].assert_eq(&update(&RESOURCE_CLAIM, claim(json!([])), claim(json!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}]))).replace(&whole.to_string(), ""));
}

#[test]
fn a_status_is_about_devices_that_were_allocated() {
    let of = |status: Value| {
        let mut new =
            object(&RESOURCE_CLAIM, claim(json!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}])));
        let old = new.clone();
        new["status"] = status;
        let errors = RESOURCE_CLAIM.validate_status_update(&new, &old);
        errors.iter().map(|error| format!("{error}\n")).collect::<String>()
    };
    let device = json!({"driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0"});
    let mut result = device.clone();
    result["request"] = json!("a");
    let user = json!({"resource": "pods", "name": "p", "uid": "1"});
    expect![""].assert_eq(&of(
        json!({"allocation": {"devices": {"results": [result]}}, "reservedFor": [user], "devices": [device]}),
    ));
    expect![[r#"
        status.reservedFor[2].resource: Required value
        status.reservedFor[2].name: Required value
        status.reservedFor[2].uid: Required value
        status.reservedFor[1]: Duplicate value: "1"
        status.devices[0]: Invalid value: {"driver":"gpu.example.com","pool":"node-1","device":"gpu-0"}: must be an allocated device in the claim
        status.reservedFor: Forbidden: may not be specified when `allocated` is not set
    "#]].assert_eq(&of(json!({"reservedFor": [user, user, {}], "devices": [device]})));
}

#[test]
fn slices_that_are_refused() {
    let of = |fields: Value| {
        let mut spec = json!({"driver": "gpu.example.com", "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1}, "nodeName": "node-1"});
        for (name, value) in fields.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        create_errors(&RESOURCE_SLICE, json!({"spec": spec}))
    };
    expect![""].assert_eq(&of(json!({"devices": [{"name": "gpu-0", "attributes": {"model": {"string": "x"}, "example.com/version": {"version": "1.2.3-a.1+b"}},
        "capacity": {"memory": {"value": "8Gi"}}, "taints": [{"key": "a", "effect": "NoSchedule"}]}]})));
    expect![[r#"
        spec.driver: Required value
        spec.pool.name: Invalid value: "A/b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero
        spec.allNodes.nodeSelectorTerms: Invalid value: null: must have exactly one node selector term
        spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set
    "#]].assert_eq(&of(json!({"allNodes": true, "pool": {"name": "A/b"}, "driver": ""})));
    expect![[r#"
        spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
        spec.devices[0].attributes[a-b]: Invalid value: "a-b": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
        spec.devices[0].attributes[a-b]: Invalid value: "": exactly one value must be specified
        spec.devices[0].attributes[/x]: Invalid value: "": the domain must not be empty
        spec.devices[0].attributes[/x]: Invalid value: {"bool":true,"int":1}: exactly one value must be specified
        spec.devices[0].attributes[v].version: Invalid value: "1.02.3": must be a string compatible with semver.org spec 2.0.0
        spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true
        spec.devices[0].taints[0].key: Invalid value: "": name part must be non-empty
        spec.devices[0].taints[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.devices[0].taints[0].effect: Unsupported value: "Maybe": supported values: "NoExecute", "NoSchedule", "None"
        spec.devices[0].allNodes.nodeSelectorTerms: Invalid value: null: must have exactly one node selector term
        spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec
        spec.devices[1]: Duplicate value: "g"
    "#]].assert_eq(&of(json!({"nodeName": null, "devices": [
        {"name": "g", "attributes": {"a-b": {}, "/x": {"bool": true, "int": 1}, "v": {"version": "1.02.3"}}, "allNodes": true,
            "capacity": {"m": {"value": "1", "requestPolicy": {"default": "1"}}}, "taints": [{"key": "", "effect": "Maybe"}]},
        {"name": "g"}]})));
    expect![[r#"
        spec.perDeviceNodeSelection.nodeSelectorTerms: Invalid value: null: must have exactly one node selector term
        spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed
        spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
        spec.sharedCounters[0].counters: Required value
    "#]].assert_eq(&of(json!({"perDeviceNodeSelection": true, "nodeName": null, "devices": [{"name": "g"}], "sharedCounters": [{"name": "c", "counters": {}}]})));
}

#[test]
fn classes_that_are_refused() {
    let of = |spec: Value| create_errors(&DEVICE_CLASS, json!({"spec": spec}));
    expect![""].assert_eq(&of(json!({"extendedResourceName": "example.com/gpu"})));
    expect![[r#"
        spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes
        spec.config[0].opaque: Required value
        spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name
    "#]].assert_eq(&of(json!({"extendedResourceName": "cpu", "selectors": [{"cel": {"expression": "x".repeat(10_241)}}], "config": [{}]})));
}

#[test]
fn columns() {
    let mut used = claim(json!([]));
    used["status"] = json!({"allocation": {"devices": {}}, "reservedFor": [{"uid": "1"}]});
    expect![[r#"
        Name: x
        State: allocated,reserved
        Age: 4m30s
    "#]]
    .assert_eq(&row(&RESOURCE_CLAIM, used));
    expect![[r#"
        Name: x
        Node: <unset>
        Driver: d
        Pool: p
        Age: 4m30s
    "#]]
    .assert_eq(&row(
        &RESOURCE_SLICE,
        json!({"spec": {"driver": "d", "pool": {"name": "p"}, "allNodes": true}}),
    ));
}
