//! Versions of kinds: each says what the stored one says, under its own names.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::batch::older::CRON_JOB_V1BETA1;
use crate::check::{create_errors, object};
use crate::discovery::older::ENDPOINT_SLICE_V1BETA1;
use crate::networking::older::{INGRESS_CLASS_V1BETA1, INGRESS_V1BETA1};
use crate::policy::older::POD_DISRUPTION_BUDGET_V1BETA1;
use crate::rbac::older::ROLE_BINDING_V1BETA1;
use crate::{ALL, Kind, LEGACY, tree};

/// What `kind` makes of a stored object, which it makes into the same again.
fn check(kind: &'static Kind, stored: Value, served: Expect) {
    let stored = object(kind.stored(), stored);
    let mut other = stored.clone();
    kind.serve(&mut other);
    served.assert_eq(&format!("{} {}", other["apiVersion"], without(&other)));
    kind.store(&mut other);
    assert!(tree::same(&other, &stored), "{other}\n{stored}");
}

fn without(object: &Value) -> String {
    let mut rest = object.clone();
    for field in ["apiVersion", "kind", "metadata"] {
        drop(tree::remove(&mut rest, field));
    }
    rest.to_string()
}

#[test]
fn an_ingress_names_its_service_otherwise() {
    let service = |port: Value| json!({"service": {"name": "web", "port": port}});
    check(
        &INGRESS_V1BETA1,
        json!({"spec": {"defaultBackend": service(json!({"number": 80})), "rules": [{"http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": service(json!({"name": "http"}))},
            {"pathType": "Exact", "path": "/x", "backend": {"resource": {"kind": "Bucket", "name": "b"}}}]}}]}}),
        expect![[
            r#""networking.k8s.io/v1beta1" {"spec":{"rules":[{"http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"serviceName":"web","servicePort":"http"}},{"pathType":"Exact","path":"/x","backend":{"resource":{"kind":"Bucket","name":"b"}}}]}}],"backend":{"serviceName":"web","servicePort":80}}}"#
        ]],
    );
    let old = json!({"spec": {"backend": {"serviceName": "Web", "servicePort": 80}, "rules": [{"http": {"paths": [{"backend": {"serviceName": "a", "servicePort": "p"}}]}}]}});
    expect![[r#"
        spec.defaultBackend.service.name: Invalid value: "Web": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
    "#]].assert_eq(&create_errors(&INGRESS_V1BETA1, old));
}

#[test]
fn where_an_endpoint_is_stands_in_one_map() {
    check(
        &ENDPOINT_SLICE_V1BETA1,
        json!({"addressType": "IPv4", "endpoints": [
            {"addresses": ["10.0.0.1"], "zone": "a", "nodeName": "n", "deprecatedTopology": {"x": "y"}}, {"addresses": ["10.0.0.2"]}]}),
        expect![[
            r#""discovery.k8s.io/v1beta1" {"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"nodeName":"n","topology":{"x":"y","topology.kubernetes.io/zone":"a","kubernetes.io/hostname":"n"}},{"addresses":["10.0.0.2"]}]}"#
        ]],
    );
}

#[test]
fn an_empty_selector_of_a_budget_once_meant_nothing() {
    check(
        &POD_DISRUPTION_BUDGET_V1BETA1,
        json!({"spec": {"selector": {}}}),
        expect![[
            r#""policy/v1beta1" {"spec":{"selector":{"matchExpressions":[{"key":"pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match","operator":"DoesNotExist"}]}}}"#
        ]],
    );
    check(
        &POD_DISRUPTION_BUDGET_V1BETA1,
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
        expect![[r#""policy/v1beta1" {"spec":{"selector":{"matchLabels":{"a":"b"}}}}"#]],
    );
    let mut empty = object(&POD_DISRUPTION_BUDGET_V1BETA1, json!({"spec": {"selector": {}}}));
    POD_DISRUPTION_BUDGET_V1BETA1.store(&mut empty);
    expect![[r#"{"selector":{"matchExpressions":[{"key":"pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match","operator":"Exists"}]}}"#]].assert_eq(&empty["spec"].to_string());
}

#[test]
fn some_differ_by_their_name() {
    check(
        &CRON_JOB_V1BETA1,
        json!({"spec": {"schedule": "* * * * *"}}),
        expect![[r#""batch/v1beta1" {"spec":{"schedule":"* * * * *"}}"#]],
    );
    check(
        &INGRESS_CLASS_V1BETA1,
        json!({"spec": {"controller": "a.b/c"}}),
        expect![[r#""networking.k8s.io/v1beta1" {"spec":{"controller":"a.b/c"}}"#]],
    );
    check(
        &ROLE_BINDING_V1BETA1,
        json!({"roleRef": {"kind": "Role", "name": "r"}}),
        expect![[r#""rbac.authorization.k8s.io/v1beta1" {"roleRef":{"kind":"Role","name":"r"}}"#]],
    );
}

#[test]
fn a_version_is_one_of_a_stored_kind() {
    for kind in ALL.iter().chain(LEGACY).filter(|kind| kind.conversion.is_some()) {
        let stored = kind.stored();
        assert!(stored.conversion.is_none(), "{}", kind.resource());
        assert!(ALL.iter().any(|listed| std::ptr::eq(*listed, stored)), "{}", kind.resource());
        assert_eq!((kind.plural, kind.namespaced), (stored.plural, stored.namespaced));
        assert_ne!(kind.api_version(), stored.api_version());
        assert_ne!(kind.definition, stored.definition, "{}", kind.resource());
        let own = |below: &crate::Subresource| (below.group, below.version) == (kind.group, kind.version);
        let of_kind = kind.subresources.iter().filter(|below| below.kind == kind.kind);
        assert!(of_kind.into_iter().all(own), "{}", kind.resource());
    }
}
