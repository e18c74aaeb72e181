//! Classes of storage, of ingresses and of runtimes, and what objects get of them.

use std::time::Duration;

use expect_test::expect;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Bench, PODS};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const STORAGE_CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const INGRESS_CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
const RUNTIME_CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

async fn make(bench: &Bench, uri: &str, object: Value) -> Value {
    let answer = bench.send("POST", uri, &object.to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

fn marked(name: &str, mark: &str, fields: Value) -> Value {
    let mut class = fields;
    class["metadata"] = json!({"name": name, "annotations": {mark: "true"}});
    class
}

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

#[tokio::test]
async fn a_claim_without_a_class_gets_the_newest_default() {
    let bench = Bench::start().await;
    let class_of = |made: &Value| tree::get(made, "spec.storageClassName").clone();
    assert_eq!(class_of(&make(&bench, CLAIMS, claim("before")).await), Value::Null);

    let mark = "storageclass.kubernetes.io/is-default-class";
    for name in ["b-old", "b-new", "a-new"] {
        if name == "b-new" {
            bench.clock.advance(Duration::from_secs(60));
        }
        make(&bench, STORAGE_CLASSES, marked(name, mark, json!({"provisioner": "x"}))).await;
    }
    assert_eq!(class_of(&make(&bench, CLAIMS, claim("none")).await), "a-new");
    let mut own = claim("own");
    own["spec"]["storageClassName"] = json!("other");
    assert_eq!(class_of(&make(&bench, CLAIMS, own).await), "other");
    let mut empty = claim("empty");
    empty["spec"]["storageClassName"] = json!("");
    assert_eq!(class_of(&make(&bench, CLAIMS, empty).await), "");
}

#[tokio::test]
async fn an_ingress_without_a_class_gets_the_default() {
    let bench = Bench::start().await;
    let mark = "ingressclass.kubernetes.io/is-default-class";
    make(&bench, INGRESS_CLASSES, marked("usual", mark, json!({"spec": {"controller": "a.b/c"}}))).await;
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    let mut old = ingress.clone();
    old["metadata"] = json!({"name": "old", "annotations": {"kubernetes.io/ingress.class": "mine"}});
    let made = make(&bench, INGRESSES, ingress).await;
    assert_eq!(tree::text(&made, "spec.ingressClassName"), "usual");
    let made = make(&bench, INGRESSES, old).await;
    assert_eq!(tree::text(&made, "spec.ingressClassName"), "");
}

fn pod(name: &str, fields: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in fields.as_object().expect("fields") {
        pod["spec"][field] = value.clone();
    }
    pod
}

#[tokio::test]
async fn a_pod_takes_over_what_its_runtime_class_costs_and_needs() {
    let bench = Bench::start().await;
    let class = json!({
        "metadata": {"name": "sandboxed"}, "handler": "sandbox",
        "overhead": {"podFixed": {"memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]},
    });
    make(&bench, RUNTIME_CLASSES, class).await;
    let made =
        make(&bench, PODS, pod("p1", &json!({"runtimeClassName": "sandboxed", "nodeSelector": {"a": "b"}})))
            .await;
    assert_eq!(made["spec"]["overhead"], json!({"memory": "64Mi"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"a": "b", "sandbox": "yes"}));
    let tolerations = tree::items(&made, "spec.tolerations");
    assert!(tolerations.iter().any(|toleration| toleration["key"] == "sandbox"));

    let refusal = |name: &'static str, fields: Value| {
        let (bench, body) = (&bench, pod(name, &fields).to_string());
        async move { bench.line("POST", PODS, &body).await }
    };
    expect![[r#"403 Forbidden: pods "p2" is forbidden: pod rejected: RuntimeClass "absent" not found"#]]
        .assert_eq(&refusal("p2", json!({"runtimeClassName": "absent"})).await);
    expect![[r#"403 Forbidden: pods "p3" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#]].assert_eq(&refusal("p3", json!({"overhead": {"memory": "64Mi"}})).await);
    let other = json!({"runtimeClassName": "sandboxed", "overhead": {"memory": "1Mi"}});
    expect![[r#"403 Forbidden: pods "p4" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"#]].assert_eq(&refusal("p4", other).await);
    let elsewhere = json!({"runtimeClassName": "sandboxed", "nodeSelector": {"sandbox": "no"}});
    expect![[r#"403 Forbidden: pods "p5" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no"#]].assert_eq(&refusal("p5", elsewhere).await);
}
