//! Tokens over the whole server: asked for, shown, reviewed, outlived.

use std::time::Duration;

use expect_test::expect;
use http::Request;
use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Accounts, Answer, Bench, PODS};
use crate::tokens::claims::Claims;
use crate::tokens::{TokenIssuer, jwt};
use crate::{Authentication, Identity, PodAccounts, StaticTokens, empty};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/robot/token";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn bench() -> Bench {
    let issuer = TokenIssuer {
        issuer: "https://us".to_owned(),
        audiences: vec!["us".to_owned()],
        jwks_uri: "https://us/openid/v1/jwks".to_owned(),
        keys: crate::tokens::tests::keys(),
    };
    let static_tokens = StaticTokens::parse("s3cret,ann,7,devs\n").unwrap();
    let authentication = Authentication { service_accounts: Some(issuer), static_tokens };
    let bench = Bench::start_with(Accounts { authentication, pod_accounts: PodAccounts::Named }).await;
    bench.server.bootstrap().await.unwrap();
    assert_eq!(bench.send("POST", ACCOUNTS, r#"{"metadata":{"name":"robot"}}"#).await.code, 201);
    bench
}

async fn request(bench: &Bench, spec: Value) -> Value {
    let answer = bench.send("POST", TOKEN, &json!({"spec": spec}).to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

async fn token(bench: &Bench, spec: Value) -> String {
    tree::text(&request(bench, spec).await, "status.token").to_owned()
}

/// What a stranger gets who shows `token`.
async fn show(bench: &Bench, token: &str, method: &str, uri: &str) -> Answer {
    let request =
        Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json");
    let body = if method == "POST" { crate::full("{}") } else { empty() };
    let answer = bench.server.handle(Identity::anonymous(), request.body(body).unwrap()).await;
    Answer::of(answer).await
}

async fn who_am_i(bench: &Bench, token: &str) -> String {
    let answer = show(bench, token, "POST", WHO_AM_I).await;
    match answer.code {
        201 => tree::get(&answer.json(), "status.userInfo").to_string(),
        _ => answer.line(),
    }
}

async fn review(bench: &Bench, spec: Value) -> String {
    let answer = bench.send("POST", REVIEWS, &json!({"spec": spec}).to_string()).await;
    match answer.code {
        201 => tree::get(&answer.json(), "status").to_string(),
        _ => answer.line(),
    }
}

async fn made(bench: &Bench, uri: &str, object: Value) -> Value {
    let answer = bench.send("POST", uri, &object.to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

fn pod(name: &str, account: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"serviceAccountName": account, "nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    })
}

/// Uids and names by chance are told apart by nobody.
fn settled(text: &str, secret: &str, word: &str) -> String {
    text.replace(secret, word)
}

#[tokio::test]
async fn a_token_is_its_account() {
    let bench = bench().await;
    let uid = tree::text(&bench.get(&format!("{ACCOUNTS}/robot")).await, "metadata.uid").to_owned();
    let answer = request(&bench, json!({})).await;
    expect![[r#"{"audiences":["us"],"expirationSeconds":3600}"#]]
        .assert_eq(&tree::get(&answer, "spec").to_string());
    assert_eq!(tree::text(&answer, "status.expirationTimestamp"), "2026-11-21T01:00:00Z");
    let token = tree::text(&answer, "status.token");
    let id = Claims::read(&jwt::parse(token).unwrap().claims).unwrap().id;
    let shown = settled(&settled(&who_am_i(&bench, token).await, &uid, "UID"), &id, "ID");
    expect![[r#"{"username":"system:serviceaccount:default:robot","uid":"UID","groups":["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=ID"]}}"#]]
        .assert_eq(&shown);
    let refused = show(&bench, token, "GET", PODS).await.line();
    expect![[r#"403 Forbidden: pods is forbidden: User "system:serviceaccount:default:robot" cannot list resource "pods" in API group "" in the namespace "default""#]].assert_eq(&refused);

    assert_eq!(bench.send("DELETE", &format!("{ACCOUNTS}/robot"), "").await.code, 200);
    expect!["401 Unauthorized: Unauthorized"].assert_eq(&who_am_i(&bench, token).await);
    assert_eq!(bench.send("POST", ACCOUNTS, r#"{"metadata":{"name":"robot"}}"#).await.code, 201);
    expect!["401 Unauthorized: Unauthorized"].assert_eq(&who_am_i(&bench, token).await);
    assert_eq!(show(&bench, token, "GET", "/livez").await.code, 401);
}

#[tokio::test]
async fn tokens_that_are_none_are_refused() {
    let bench = bench().await;
    let good = token(&bench, json!({})).await;
    for bad in ["x", "a.b.c", &good[..good.len() - 1], "abcdef.0123456789abcdef", "s3cret2"] {
        assert_eq!(
            show(&bench, bad, "GET", "/version").await.line(),
            "401 Unauthorized: Unauthorized",
            "{bad}"
        );
    }
    // No token at all is nobody, and nobody may ask for health.
    assert_eq!(show(&bench, "", "GET", "/livez").await.code, 200);
    let elsewhere = token(&bench, json!({"audiences": ["vault"]})).await;
    assert_eq!(show(&bench, &elsewhere, "GET", "/version").await.code, 401);
    bench.clock.advance(Duration::from_secs(3660));
    assert_eq!(show(&bench, &good, "GET", "/version").await.code, 200);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(show(&bench, &good, "GET", "/version").await.code, 401);
}

#[tokio::test]
async fn what_is_asked_for_is_judged() {
    let bench = bench().await;
    let ask = async |spec: Value| bench.line("POST", TOKEN, &json!({"spec": spec}).to_string()).await;
    expect![[r#"422 Invalid: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#]]
        .assert_eq(&ask(json!({"expirationSeconds": 599})).await);
    expect![[r#"422 Invalid: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"#]]
        .assert_eq(&ask(json!({"expirationSeconds": 4_294_967_297i64})).await);
    assert!(ask(json!({"expirationSeconds": 4_294_967_296i64})).await.starts_with("201"));
    expect![[r#"404 NotFound: pods "p" not found"#]]
        .assert_eq(&ask(json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}})).await);
    expect!["400 BadRequest: cannot bind token to object of type apps/v1, Kind=Deployment"].assert_eq(
        &ask(json!({"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "p"}})).await,
    );
    made(&bench, PODS, pod("other", "default")).await;
    expect![[r#"400 BadRequest: cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name."#]]
        .assert_eq(&ask(json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "other"}})).await);
    made(&bench, PODS, pod("own", "robot")).await;
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "own", "uid": "u"});
    expect![[r#"409 Conflict: Operation cannot be fulfilled on Pod "own": the UID in the bound object reference (u) does not match the UID in record. The object might have been deleted and then recreated"#]]
        .assert_eq(&ask(json!({"boundObjectRef": bound})).await);
    let renamed = json!({"metadata": {"name": "other"}}).to_string();
    expect![[r#"422 Invalid: TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: Invalid value: "other": must match the service account name if specified"#]]
        .assert_eq(&bench.line("POST", TOKEN, &renamed).await);
    expect![[r#"404 NotFound: serviceaccounts "nobody" not found"#]]
        .assert_eq(&bench.line("POST", &TOKEN.replace("robot", "nobody"), "{}").await);
    expect!["405 MethodNotAllowed: the server does not allow this method on the requested resource"]
        .assert_eq(&bench.line("GET", TOKEN, "").await);
}

#[tokio::test]
async fn a_token_dies_with_what_it_is_bound_to() {
    let bench = bench().await;
    made(&bench, "/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    made(&bench, PODS, pod("p", "robot")).await;
    made(&bench, SECRETS, json!({"metadata": {"name": "s"}})).await;
    let bound =
        |kind: &str, name: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}});
    let of_pod = token(&bench, bound("Pod", "p")).await;
    let of_secret = token(&bench, bound("Secret", "s")).await;
    let of_node = token(&bench, bound("Node", "n1")).await;
    let known: Value = serde_json::from_str(&who_am_i(&bench, &of_pod).await).unwrap();
    let extra: Vec<&String> = known["extra"].as_object().unwrap().keys().collect();
    expect![[r#"["authentication.kubernetes.io/credential-id", "authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid", "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"]"#]]
        .assert_eq(&format!("{extra:?}"));
    let code = async |token: &str| show(&bench, token, "GET", "/version").await.code;
    for alive in [&of_pod, &of_secret, &of_node] {
        assert_eq!(code(alive).await, 200);
    }
    // The node of a pod may go; the token is the pod's.
    bench.send("DELETE", "/api/v1/nodes/n1", "").await;
    assert_eq!((code(&of_pod).await, code(&of_node).await), (200, 401));
    bench.send("DELETE", &format!("{PODS}/p?gracePeriodSeconds=0"), "").await;
    bench.send("DELETE", &format!("{SECRETS}/s"), "").await;
    assert_eq!((code(&of_pod).await, code(&of_secret).await), (401, 401));
    made(&bench, SECRETS, json!({"metadata": {"name": "s"}})).await;
    assert_eq!(code(&of_secret).await, 401, "another Secret of that name");
    let why = review(&bench, json!({"token": of_pod})).await;
    expect![[r#"{"user":{},"error":"[invalid bearer token, service account token has been invalidated]"}"#]]
        .assert_eq(&why);
}

#[tokio::test]
async fn reviews_tell_whose_a_token_is() {
    let bench = bench().await;
    let good = token(&bench, json!({"audiences": ["us", "vault"]})).await;
    let status: Value = serde_json::from_str(&review(&bench, json!({"token": good})).await).unwrap();
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["us"])));
    let asked = review(&bench, json!({"token": good, "audiences": ["vault", "db"]})).await;
    assert!(asked.ends_with(r#""audiences":["vault"]}"#), "{asked}");
    expect![[r#"{"user":{},"error":"[invalid bearer token, token audiences [\"us\" \"vault\"] is invalid for the target audiences [\"db\"]]"}"#]]
        .assert_eq(&review(&bench, json!({"token": good, "audiences": ["db"]})).await);
    expect![[r#"{"user":{},"error":"invalid bearer token"}"#]]
        .assert_eq(&review(&bench, json!({"token": "x"})).await);
    expect![[r#"{"authenticated":true,"user":{"username":"ann","uid":"7","groups":["devs","system:authenticated"]},"audiences":["us"]}"#]]
        .assert_eq(&review(&bench, json!({"token": "s3cret"})).await);
    expect!["400 BadRequest: token is required for TokenReview in authentication"]
        .assert_eq(&review(&bench, json!({})).await);
    bench.clock.advance(Duration::from_secs(4000));
    expect![[r#"{"user":{},"error":"[invalid bearer token, service account token has expired]"}"#]]
        .assert_eq(&review(&bench, json!({"token": good})).await);
    expect![[r#"{"username":"ann","uid":"7","groups":["devs","system:authenticated"]}"#]]
        .assert_eq(&who_am_i(&bench, "s3cret").await);
}

#[tokio::test]
async fn bootstrap_tokens_are_secrets_of_the_system() {
    let bench = bench().await;
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        },
    });
    made(&bench, SECRETS, secret.clone()).await;
    assert!(who_am_i(&bench, "abcdef.0123456789abcdef").await.starts_with("401"));
    made(&bench, "/api/v1/namespaces/kube-system/secrets", secret).await;
    expect![[
        r#"{"username":"system:bootstrap:abcdef","groups":["system:bootstrappers","system:authenticated"]}"#
    ]]
    .assert_eq(&who_am_i(&bench, "abcdef.0123456789abcdef").await);
    assert!(who_am_i(&bench, "abcdef.0123456789abcdeg").await.starts_with("401"));
}

#[tokio::test]
async fn injected_tokens_live_on_and_say_when_they_are_stale() {
    let bench = bench().await;
    made(&bench, PODS, pod("p", "robot")).await;
    let spec = json!({"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}});
    let token = token(&bench, spec).await;
    let claims = Claims::read(&jwt::parse(&token).unwrap().claims).unwrap();
    assert_eq!(claims.warn_after, Some(claims.issued_at + 3607));
    assert_eq!(claims.expires, claims.issued_at + 365 * 24 * 3600);
}

#[tokio::test]
async fn the_issuer_is_no_secret_to_accounts() {
    let bench = bench().await;
    let token = token(&bench, json!({})).await;
    let about = show(&bench, &token, "GET", "/.well-known/openid-configuration").await;
    expect![[r#"{"issuer":"https://us","jwks_uri":"https://us/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}"#]]
        .assert_eq(&about.text);
    let keys = show(&bench, &token, "GET", "/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert!(keys.text.contains(r#""kty":"EC""#), "{}", keys.text);
    let ann = Identity::known("ann", &[]);
    assert!(bench.line_as(&ann, "GET", "/openid/v1/jwks", "").await.starts_with("403"));
    let without = Bench::start().await;
    assert_eq!(without.send("GET", "/openid/v1/jwks", "").await.code, 404);
    expect!["404 NotFound: the server could not find the requested resource"]
        .assert_eq(&without.line("POST", TOKEN, "{}").await);
}
