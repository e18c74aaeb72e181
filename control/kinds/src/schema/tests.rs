//! The graph and the decoder, on built-in types.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn of(definition: &str) -> TypeId {
    Schema::builtin().type_of(definition).expect("known definition")
}

fn report(outcome: Result<Decoded, DecodeError>) -> String {
    match outcome {
        Ok(decoded) => {
            let mut lines = decoded.unknown;
            lines.push(decoded.value.to_string());
            lines.join("\n")
        }
        Err(error) => format!("error: {error}"),
    }
}

fn check(definition: &str, text: &str, expected: Expect) {
    expected.assert_eq(&report(decode_json(&Schema::builtin(), of(definition), text.as_bytes())));
}

fn check_yaml(definition: &str, text: &str, expected: Expect) {
    expected.assert_eq(&report(decode_yaml(&Schema::builtin(), of(definition), text.as_bytes())));
}

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

#[test]
fn the_tables_compile_whole() {
    let schema = Schema::builtin();
    assert!(schema.definitions.len() == 1206, "{} definitions", schema.definitions.len());
    let structs = schema.types.iter().filter(|ty| matches!(ty, Type::Struct(_))).count();
    assert!(structs > 1150, "{structs} structs");
    let pod = schema.type_of_kind("", "v1", "Pod");
    assert_eq!(pod, schema.type_of(POD));
    let template = schema.at(of(DEPLOYMENT), &["spec", "template", "spec", "containers", "*"]);
    assert_eq!(template, schema.type_of("io.k8s.api.core.v1.Container"));
}

#[test]
fn knows_list_keys_and_patch_strategies() {
    let schema = Schema::builtin();
    let container = schema.as_struct(of("io.k8s.api.core.v1.Container")).expect("a struct");
    let ports = container.field("ports").expect("a field");
    assert_eq!(ports.patch.merge_key.as_deref(), Some("containerPort"));
    let Type::List(list) = schema.get(ports.ty) else { panic!("a list") };
    let ListKind::Map { keys } = &list.kind else { panic!("a map list") };
    assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["containerPort", "protocol"]);
    let strategy =
        schema.as_struct(of("io.k8s.api.apps.v1.DeploymentSpec")).and_then(|it| it.field("strategy"));
    assert!(strategy.is_some_and(|field| field.patch.retain_keys));
}

#[test]
fn names_unknown_and_duplicate_fields_where_they_stand() {
    check(
        POD,
        r#"{"kind":"Pod","kind":"Pod","metadata":{"labels":{"a":"1","a":"2"}},"zz":null,
            "spec":{"containers":[{"name":"a","foo":1},{"name":"b","Image":"x","ports":[{"bar":[]}]}]}}"#,
        expect![[r#"
            duplicate field "kind"
            duplicate field "metadata.labels.a"
            unknown field "zz"
            unknown field "spec.containers[0].foo"
            unknown field "spec.containers[1].Image"
            unknown field "spec.containers[1].ports[0].bar"
            {"kind":"Pod","metadata":{"labels":{"a":"2"}},"spec":{"containers":[{"name":"a"},{"name":"b","ports":[{}]}]}}"#]],
    );
}

#[test]
fn wrong_types_read_as_go_writes_them() {
    let wrong = |text: &str, expected| check(DEPLOYMENT, text, expected);
    wrong(
        r#"{"spec":{"replicas":"3"}}"#,
        expect![
            "error: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        ],
    );
    wrong(
        r#"{"spec":{"replicas":5000000000}}"#,
        expect![
            "error: json: cannot unmarshal number 5000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"
        ],
    );
    wrong(
        r#"{"spec":{"replicas":1.50}}"#,
        expect![
            "error: json: cannot unmarshal number 1.50 into Go struct field DeploymentSpec.spec.replicas of type int32"
        ],
    );
    wrong(
        r#"{"spec":{"template":{"spec":{"containers":[{"name":5}]}}}}"#,
        expect![
            "error: json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.name of type string"
        ],
    );
    wrong(
        r#"{"metadata":{"labels":5}}"#,
        expect![
            "error: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type map[string]string"
        ],
    );
    wrong(
        r#"{"metadata":{"labels":{"a":true}}}"#,
        expect![
            "error: json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"
        ],
    );
    wrong("[1]", expect!["error: json: cannot unmarshal array into Go value of type v1.Deployment"]);
    wrong(
        r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
        expect![
            "error: json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"
        ],
    );
    wrong(
        r#"{"metadata":{"creationTimestamp":"nope"}}"#,
        expect![[
            r#"error: parsing time "nope" as "2006-01-02T15:04:05Z07:00": cannot parse "nope" as "2006""#
        ]],
    );
    wrong(
        r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"one"}}}]}}}}"#,
        expect![
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ],
    );
}

#[test]
fn garbage_reads_as_go_reads_it() {
    let garbage = |text: &str, expected| check(CONFIG_MAP, text, expected);
    garbage("{not json", expect!["error: invalid character 'n' looking for beginning of object key string"]);
    garbage("{\"a\":", expect!["error: unexpected end of JSON input"]);
    garbage("", expect!["error: unexpected end of JSON input"]);
    garbage("{} x", expect!["error: invalid character 'x' after top-level value"]);
    garbage("{\"a\" 1}", expect!["error: invalid character '1' after object key"]);
    garbage("{\"a\":1,}", expect!["error: invalid character '}' looking for beginning of object key string"]);
    garbage("{\"a\":[1 2]}", expect!["error: invalid character '2' after array element"]);
    garbage("{\"a\":tru}", expect!["error: invalid character '}' in literal true (expecting 'e')"]);
    garbage("{\"a\":-}", expect!["error: invalid character '}' in numeric literal"]);
    garbage("{\"a\":01}", expect!["error: invalid character '1' after object key:value pair"]);
    garbage(&"[".repeat(100_000), expect!["error: exceeded max depth"]);
}

#[test]
fn gives_back_what_kubernetes_structs_would() {
    check(
        POD,
        r#"{"metadata":{"creationTimestamp":null,"labels":{},"name":"\u0070\ud83d\ude00","deletionTimestamp":"2026-01-02T03:04:05.678+01:00"},
            "spec":{"nodeName":"","hostNetwork":false,"containers":[],"volumes":[{"name":"v","emptyDir":{}}],
                    "terminationGracePeriodSeconds":0,"tolerations":null},"status":{}}"#,
        expect![[
            r#"{"metadata":{"name":"p😀","deletionTimestamp":"2026-01-02T02:04:05Z"},"spec":{"containers":[],"volumes":[{"name":"v","emptyDir":{}}],"terminationGracePeriodSeconds":0},"status":{}}"#
        ]],
    );
}

#[test]
fn yaml_is_read_as_strictly_with_yaml_1_1_scalars() {
    check_yaml(
        POD,
        "kind: Pod\nmetadata:\n  name: a\n  annotations: {x: \"yes\", z: 'no'}\nspec:\n  hostNetwork: yes\n  zz: 1\n  containers:\n  - &c {name: c, command: [\"on\"], ports: [{containerPort: 0x50}]}\n  - <<: *c\n    name: d\n  - *c\n",
        expect![[r#"
            unknown field "spec.zz"
            {"kind":"Pod","metadata":{"name":"a","annotations":{"x":"yes","z":"no"}},"spec":{"hostNetwork":true,"containers":[{"name":"c","command":["on"],"ports":[{"containerPort":80}]},{"name":"d","command":["on"],"ports":[{"containerPort":80}]},{"name":"c","command":["on"],"ports":[{"containerPort":80}]}]}}"#]],
    );
    check_yaml(
        CONFIG_MAP,
        "data:\n  a: yes\n",
        expect!["error: json: cannot unmarshal bool into Go struct field ConfigMap.data of type string"],
    );
    check_yaml(
        CONFIG_MAP,
        "data:\n  on: 'x'\n  2001-01-01: |\n    lines\n    of text\n  0644: a\n",
        expect![[r#"{"data":{"true":"x","2001-01-01":"lines\nof text\n","420":"a"}}"#]],
    );
    check_yaml(
        CONFIG_MAP,
        "kind: A\nkind: B\n",
        expect![[r#"
        duplicate field "kind"
        {"kind":"B"}"#]],
    );
}

#[test]
fn aliases_cannot_grow_a_document_without_bound() {
    let mut text = String::from("data:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(",");
        text.push_str(&format!("  a{level}: &a{level} [{aliases}]\n"));
    }
    check_yaml(
        CONFIG_MAP,
        &text,
        expect!["error: error converting YAML to JSON: yaml: document contains excessive aliasing"],
    );
}

#[test]
fn defaults_fill_only_what_the_schema_wishes() {
    let schema = Schema::builtin();
    let mut pod: Value =
        serde_json::from_str(r#"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":1}]}]}}"#)
            .expect("valid");
    apply_defaults(&schema, of(POD), &mut pod);
    expect![[r#"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":1,"protocol":"TCP"}]}]}}"#]]
        .assert_eq(&pod.to_string());
}

#[test]
fn pruning_leaves_what_the_schema_knows() {
    let schema = Schema::builtin();
    let mut map: Value =
        serde_json::from_str(r#"{"data":{"a":"b"},"x":1,"metadata":{"y":2,"name":null}}"#).expect("valid");
    prune(&schema, of(CONFIG_MAP), &mut map);
    expect![[r#"{"data":{"a":"b"},"metadata":{}}"#]].assert_eq(&map.to_string());
}

proptest! {
    #[test]
    fn no_bytes_panic_the_json_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_json(&Schema::builtin(), of(POD), &bytes);
    }

    #[test]
    fn no_text_panics_the_readers(text in r#"[\[\]{}:," \\nu0-9a-f\n&*!|>~-]{0,80}"#) {
        let _ = decode_json(&Schema::builtin(), of(POD), text.as_bytes());
        let _ = decode_yaml(&Schema::builtin(), of(POD), text.as_bytes());
    }
}
