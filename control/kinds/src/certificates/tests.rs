//! Requests for certificates: who asks, the verdict, the certificate.

use expect_test::expect;
use serde_json::{Value, json};

use super::certificate_signing_request::CERTIFICATE_SIGNING_REQUEST as CSR;
use crate::check::{create_errors, created, row};
use crate::{Serves, View};

/// `CN=ann, O=devs`, signed with its own key.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTU1Bb0dBMVVFQXd3RFlXNXVNUTB3Q3dZRFZRUUtEQVJrWlhaek1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVBTithSk0rYmhHQUliMlEyUVk3bmMyeGNtWGRxZzEvT1plQnAyMmdECmF2bTNTMU9rTUI1cXVHM21BVGZZL3lYMmhnZGtubTYxRlc4TjlyVlVaNjlkWmFBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJQzhpMGdlL2VseVlLa3ErY1lXSHMvWTRCQVhDeEZYNWxGRWFXUThPYzZ2WkFpRUFuZkcvbnZaZAo0cTIwUTVHeFRzdzNDejVDYWVPR1NXekJZMXQwcE5OcndCaz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";
/// The same for somebody else, with the signature of the first.
const FORGED: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTU1Bb0dBMVVFQXd3RFltOWlNUTB3Q3dZRFZRUUtEQVJrWlhaek1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVBTithSk0rYmhHQUliMlEyUVk3bmMyeGNtWGRxZzEvT1plQnAyMmdECmF2bTNTMU9rTUI1cXVHM21BVGZZL3lYMmhnZGtubTYxRlc4TjlyVlVaNjlkWmFBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJQzhpMGdlL2VseVlLa3ErY1lXSHMvWTRCQVhDeEZYNWxGRWFXUThPYzZ2WkFpRUFuZkcvbnZaZAo0cTIwUTVHeFRzdzNDejVDYWVPR1NXekJZMXQwcE5OcndCaz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";
const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJjVENDQVJlZ0F3SUJBZ0lVSk14dnU5SXFKOFg2VlM1THU5b3F4cTFuRDg4d0NnWUlLb1pJemowRUF3SXcKRFRFTE1Ba0dBMVVFQXd3Q1kyRXdJQmNOTWpZeE1USXlNRE0xT0RRd1doZ1BNakV5TmpFd01qa3dNelU0TkRCYQpNQTB4Q3pBSkJnTlZCQU1NQW1OaE1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRUFOK2FKTStiCmhHQUliMlEyUVk3bmMyeGNtWGRxZzEvT1plQnAyMmdEYXZtM1MxT2tNQjVxdUczbUFUZlkveVgyaGdka25tNjEKRlc4TjlyVlVaNjlkWmFOVE1GRXdIUVlEVlIwT0JCWUVGT2FzaUlPeWx2S2R6eFJOeURQTTRPUmFzSjk4TUI4RwpBMVVkSXdRWU1CYUFGT2FzaUlPeWx2S2R6eFJOeURQTTRPUmFzSjk4TUE4R0ExVWRFd0VCL3dRRk1BTUJBZjh3CkNnWUlLb1pJemowRUF3SURTQUF3UlFJZ1NDczk1d25UNVFkS2hzNEI2VXI3dUhObDBWNGpnN3NEQVZ2bWc2TkQKT1VvQ0lRQ0pVWmtPaVR5TWJpaHBDcmlvVldmVUdOUmtybmFaWENRWG9NTTd2ZnVtN3c9PQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg==";

fn wanted(fields: Value) -> Value {
    let mut spec = json!({"request": REQUEST, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    json!({"spec": spec})
}

#[test]
fn who_asks_is_who_sends() {
    let mut made = created(
        &CSR,
        wanted(json!({"username": "root", "groups": ["system:masters"], "extra": {"a": ["b"]}})),
    );
    let note = CSR.strategy.note_maker.expect("it is noted");
    note(&mut made, &json!({"username": "ann", "groups": ["devs"]}));
    made["spec"]["request"] = json!("");
    expect![[r#"{"request":"","signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"],"username":"ann","groups":["devs"]}"#]].assert_eq(&made["spec"].to_string());
}

#[test]
fn requests_that_are_refused() {
    let of = |fields: Value| create_errors(&CSR, wanted(fields)).replace(FORGED, "FORGED");
    expect![""].assert_eq(&of(json!({"expirationSeconds": 600})));
    expect![[r#"
        spec.request: Invalid value: "FORGED": x509: the signature is not that of the request's key
        spec.usages[1]: Unsupported value: "fun": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
        spec.usages[2]: Duplicate value: "client auth"
        spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)
    "#]].assert_eq(&of(json!({"request": FORGED, "usages": ["client auth", "fun", "client auth"], "expirationSeconds": 599})));
    expect![[r#"
        spec.request: Invalid value: "YQ==": PEM block type must be CERTIFICATE REQUEST
        spec.usages: Required value
        spec.signerName: Required value
    "#]]
    .assert_eq(&of(json!({"request": "YQ==", "usages": [], "signerName": ""})));
    expect![[r#"
        spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version
    "#]].assert_eq(&of(json!({"signerName": "kubernetes.io/legacy-unknown"})));
    expect![[r#"
        spec.signerName: Invalid value: "one": must be a fully qualified domain and path of the form 'example.com/signer-name'
    "#]].assert_eq(&of(json!({"signerName": "one"})));
    expect![[r#"
        spec.signerName: Invalid value: "com/A_b": should be a domain with at least two segments separated by dots
        spec.signerName: Invalid value: "com/A_b": validating label "A_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]].assert_eq(&of(json!({"signerName": "com/A_b"})));
}

fn approval() -> &'static View {
    match CSR.subresource("approval").map(|it| &it.serves) {
        Some(Serves::View(view)) => view,
        _ => panic!("approval is a view"),
    }
}

fn judged(status: Value) -> Value {
    let mut request = created(&CSR, wanted(json!({})));
    request["status"] = status;
    request
}

fn said(errors: crate::FieldErrors) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn the_verdict_is_given_in_a_view_of_its_own() {
    let old = judged(json!({}));
    let approved = json!([{"type": "Approved", "status": "True", "reason": "BecauseISaidSo"}]);
    let mut new = judged(json!({"conditions": approved, "certificate": CERTIFICATE}));
    new["spec"]["signerName"] = json!("example.com/other");
    CSR.prepare_view(approval(), &mut new, (&old, "2026-11-21T12:00:00Z"));
    expect![[r#"{"conditions":[{"type":"Approved","status":"True","reason":"BecauseISaidSo","lastUpdateTime":"2026-11-21T12:00:00Z","lastTransitionTime":"2026-11-21T12:00:00Z"}]}"#]].assert_eq(&new["status"].to_string());
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(said(CSR.validate_view(approval(), &new, &old)), "");
    expect![[r#"
        status.conditions: Forbidden: updates may not remove a condition of type "Approved"
    "#]]
    .assert_eq(&said(CSR.validate_view(approval(), &old, &new)));
    let both = judged(
        json!({"conditions": [approved[0], {"type": "Denied", "status": "False"}, {"type": "Denied"}]}),
    );
    expect![[r#"
        status.conditions[1].status: Unsupported value: "False": supported values: "True"
        status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive
        status.conditions[2].status: Required value
        status.conditions[2].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive
        status.conditions[2].type: Duplicate value: "Denied"
    "#]].assert_eq(&said(CSR.validate_view(approval(), &both, &new)));
    expect![[r#"
        status.conditions: Forbidden: updates may not add a condition of type "Approved"
    "#]]
    .assert_eq(&said(CSR.validate_status_update(&new, &old)));
}

#[test]
fn a_certificate_is_issued_once() {
    let old = judged(json!({"conditions": [{"type": "Approved", "status": "True"}]}));
    let mut new = old.clone();
    new["status"]["certificate"] = json!(CERTIFICATE);
    assert_eq!(said(CSR.validate_status_update(&new, &old)), "");
    expect![[r#"
        status.certificate: Forbidden: updates may not set certificate content
    "#]]
    .assert_eq(&said(CSR.validate_update(&new, &old)));
    let mut other = old.clone();
    other["status"]["certificate"] = json!(REQUEST);
    expect![[r#"
        status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"
        status.certificate: Forbidden: updates may not modify existing certificate content
    "#]].assert_eq(&said(CSR.validate_status_update(&other, &new)));
}

#[test]
fn columns() {
    let mut request = wanted(json!({"username": "ann", "expirationSeconds": 3600}));
    request["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "YQ=="});
    expect![[r#"
        Name: x
        Age: 4m30s
        SignerName: kubernetes.io/kube-apiserver-client
        Requestor: ann
        RequestedDuration: 60m
        Condition: Approved,Issued
    "#]]
    .assert_eq(&row(&CSR, request));
    assert!(row(&CSR, json!({})).contains("Condition: Pending"));
}
