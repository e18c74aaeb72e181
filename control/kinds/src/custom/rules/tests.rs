//! Rules of definitions against objects: what is said, what is left in peace, what is compared with what was before.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::super::Structural;
use super::{Rules, object_errors};

/// What is wrong with an object of which the schema says `spec`, and with what became of an old one.
fn check(spec: Value, object: Value, old: Option<Value>, expected: Expect) {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": spec}}));
    let whole = |spec: Value| json!({"apiVersion": "lab.io/v1", "kind": "Foo", "metadata": {"name": "x"}, "spec": spec});
    let rules = Rules::compile(&schema, true).expect("rules");
    let errors = object_errors(&rules, &schema, &whole(object), old.map(whole).as_ref());
    let told: Vec<String> =
        errors.iter().map(|error| format!("{error} ({})\n", error.reason.as_str())).collect();
    expected.assert_eq(&told.concat());
}

fn spec(rules: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "a": {"type": "integer"}, "b": {"type": "integer"}, "name": {"type": "string"},
        "inner": {"type": "object", "properties": {"x": {"type": "string"}}},
        "list": {"type": "array", "items": {"type": "string"}},
    }})
}

fn one(rule: &str) -> Value {
    spec(json!([{"rule": rule}]))
}

#[test]
fn a_failed_rule_is_told_in_the_words_of_a_real_server() {
    let object = || json!({"a": 3, "b": 2, "name": "x"});
    check(one("self.a > self.b"), object(), None, expect![[""]]);
    check(
        one(" self.a <= self.b "),
        object(),
        None,
        expect![[r#"
        spec: Invalid value: failed rule: self.a <= self.b (FieldValueInvalid)
    "#]],
    );
    check(
        one("self.inner.x == ''"),
        object(),
        None,
        expect![[r#"
        spec: Invalid value: "object": no such key: inner evaluating rule: self.inner.x == '' (FieldValueInvalid)
    "#]],
    );
    check(
        one("self.a / (self.b - 2) > 1"),
        object(),
        None,
        expect![[r#"
        spec: Invalid value: "object": division by zero evaluating rule: self.a / (self.b - 2) > 1 (FieldValueInvalid)
    "#]],
    );
    let rules = json!([
        {"rule": "self.a <= self.b", "message": " a must not be above b ", "reason": "FieldValueForbidden", "fieldPath": ".a"},
        {"rule": "self.a <= self.b", "messageExpression": "'a is %d, more than %d'.format([self.a, self.b])"},
        {"rule": "self.a <= self.b", "messageExpression": "self.inner.x", "message": "as it is"},
        {"rule": "has(self.inner)", "reason": "FieldValueRequired", "fieldPath": ".inner", "message": "inner it needs"},
        {"rule": "self.a != 3", "reason": "FieldValueDuplicate", "fieldPath": ".inner.x"},
    ]);
    check(
        spec(rules),
        object(),
        None,
        expect![[r#"
        spec.a: Forbidden: a must not be above b (FieldValueForbidden)
        spec: Invalid value: a is 3, more than 2 (FieldValueInvalid)
        spec: Invalid value: as it is (FieldValueInvalid)
        spec.inner: Required value: inner it needs (FieldValueRequired)
        spec.inner.x: Duplicate value (FieldValueDuplicate)
    "#]],
    );
    let scalar = json!({"type": "object", "properties": {
        "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self % 2 == 0", "message": "must be even"}]},
        "map": {"type": "object", "additionalProperties": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self.size() < 3"}]}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.p > 0", "fieldPath": ".p"}]}},
        "nothing": {"type": "string", "nullable": true, "x-kubernetes-validations": [{"rule": "self != ''"}]},
    }});
    check(
        scalar,
        json!({"n": 3, "map": {"k": "long"}, "list": [{"p": 1}, {"p": 0}, {}], "nothing": null}),
        None,
        expect![[r#"
            spec.n: Invalid value: 3: must be even (FieldValueInvalid)
            spec.map[k]: Invalid value: "long": failed rule: self.size() < 3 (FieldValueInvalid)
            spec.list[1].p: Invalid value: failed rule: self.p > 0 (FieldValueInvalid)
            spec.list[2]: Invalid value: "object": no such key: p evaluating rule: self.p > 0 (FieldValueInvalid)
        "#]],
    );
}

#[test]
fn a_rule_about_the_whole_object_knows_its_name() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": {"type": "object"}},
        "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('a') && self.kind == 'Foo'"}]}));
    let rules = Rules::compile(&schema, true).expect("rules");
    let object = json!({"apiVersion": "lab.io/v1", "kind": "Foo", "metadata": {"name": "x"}});
    expect!["<nil>: Invalid value: failed rule: self.metadata.name.startsWith('a') && self.kind == 'Foo'"]
        .assert_eq(&object_errors(&rules, &schema, &object, None).to_string());
}

#[test]
fn what_may_not_change_may_not_change() {
    let fixed = json!({"type": "object", "properties": {
        "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}]},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
        "once": {"type": "string", "x-kubernetes-validations": [
            {"rule": "!oldSelf.hasValue() || oldSelf.value() == self", "optionalOldSelf": true}]},
    }});
    let old = || {
        Some(
            json!({"name": "a", "keyed": [{"k": "p", "v": 5}, {"k": "q", "v": 1}], "set": ["a", "b"], "once": "x"}),
        )
    };
    let same = json!({"name": "a", "keyed": [{"k": "q", "v": 1}, {"k": "p", "v": 6}, {"k": "new", "v": 0}], "set": ["b", "a"], "once": "x"});
    check(fixed.clone(), same.clone(), None, expect![[""]]);
    check(fixed.clone(), same, old(), expect![[""]]);
    let other =
        json!({"name": "b", "keyed": [{"k": "q", "v": 0}, {"k": "p", "v": 5}], "set": ["a"], "once": "y"});
    check(
        fixed.clone(),
        other,
        old(),
        expect![[r#"
        spec.name: Invalid value: "b": name is immutable (FieldValueInvalid)
        spec.keyed[0].v: Invalid value: 0: failed rule: self >= oldSelf (FieldValueInvalid)
        spec.set: Invalid value: failed rule: self == oldSelf (FieldValueInvalid)
        spec.once: Invalid value: "y": failed rule: !oldSelf.hasValue() || oldSelf.value() == self (FieldValueInvalid)
    "#]],
    );
    check(fixed, json!({"once": "first"}), Some(json!({})), expect![[""]]);
}

#[test]
fn what_was_wrong_and_is_untouched_is_left_in_peace() {
    let small = json!({"type": "object", "properties": {
        "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 10"}]},
        "other": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3"}]}},
    }});
    let old = || Some(json!({"n": 11, "list": ["long"]}));
    check(small.clone(), json!({"n": 11, "list": ["long"], "other": "x"}), old(), expect![[""]]);
    check(
        small.clone(),
        json!({"n": 12, "list": ["long"]}),
        old(),
        expect![[r#"
        spec.n: Invalid value: 12: failed rule: self < 10 (FieldValueInvalid)
    "#]],
    );
    check(
        small,
        json!({"n": 11, "list": ["long", "a"]}),
        old(),
        expect![[r#"
        spec.list[0]: Invalid value: "long": failed rule: self.size() < 3 (FieldValueInvalid)
    "#]],
    );
}

#[test]
fn a_rule_that_takes_too_much_stops_all() {
    let many: Vec<Value> = (0..400).map(|index| json!(format!("w{index}"))).collect();
    let rules = json!([
        {"rule": "self.list.all(a, self.list.all(b, self.list.all(c, a != b || b != c || c == a)))"},
        {"rule": "false"},
    ]);
    check(
        spec(rules),
        json!({"list": many.clone()}),
        None,
        expect![[r#"
        spec: Invalid value: "object": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.list.all(a, self.list.all(b, self.list.all(c, a != b || b != c || c == a))) (FieldValueInvalid)
    "#]],
    );
    // Each within its own bound, all together not.
    let rule = json!({"rule": "self.list.all(a, self.list.all(b, a == b || a != b))"});
    let rules: Vec<Value> = (0..30).map(|_| rule.clone()).collect();
    check(
        spec(json!(rules)),
        json!({"list": many[..250]}),
        None,
        expect![[r#"
            spec: Invalid value: "object": validation failed due to running out of cost budget, no further validation rules will be run (FieldValueInvalid)
        "#]],
    );
}

/// As in the definitions of the Gateway API, of operators of databases, of networks.
#[test]
fn rules_as_operators_ship_them() {
    let route = json!({"type": "object", "properties": {
        "parents": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "namespace": {"type": "string"}, "sectionName": {"type": "string"}, "port": {"type": "integer"}}},
            "x-kubernetes-validations": [{
                "message": "sectionName or port must be unique when parents includes two references to the same parent",
                "rule": "self.all(p1, self.exists_one(p2, p1.name == p2.name && (((!has(p1.__namespace__) || p1.__namespace__ == '') && (!has(p2.__namespace__) || p2.__namespace__ == '')) || (has(p1.__namespace__) && has(p2.__namespace__) && p1.__namespace__ == p2.__namespace__)) && (((!has(p1.sectionName) || p1.sectionName == '') && (!has(p2.sectionName) || p2.sectionName == '')) || (has(p1.sectionName) && has(p2.sectionName) && p1.sectionName == p2.sectionName))))"}]},
        "rules": {"type": "array", "items": {"type": "object", "properties": {
            "path": {"type": "object", "properties": {"type": {"type": "string"}, "value": {"type": "string"}},
                "x-kubernetes-validations": [
                    {"rule": "(self.type in ['Exact','PathPrefix']) ? self.value.startsWith('/') : true", "message": "value must be an absolute path"},
                    {"rule": "self.type == 'Exact' ? !self.value.contains('//') : true", "message": "must not contain '//'"}]},
            "timeouts": {"type": "object", "properties": {"request": {"type": "string"}, "backend": {"type": "string"}},
                "x-kubernetes-validations": [{"rule": "!(has(self.request) && has(self.backend) && duration(self.request) != duration('0s') && duration(self.backend) > duration(self.request))", "message": "backend timeout cannot be longer than request timeout"}]},
        }}},
    }});
    check(
        route,
        json!({
            "parents": [{"name": "a"}, {"name": "a", "namespace": ""}, {"name": "b", "namespace": "x"}],
            "rules": [
                {"path": {"type": "Exact", "value": "//x"}, "timeouts": {"request": "1s", "backend": "2s"}},
                {"path": {"type": "RegularExpression", "value": "x"}, "timeouts": {"request": "0s", "backend": "2s"}},
                {"path": {"type": "PathPrefix", "value": "x"}},
            ],
        }),
        None,
        expect![[r#"
            spec.parents: Invalid value: sectionName or port must be unique when parents includes two references to the same parent (FieldValueInvalid)
            spec.rules[0].path: Invalid value: must not contain '//' (FieldValueInvalid)
            spec.rules[0].timeouts: Invalid value: backend timeout cannot be longer than request timeout (FieldValueInvalid)
            spec.rules[2].path: Invalid value: value must be an absolute path (FieldValueInvalid)
        "#]],
    );
    let database = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"},
        "storage": {"x-kubernetes-int-or-string": true},
        "limit": {"type": "string"},
        "allowed": {"type": "array", "items": {"type": "string"}},
        "version": {"type": "string"},
        "backup": {"type": "object", "properties": {"schedule": {"type": "string"}, "keep": {"type": "string", "format": "duration"}}},
    }, "x-kubernetes-validations": [
        {"rule": "self.replicas % 2 == 1", "fieldPath": ".replicas", "message": "must be odd"},
        {"rule": "type(self.storage) == int || quantity(string(self.storage)).compareTo(quantity('1Gi')) >= 0", "messageExpression": "'storage %s is less than 1Gi'.format([self.storage])"},
        {"rule": "!has(self.limit) || isQuantity(self.limit)", "fieldPath": ".limit"},
        {"rule": "!has(self.allowed) || self.allowed.all(a, isIP(a) || isCIDR(a))", "fieldPath": ".allowed"},
        {"rule": "self.version.matches(r'^\\d+\\.\\d+$')"},
        {"rule": "!has(self.backup) || self.backup.keep >= duration('24h')"},
        {"rule": "!has(oldSelf.storage) || type(self.storage) == type(oldSelf.storage)"},
    ]});
    let good = json!({"replicas": 3, "storage": "2Gi", "limit": "1", "allowed": ["10.0.0.0/8", "::1"], "version": "16.2", "backup": {"keep": "48h"}});
    check(database.clone(), good.clone(), None, expect![[""]]);
    check(
        database,
        json!({"replicas": 2, "storage": "5Mi", "limit": "x", "allowed": ["10.0.0"], "version": "v16", "backup": {"keep": "1h"}}),
        Some(good),
        expect![[r#"
            spec.replicas: Invalid value: must be odd (FieldValueInvalid)
            spec: Invalid value: storage 5Mi is less than 1Gi (FieldValueInvalid)
            spec.limit: Invalid value: failed rule: !has(self.limit) || isQuantity(self.limit) (FieldValueInvalid)
            spec.allowed: Invalid value: failed rule: !has(self.allowed) || self.allowed.all(a, isIP(a) || isCIDR(a)) (FieldValueInvalid)
            spec: Invalid value: failed rule: self.version.matches(r'^\d+\.\d+$') (FieldValueInvalid)
            spec: Invalid value: failed rule: !has(self.backup) || self.backup.keep >= duration('24h') (FieldValueInvalid)
        "#]],
    );
}
