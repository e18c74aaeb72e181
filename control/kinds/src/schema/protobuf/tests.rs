//! Protobuf bodies against the JSON they stand for; the bytes are written by hand, number by number.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::Schema;
use super::{decode, envelope};

mod golden;
mod round_trips;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn text(number: u64, content: &str) -> Vec<u8> {
    bytes(number, content.as_bytes())
}

fn number(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value.cast_unsigned())].concat()
}

fn message(number: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(number, &fields.concat())
}

fn body(api_version: &str, kind: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    let of = message(1, &[text(1, api_version), text(2, kind)]);
    [b"k8s\0".to_vec(), of, message(2, fields), text(3, ""), text(4, "")].concat()
}

fn check(body: &[u8], expected: Expect) {
    expected.assert_eq(&match decode(&Schema::builtin(), body) {
        Ok(value) => value.to_string(),
        Err(error) => format!("error: {error}"),
    });
}

fn name(name: &str) -> Vec<u8> {
    message(1, &[text(1, name), text(2, ""), text(3, ""), number(7, 0), message(8, &[])])
}

#[test]
fn what_kubectl_create_sends() {
    check(
        &body("v1", "Namespace", &[name("ns"), message(2, &[]), message(3, &[text(1, "")])]),
        expect![[r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"ns"},"spec":{},"status":{}}"#]],
    );
    check(
        &body(
            "v1",
            "ConfigMap",
            &[name("c"), message(2, &[text(1, "a"), text(2, "b")]), message(2, &[text(1, "e")])],
        ),
        expect![[
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"b","e":""}}"#
        ]],
    );
    check(
        &body(
            "v1",
            "Secret",
            &[name("s"), message(2, &[text(1, "k"), bytes(2, &[0xff, 0])]), text(3, "Opaque")],
        ),
        expect![[
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"k":"/wA="},"type":"Opaque"}"#
        ]],
    );
}

#[test]
fn a_meant_zero_is_kept_and_an_omitted_one_is_not() {
    let spec = |fields: &[Vec<u8>]| body("apps/v1", "Deployment", &[message(2, fields)]);
    check(
        &spec(&[number(1, 0), number(5, 0), number(9, -1)]),
        expect![[
            r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":0,"progressDeadlineSeconds":-1}}"#
        ]],
    );
}

#[test]
fn an_empty_text_leaves_room_for_the_default() {
    let port = message(6, &[text(1, ""), number(2, 0), number(3, 80), text(4, ""), text(5, "")]);
    check(
        &body("v1", "Pod", &[message(2, &[message(2, &[text(1, "c"), port])])]),
        expect![[
            r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}}"#
        ]],
    );
}

#[test]
fn special_types_and_inlined_structs() {
    let volume =
        message(1, &[text(1, "v"), message(2, &[message(2, &[text(1, ""), message(2, &[text(1, "1Gi")])])])]);
    let probe = message(
        10,
        &[
            message(
                1,
                &[message(2, &[text(1, "/x"), message(2, &[number(1, 0), number(2, 80), text(3, "")])])],
            ),
            number(2, 3),
        ],
    );
    let resources = message(8, &[message(1, &[text(1, "cpu"), message(2, &[text(1, "500m")])])]);
    let container = message(2, &[text(1, "c"), probe, resources]);
    check(
        &body(
            "v1",
            "Pod",
            &[
                message(1, &[message(8, &[number(1, 1_200_000_000), number(2, 5)])]),
                message(2, &[volume, container]),
            ],
        ),
        expect![[
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2008-01-10T21:20:00Z"},"spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}],"containers":[{"name":"c","livenessProbe":{"httpGet":{"path":"/x","port":80},"initialDelaySeconds":3},"resources":{"limits":{"cpu":"500m"}}}]}}"#
        ]],
    );
    check(
        &body(
            "coordination.k8s.io/v1",
            "Lease",
            &[message(2, &[message(3, &[number(1, 1_200_000_000), number(2, 1_500)])])],
        ),
        expect![[
            r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"acquireTime":"2008-01-10T21:20:00.000001Z"}}"#
        ]],
    );
    check(
        &body("v1", "DeleteOptions", &[number(1, 0), message(2, &[text(1, "u")]), text(4, "Background")]),
        expect![[
            r#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0,"preconditions":{"uid":"u"},"propagationPolicy":"Background"}"#
        ]],
    );
}

#[test]
fn broken_bytes_are_errors() {
    check(
        b"{}",
        expect![
            "error: provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        ],
    );
    check(b"k8s\0\x0a\x7f", expect!["error: unexpected EOF"]);
    check(&body("v1", "Zap", &[]), expect![[r#"error: no kind "Zap" is registered for version "v1""#]]);
    check(&body("v1", "Pod", &[number(1, 4)]), expect!["error: proto: wrong wireType for field metadata"]);
    check(
        &body("v1", "Pod", &[bytes(1, &bytes(1, &[0xff]))]),
        expect!["error: proto: string is not valid UTF-8"],
    );
    let mut deep = Vec::new();
    for _ in 0..400 {
        deep = bytes(2, &bytes(2, &deep));
    }
    let deep = bytes(2, &bytes(1, &bytes(3, &deep)));
    let _ = decode(&Schema::builtin(), &body("v1", "Pod", &[deep]));
}

#[test]
fn an_envelope_may_leave_the_type_to_the_url() {
    let opened = [b"k8s\0".to_vec(), text(2, "raw")].concat();
    let opened = envelope(&opened).expect("an envelope");
    assert_eq!((opened.api_version.as_str(), opened.kind.as_str(), opened.raw), ("", "", &b"raw"[..]));
}

proptest! {
    #[test]
    fn no_bytes_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&Schema::builtin(), &noise);
        for kind in ["Pod", "Secret", "Namespace", "Event", "DeleteOptions"] {
            let _ = decode(&Schema::builtin(), &body("v1", kind, std::slice::from_ref(&noise)));
        }
    }
}
