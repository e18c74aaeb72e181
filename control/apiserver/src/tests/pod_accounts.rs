//! What pods get of their service accounts.

use expect_test::expect;
use futures::future::join;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Accounts, Bench, PODS};
use crate::PodAccounts;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

async fn bench(pod_accounts: PodAccounts) -> Bench {
    Bench::start_with(Accounts { pod_accounts, ..Accounts::default() }).await
}

async fn account(bench: &Bench, account: Value) {
    assert_eq!(bench.send("POST", ACCOUNTS, &account.to_string()).await.code, 201);
}

async fn pod(bench: &Bench, name: &str, mut spec: Value) -> Value {
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    let pod = json!({"metadata": {"name": name}, "spec": spec});
    let answer = bench.send("POST", PODS, &pod.to_string()).await;
    if answer.code == 201 { answer.json() } else { Value::String(answer.line()) }
}

#[tokio::test]
async fn an_account_must_exist_and_lends_its_pull_secrets() {
    let bench = bench(PodAccounts::Projected).await;
    expect![[r#""403 Forbidden: pods \"p\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found""#]]
        .assert_eq(&pod(&bench, "p", json!({"serviceAccountName": "robot"})).await.to_string());
    let lends = json!({"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "registry"}]});
    account(&bench, lends).await;
    let made = pod(&bench, "p", json!({"serviceAccountName": "robot"})).await;
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(made["spec"]["serviceAccount"], "robot");
    let own = json!({"serviceAccountName": "robot", "imagePullSecrets": [{"name": "own"}]});
    assert_eq!(pod(&bench, "q", own).await["spec"]["imagePullSecrets"], json!([{"name": "own"}]));
}

#[tokio::test]
async fn a_pod_waits_for_the_account_of_a_new_namespace() {
    let bench = bench(PodAccounts::Projected).await;
    let later = async {
        tokio::task::yield_now().await;
        account(&bench, json!({"metadata": {"name": "default"}})).await;
    };
    let (made, ()) = join(pod(&bench, "p", json!({})), later).await;
    assert_eq!(made["spec"]["serviceAccountName"], "default", "{made}");
}

#[tokio::test]
async fn containers_get_the_token_unless_it_is_declined() {
    let bench = bench(PodAccounts::Projected).await;
    account(&bench, json!({"metadata": {"name": "default"}})).await;
    account(&bench, json!({"metadata": {"name": "shy"}, "automountServiceAccountToken": false})).await;
    let made = pod(&bench, "p", json!({"initContainers": [{"name": "i", "image": "i"}]})).await;
    let volume = &made["spec"]["volumes"][0];
    let name = tree::text(volume, "name").to_owned();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    expect![[r#"{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}]}"#]]
        .assert_eq(&volume["projected"].to_string());
    for list in ["containers", "initContainers"] {
        let mount = &made["spec"][list][0]["volumeMounts"][0];
        assert_eq!(mount["name"], name.as_str());
        assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
        assert_eq!(mount["readOnly"], true);
    }
    assert_eq!(pod(&bench, "q", json!({"serviceAccountName": "shy"})).await["spec"]["volumes"], Value::Null);
    let declined = json!({"automountServiceAccountToken": false});
    assert_eq!(pod(&bench, "r", declined).await["spec"]["volumes"], Value::Null);
    let insists = json!({"serviceAccountName": "shy", "automountServiceAccountToken": true});
    assert!(pod(&bench, "s", insists).await["spec"]["volumes"][0].is_object());
    let mount = json!({"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    let own = json!({
        "volumes": [{"name": "own", "emptyDir": {}}],
        "containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}],
    });
    let made = pod(&bench, "t", own).await;
    assert_eq!(made["spec"]["volumes"].as_array().map(Vec::len), Some(1), "{made}");
}
