//! Tokens are read as they were made, and nothing that is no token does harm.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::claims::{Claims, Reference, Untimely};
use super::jwt::{self, Unverified};
use super::*;

pub(crate) fn keys() -> TokenKeys {
    TokenKeys::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
}

fn claims() -> Claims {
    let reference = |name: &str| Reference { name: name.to_owned(), uid: format!("{name}-uid") };
    Claims {
        issuer: "https://us".to_owned(),
        audiences: vec!["a".to_owned(), "b".to_owned()],
        id: "id".to_owned(),
        issued_at: 1000,
        not_before: 1000,
        expires: 4600,
        warn_after: Some(2000),
        namespace: "team".to_owned(),
        account: reference("robot"),
        pod: Some(reference("pod")),
        secret: None,
        node: Some(Reference { name: "node".to_owned(), uid: String::new() }),
    }
}

#[test]
fn a_token_says_what_was_signed() {
    let keys = keys();
    expect![[r#"{"aud":["a","b"],"exp":4600,"iat":1000,"iss":"https://us","jti":"id","kubernetes.io":{"namespace":"team","node":{"name":"node"},"pod":{"name":"pod","uid":"pod-uid"},"serviceaccount":{"name":"robot","uid":"robot-uid"},"warnafter":2000},"nbf":1000,"sub":"system:serviceaccount:team:robot"}"#]]
        .assert_eq(&claims().to_json().to_string());
    let token = jwt::sign(&keys, &claims().to_json()).unwrap();
    let parsed = jwt::parse(&token).unwrap();
    assert!(parsed.is_signed_by(&keys));
    assert_eq!(Claims::read(&parsed.claims), Some(claims()));
}

#[test]
fn who_changes_a_letter_has_no_token() {
    let keys = keys();
    let token = jwt::sign(&keys, &claims().to_json()).unwrap();
    let is_good = |token: &str| jwt::parse(token).is_some_and(|parsed| parsed.is_signed_by(&keys));
    assert!(is_good(&token));
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = token.clone();
        changed.replace_range(at..=at, other);
        assert!(!is_good(&changed), "letter {at}");
        assert!(!is_good(&token[..at]), "cut at {at}");
    }
    assert!(!jwt::parse(&token).unwrap().is_signed_by(&self::keys()), "another cluster's key");
}

#[test]
fn a_key_that_replaces_another_signs_and_the_other_is_believed_still() {
    let [old, new] = [(), ()].map(|()| KeyPair::generate().unwrap().serialize_pem());
    let old_token = jwt::sign(&TokenKeys::from_pem(&old).unwrap(), &claims().to_json()).unwrap();
    let both = TokenKeys::from_pem(&format!("{new}{old}")).unwrap();
    assert!(jwt::parse(&old_token).unwrap().is_signed_by(&both));
    let new_token = jwt::sign(&both, &claims().to_json()).unwrap();
    assert!(jwt::parse(&new_token).unwrap().is_signed_by(&TokenKeys::from_pem(&new).unwrap()));
    let jwks = both.to_jwks();
    let ids: Vec<&Value> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{jwks}");
    assert_eq!(jwks["keys"][0]["x"].as_str().unwrap().len(), 43);
}

#[test]
fn keys_that_are_none_are_named() {
    let check = |text: &str, expected: Expect| {
        expected.assert_eq(&TokenKeys::from_pem(text).unwrap_err().to_string());
    };
    check("", expect!["there is no key of service accounts"]);
    let nonsense = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";
    check(nonsense, expect!["a key of service accounts is not a P-256 key in PKCS #8: InvalidEncoding"]);
}

/// A header that promises less than a signature is not believed, whoever signed it.
#[test]
fn only_our_algorithm_counts() {
    let keys = keys();
    let with_header = |header: &Value| {
        use base64::Engine as _;
        let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(&claims().to_json()));
        let signature = keys.sign(signed.as_bytes()).unwrap();
        let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature);
        let token = format!("{signed}.{signature}");
        jwt::parse(&token).as_ref().is_some_and(|parsed: &Unverified<'_>| parsed.is_signed_by(&keys))
    };
    assert!(with_header(&json!({"alg": "ES256"})));
    assert!(!with_header(&json!({"alg": "none"})));
    assert!(!with_header(&json!({"alg": "HS256"})));
    assert!(!with_header(&json!({})));
    assert!(!with_header(&json!({"alg": "ES256", "crit": ["b64"]})));
    assert!(!with_header(&json!({"alg": "ES256", "kid": "another"})));
}

#[test]
fn time_is_judged_with_a_minute_of_patience() {
    let at = |seconds: i64| claims().check_time(base::Timestamp::from_second(seconds).unwrap());
    assert_eq!(at(939), Err(Untimely::NotYet));
    assert_eq!(at(940), Ok(()));
    assert_eq!(at(4660), Ok(()));
    assert_eq!(at(4661), Err(Untimely::Expired));
}

/// Claims, some of them of the wrong sort.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "aud",
        "exp",
        "nbf",
        "sub",
        "kubernetes.io",
        "serviceaccount",
        "pod",
        "name",
        "uid",
        "namespace",
    ]);
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_does_harm(text in ".{0,200}") {
        let _nothing = jwt::parse(&text);
    }

    #[test]
    fn no_three_parts_do_harm(
        text in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}"
    ) {
        if let Some(parsed) = jwt::parse(&text) {
            prop_assert!(!parsed.is_signed_by(&keys()));
        }
    }

    #[test]
    fn no_claims_do_harm(claims in any_json(), now in any::<i32>()) {
        if let Some(read) = Claims::read(&claims) {
            let _either = read.check_time(base::Timestamp::from_second(now.into()).unwrap());
            prop_assert_eq!(Claims::read(&read.to_json()).map(|again| again.user()), Some(read.user()));
        }
    }
}
