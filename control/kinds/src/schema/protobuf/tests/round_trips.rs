//! Objects of every built-in kind, made by chance over the schema: JSON to protobuf and back, YAML to JSON.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::super::{Scalar, Schema, Type, TypeId, decode_json, decode_yaml};
use super::super::{TypeMeta, decode, encode};
use crate::Registry;

const DEPTH_MAX: usize = 8;

/// Chance from a seed: the same seed makes the same object.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn value(schema: &Schema, ty: TypeId, depth: usize, dice: &mut Dice) -> Value {
    match schema.get(ty) {
        Type::Scalar(kind) => scalar(*kind, dice),
        Type::List(list) => {
            let count = if depth > DEPTH_MAX { 0 } else { 1 + dice.below(2) };
            (0..count).map(|_| value(schema, list.items, depth + 1, dice)).collect()
        }
        Type::Map(map) => {
            let count = if depth > DEPTH_MAX { 0 } else { 1 + dice.below(3) };
            let entries = (0..count).map(|_| (text(dice), value(schema, map.values, depth + 1, dice)));
            Value::Object(entries.collect())
        }
        Type::Struct(of) => {
            let mut fields = Map::new();
            for field in &of.fields {
                let likely = if depth < 2 { 3 } else { 2 };
                let taken = field.required || dice.below(4) < likely && depth < DEPTH_MAX;
                // No message has them: of an object the envelope says them, and of a template in it nobody.
                let is_type = of.field("metadata").is_some() && matches!(&*field.name, "kind" | "apiVersion");
                if taken && !is_type {
                    fields.insert(field.name.to_string(), value(schema, field.ty, depth + 1, dice));
                }
            }
            Value::Object(fields)
        }
    }
}

fn text(dice: &mut Dice) -> String {
    let long = "x".repeat(200);
    dice.one_of(&[
        "a", "é", "null", "1", "true", "a b: c", "- x", "\"'\\\n", "0x1f", "~", "🦀", "9.0e1", &long,
    ])
    .to_owned()
}

/// As Kubernetes would write it again.
fn scalar(kind: Scalar, dice: &mut Dice) -> Value {
    match kind {
        Scalar::String => text(dice).into(),
        Scalar::Boolean => true.into(),
        Scalar::Int32 => [1, -1, i32::MAX, i32::MIN, 300][dice.below(5) as usize].into(),
        Scalar::Int64 => [1, -1, i64::MAX, i64::MIN, 1 << 40][dice.below(5) as usize].into(),
        Scalar::Double => [json!(1), json!(-2.5), json!(1e30)][dice.below(3) as usize].clone(),
        Scalar::Bytes => dice.one_of(&["AA==", "/+8=", "aGVsbG8="]).into(),
        Scalar::Quantity => dice.one_of(&["0", "1", "1500m", "10Gi", "-5k", "1E", "100n"]).into(),
        Scalar::IntOrString => {
            [json!(80), json!("25%"), json!(-1), json!("")][dice.below(4) as usize].clone()
        }
        Scalar::Time => {
            dice.one_of(&["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z", "1903-07-09T10:00:01Z"]).into()
        }
        Scalar::MicroTime => {
            dice.one_of(&["2026-01-02T03:04:05.000006Z", "1903-07-09T10:00:01.900000Z"]).into()
        }
        Scalar::Duration => dice.one_of(&["1h0m0s", "1.5s", "2ms"]).into(),
        Scalar::Object => {
            json!({"f:a": {"f:b": {}}, "n": dice.below(9), "s": text(dice), "l": [1, null, true]})
        }
        // Unions of a schema and something else are any value to the graph; all of them may be a schema.
        Scalar::Any => json!({"type": text(dice)}),
    }
}

/// Everything that `less` says, `more` says too.
fn holds(more: &Value, less: &Value, path: &str) -> Result<(), TestCaseError> {
    match (more, less) {
        (Value::Object(more), Value::Object(less)) => {
            for (key, value) in less {
                holds(more.get(key).unwrap_or(&Value::Null), value, &format!("{path}.{key}"))?;
            }
            Ok(())
        }
        (Value::Array(more), Value::Array(less)) if more.len() == less.len() => {
            more.iter().zip(less).try_for_each(|(more, less)| holds(more, less, &format!("{path}[]")))
        }
        // Neither the wire nor Go tells an empty list from none.
        (Value::Null, Value::Array(less)) if less.is_empty() => Ok(()),
        (Value::Null, Value::Object(less)) if less.is_empty() => Ok(()),
        (more, less) => {
            prop_assert_eq!(more, less, "{}", path);
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_every_kind_survive_the_wire(seed in 1u64..u64::MAX) {
        let schema = Schema::builtin();
        // What is measured has no schema: nobody sends it.
        for kind in Registry::with_legacy().all().into_iter().filter(|kind| kind.strategy.measured.is_none()) {
            let of = TypeMeta { api_version: &kind.api_version(), kind: kind.kind };
            let ty = schema.type_of(kind.definition).expect(kind.definition);
            let message = schema.message_of(kind.definition).expect(kind.definition);
            let mut made = json!({"apiVersion": of.api_version, "kind": of.kind});
            let Value::Object(fields) = value(&schema, ty, 0, &mut Dice(seed)) else { continue };
            made.as_object_mut().expect("an object").extend(fields);

            let text = made.to_string();
            let decoded = decode_json(&schema, ty, text.as_bytes()).expect("our own JSON");
            prop_assert_eq!(&decoded.value, &made, "{} as JSON", of.kind);
            prop_assert!(decoded.unknown.is_empty());
            let bytes = encode(&schema, (of, message), text.as_bytes()).expect("a message");
            let back = decode(&schema, &bytes).expect("our own message");
            holds(&back, &made, of.kind)?;
            let again = encode(&schema, (of, message), back.to_string().as_bytes()).expect("a message");
            prop_assert!(bytes == again, "{} in protobuf is another one the second time", of.kind);
            prop_assert_eq!(decode(&schema, &again).expect("our own message"), back);

            let yaml = serde_json::to_string_pretty(&made).expect("JSON, which is YAML");
            let read = decode_yaml(&schema, ty, yaml.as_bytes()).expect("our own YAML");
            prop_assert_eq!(&read.value, &made, "{} as YAML", of.kind);
        }
    }
}
