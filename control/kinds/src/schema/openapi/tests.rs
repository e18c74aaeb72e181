//! Documents of two resources, as kubectl reads them.

use expect_test::{Expect, expect};
use serde_json::Value;

use super::super::Schema;
use super::{OpenApi, Resource, Speaks, Subresource};
use crate::Connect;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn built() -> OpenApi {
    let pods = Resource {
        group: "",
        version: "v1",
        kind: "Pod",
        list_kind: "PodList".to_owned(),
        plural: "pods",
        custom: None,
        namespaced: true,
        definition: "io.k8s.api.core.v1.Pod",
        verbs: VERBS.to_vec(),
        subresources: vec![
            Subresource {
                name: "log",
                verbs: vec!["get"],
                group: "",
                version: "v1",
                kind: "Pod",
                speaks: Speaks::Text,
            },
            Subresource {
                name: "exec",
                verbs: vec!["create", "get"],
                group: "",
                version: "v1",
                kind: "PodExecOptions",
                speaks: Speaks::Connection(Connect::Exec),
            },
        ],
    };
    let deployments = Resource {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        list_kind: "DeploymentList".to_owned(),
        plural: "deployments",
        custom: None,
        namespaced: true,
        definition: "io.k8s.api.apps.v1.Deployment",
        verbs: VERBS.to_vec(),
        subresources: vec![Subresource {
            name: "scale",
            verbs: vec!["get", "patch", "update"],
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            speaks: Speaks::Kind,
        }],
    };
    OpenApi::build(&Schema::builtin(), "v1.36.0", &[pods, deployments])
}

fn at(document: &[u8], pointer: &str) -> Value {
    let document: Value = serde_json::from_slice(document).expect("JSON");
    document.pointer(pointer).cloned().unwrap_or_default()
}

fn check(document: &[u8], pointer: &str, expected: Expect) {
    expected.assert_eq(&at(document, pointer).to_string());
}

#[test]
fn the_index_leads_to_documents_under_their_hash() {
    let built = built();
    let index = at(&built.index().body, "/paths");
    assert_eq!(
        index.as_object().map(|paths| paths.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["api/v1".to_owned(), "apis/apps/v1".to_owned()])
    );
    let document = built.document("apis/apps/v1").expect("a document");
    let hash = document.etag.trim_matches('"');
    assert_eq!(hash.len(), 128);
    assert_eq!(index["apis/apps/v1"]["serverRelativeURL"], format!("/openapi/v3/apis/apps/v1?hash={hash}"));
    assert!(built.document("apis/batch/v1").is_none());
}

#[test]
fn v3_says_what_kubectl_asks() {
    let built = built();
    let apps = &built.document("apis/apps/v1").expect("a document").body;
    let item = "/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments~1{name}";
    let names: Vec<Value> = at(apps, &format!("{item}/patch/parameters"))
        .as_array()
        .map(|all| all.iter().map(|parameter| parameter["name"].clone()).collect())
        .unwrap_or_default();
    assert_eq!(names, ["pretty", "dryRun", "fieldManager", "fieldValidation", "force"]);
    check(
        apps,
        &format!("{item}/patch/x-kubernetes-group-version-kind"),
        expect![[r#"{"group":"apps","kind":"Deployment","version":"v1"}"#]],
    );
    check(apps, &format!("{item}/get/operationId"), expect![[r#""readAppsV1NamespacedDeployment""#]]);
    check(
        apps,
        "/components/schemas/io.k8s.api.apps.v1.Deployment",
        expect![[
            r##"{"properties":{"apiVersion":{"type":"string"},"kind":{"type":"string"},"metadata":{"default":{},"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]},"spec":{"default":{},"allOf":[{"$ref":"#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]},"status":{"default":{},"allOf":[{"$ref":"#/components/schemas/io.k8s.api.apps.v1.DeploymentStatus"}]}},"type":"object","x-kubernetes-group-version-kind":[{"group":"apps","kind":"Deployment","version":"v1"}]}"##
        ]],
    );
    check(
        apps,
        &format!("{item}~1scale/put/requestBody/content/*~1*/schema"),
        expect![[r##"{"$ref":"#/components/schemas/io.k8s.api.autoscaling.v1.Scale"}"##]],
    );
    check(apps, "/components/schemas/io.k8s.api.apps.v1.StatefulSet", expect!["null"]);
}

#[test]
fn connections_have_no_bodies() {
    let built = built();
    let pods = &built.document("api/v1").expect("a document").body;
    let exec = "/paths/~1api~1v1~1namespaces~1{namespace}~1pods~1{name}~1exec";
    for (method, word) in [("get", "Get"), ("post", "Post")] {
        let operation = at(pods, &format!("{exec}/{method}"));
        assert_eq!(operation["operationId"], format!("connectCoreV1{word}NamespacedPodExec"));
        assert_eq!(operation["x-kubernetes-action"], "connect");
        assert_eq!(operation["x-kubernetes-group-version-kind"]["kind"], "PodExecOptions");
        assert!(operation["requestBody"].is_null(), "{operation}");
        assert_eq!(operation["parameters"][0]["name"], "command");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let built = built();
    let schemas = at(&built.document("api/v1").expect("a document").body, "/components/schemas");
    let v2 = at(&built.v2_json().body, "/definitions");
    for (prefix, definitions, text) in [
        (
            "#/components/schemas/",
            &schemas,
            String::from_utf8_lossy(&built.document("api/v1").expect("a document").body),
        ),
        ("#/definitions/", &v2, String::from_utf8_lossy(&built.v2_json().body)),
    ] {
        for reference in text.split(prefix).skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(definitions.get(name).is_some(), "{name} is missing");
        }
    }
}

#[test]
fn v2_has_no_defaults_and_its_own_shapes() {
    let built = built();
    let v2 = &built.v2_json().body;
    check(
        v2,
        "/definitions/io.k8s.api.core.v1.ContainerPort/properties/protocol",
        expect![[r#"{"enum":["SCTP","TCP","UDP"],"type":"string"}"#]],
    );
    check(
        v2,
        "/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity",
        expect![[r#"{"type":"string"}"#]],
    );
    check(
        v2,
        "/paths/~1api~1v1~1namespaces~1{namespace}~1pods~1{name}~1log/get/responses/200",
        expect![[r#"{"description":"OK","schema":{"type":"string"}}"#]],
    );
}

#[test]
fn the_protobuf_begins_as_a_document_does() {
    let built = built();
    let bytes = &built.v2_protobuf().body;
    assert!(bytes.starts_with(b"\x0a\x032.0\x12"), "{:?}", &bytes[..8]);
    assert!(bytes.len() > 50_000, "{} bytes", bytes.len());
}
