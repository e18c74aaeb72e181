//! Requests for certificates: who asks is noted, and a verdict or a certificate needs a right of its own.

use expect_test::expect;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Answer, Bench};
use crate::Identity;
use crate::chain::authz::tests::roles::furnished;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// `CN=ann, O=system:masters`, signed with its own key.
const MASTERS_REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIak1JR0pBZ0VBTUNjeEREQUtCZ05WQkFNTUEyRnViakVYTUJVR0ExVUVDZ3dPYzNsemRHVnRPbTFoYzNSbApjbk13V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVFBMzVva3o1dUVZQWh2WkRaQmp1ZHpiRnlaCmQycURYODVsNEduYmFBTnErYmRMVTZRd0htcTRiZVlCTjlqL0pmYUdCMlNlYnJVVmJ3MzJ0VlJucjExbG9BQXcKQ2dZSUtvWkl6ajBFQXdJRFNRQXdSZ0loQUl6ZTRkOTlDTU1LRzZQdUVYQXJJMjlYNnZLSjdOdDhsOEVZYWNUeApZWEJ6QWlFQWc5cFNUQnh1Y0dTWGl0L01DWThpT0wzL0ttOFBXRVNjcTlVMzlTMCt4dU09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

fn request(name: &str, signer: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "request": MASTERS_REQUEST, "signerName": signer, "usages": ["client auth"], "username": "somebody-else"}})
}

async fn role(bench: &Bench, user: &str, rules: Value) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": user}, "rules": rules}).to_string();
    assert_eq!(bench.send("POST", &format!("{rbac}/clusterroles"), &role).await.code, 201);
    let bound = json!({"metadata": {"name": user}, "roleRef": {"kind": "ClusterRole", "name": user, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]}).to_string();
    assert_eq!(bench.send("POST", &format!("{rbac}/clusterrolebindings"), &bound).await.code, 201);
}

#[tokio::test]
async fn who_asks_is_noted_and_masters_are_not_made() {
    let bench = Bench::start().await;
    let refused =
        bench.line("POST", REQUESTS, &request("a", "kubernetes.io/kube-apiserver-client").to_string()).await;
    expect![[r#"403 Forbidden: certificatesigningrequests.certificates.k8s.io "a" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"#]].assert_eq(&refused);
    let made = bench.send("POST", REQUESTS, &request("a", "example.com/any").to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    expect![[r#"["admin",["system:masters","system:authenticated"]]"#]]
        .assert_eq(&json!([made.json()["spec"]["username"], made.json()["spec"]["groups"]]).to_string());
    let mut changed = made.json();
    changed["spec"]["username"] = json!("root");
    changed["spec"]["usages"] = json!(["any"]);
    changed["metadata"]["labels"] = json!({"a": "b"});
    let changed = bench.send("PUT", &format!("{REQUESTS}/a"), &changed.to_string()).await.json();
    assert_eq!(changed["spec"], made.json()["spec"]);
    assert_eq!(tree::text(&changed, "metadata.labels.a"), "b");
}

#[tokio::test]
async fn a_verdict_needs_the_right_to_approve() {
    let bench = furnished().await;
    let made = bench.send("POST", REQUESTS, &request("a", "example.com/any").to_string()).await.json();
    let update = json!({"verbs": ["get", "update"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"]});
    let on = |verb: &str, name: &str| json!({"verbs": [verb], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [name]});
    role(&bench, "bob", json!([update])).await;
    role(&bench, "judge", json!([update, on("approve", "example.com/*")])).await;
    role(&bench, "signer", json!([update, on("sign", "example.com/any")])).await;
    let mut approved = made.clone();
    approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Good"}]});
    let own = format!("{REQUESTS}/a");
    let send = async |user: &str, below: &str, object: &Value| -> Answer {
        let who = Identity::known(user, &[]);
        bench.until(&who, 200, "GET", &own).await;
        let response =
            bench.open(who, "PUT", &format!("{own}/{below}"), &[], object.to_string().into_bytes()).await;
        Answer::of(response).await
    };
    expect![[r#"403 Forbidden: certificatesigningrequests.certificates.k8s.io "a" is forbidden: user not permitted to approve requests with signerName "example.com/any""#]].assert_eq(&send("bob", "approval", &approved).await.line());
    let judged = send("judge", "approval", &approved).await;
    expect!["200 CertificateSigningRequest a"].assert_eq(&judged.line());
    expect![[r#"{"conditions":[{"type":"Approved","status":"True","reason":"Good","lastUpdateTime":"2026-11-21T00:00:00Z","lastTransitionTime":"2026-11-21T00:00:00Z"}]}"#]].assert_eq(&judged.json()["status"].to_string());
    let mut failed = judged.json();
    let conditions = failed["status"]["conditions"].as_array_mut().expect("the verdict");
    conditions.push(json!({"type": "Failed", "status": "True"}));
    expect![[r#"403 Forbidden: certificatesigningrequests.certificates.k8s.io "a" is forbidden: user not permitted to sign requests with signerName "example.com/any""#]].assert_eq(&send("judge", "status", &failed).await.line());
    expect!["200 CertificateSigningRequest a"].assert_eq(&send("signer", "status", &failed).await.line());
    let listed = bench.get(&format!("{REQUESTS}?fieldSelector=spec.signerName%3Dexample.com%2Fany")).await;
    assert_eq!(tree::items(&listed, "items").len(), 1);
}
