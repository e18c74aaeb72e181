//! The definitions that paths reach, in the shapes of v2 and v3.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::build::{DEFINITIONS, KINDS, rows};
use super::paths::Path;
use super::{Resource, custom};

const REF: &str = "$ref";
pub(super) const V2_PREFIX: &str = "#/definitions/";
const V3_PREFIX: &str = "#/components/schemas/";
pub(super) const V2_SHAPE: &str = "x-kubernetes-v2-schema";
const KIND: &str = "x-kubernetes-group-version-kind";

pub(super) struct Definitions {
    raw: BTreeMap<&'static str, &'static RawValue>,
    /// Those of custom kinds, and of their lists.
    custom: BTreeMap<String, Value>,
    /// What each definition is served as.
    kinds: BTreeMap<String, Vec<Value>>,
}

impl Definitions {
    pub(super) fn load(resources: &[Resource<'_>]) -> Definitions {
        let served: HashSet<(&str, &str)> =
            resources.iter().map(|it| (it.group, it.version)).chain([("", "v1")]).collect();
        let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for row in rows(KINDS) {
            let [definition, group, version, kind] = row[..] else { continue };
            if served.contains(&(group, version)) {
                let kind = json!({ "group": group, "kind": kind, "version": version });
                kinds.entry(definition.to_owned()).or_default().push(kind);
            }
        }
        let mut custom = BTreeMap::new();
        for resource in resources {
            for (name, definition, kind) in custom::definitions(resource) {
                kinds.entry(name.clone()).or_default().push(kind);
                custom.insert(name, definition);
            }
        }
        let parsed = |text| serde_json::from_str::<BTreeMap<_, _>>(text).unwrap_or_default();
        Definitions { raw: DEFINITIONS.into_iter().flat_map(parsed).collect(), custom, kinds }
    }

    pub(super) fn v2(&self, paths: &[Path]) -> Map<String, Value> {
        self.render(paths, &v2_shape)
    }

    pub(super) fn v3(&self, paths: &[Path]) -> Map<String, Value> {
        self.render(paths, &v3_shape)
    }

    fn render(
        &self,
        paths: &[Path],
        shape: &dyn Fn(Map<String, Value>) -> Map<String, Value>,
    ) -> Map<String, Value> {
        let parsed = self.reachable(paths);
        let mut rendered = Map::new();
        for (name, definition) in parsed {
            let Value::Object(mut definition) = reshape(definition, shape) else { continue };
            if let Some(kinds) = self.kinds.get(&name) {
                definition.insert(KIND.to_owned(), Value::Array(kinds.clone()));
            }
            rendered.insert(name, Value::Object(definition));
        }
        rendered
    }

    fn reachable(&self, paths: &[Path]) -> BTreeMap<String, Value> {
        let mut waiting: BTreeSet<String> = BTreeSet::new();
        for operation in paths.iter().flat_map(|path| &path.operations) {
            waiting.extend(operation.body.as_ref().map(|body| body.definition.clone()));
            waiting.extend(operation.answer.clone());
        }
        let mut found = BTreeMap::new();
        while let Some(name) = waiting.pop_first() {
            if found.contains_key(&name) {
                continue;
            }
            let definition: Value = match (self.custom.get(&name), self.raw.get(name.as_str())) {
                (Some(definition), _) => definition.clone(),
                (None, Some(raw)) => serde_json::from_str(raw.get()).unwrap_or_default(),
                (None, None) => continue,
            };
            references(&definition, &mut waiting);
            found.insert(name, definition);
        }
        found
    }
}

pub(super) fn v2_reference(definition: &str) -> Value {
    json!({ REF: format!("{V2_PREFIX}{definition}") })
}

pub(super) fn v3_reference(definition: &str) -> Value {
    json!({ REF: format!("{V3_PREFIX}{definition}") })
}

fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            let target = entries.get(REF).and_then(Value::as_str).and_then(|it| it.strip_prefix(V2_PREFIX));
            into.extend(target.map(str::to_owned));
            entries.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Applies `shape` to a schema and to the schemas inside it, inner ones first.
fn reshape(schema: Value, shape: &dyn Fn(Map<String, Value>) -> Map<String, Value>) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            *inner = reshape(inner.take(), shape);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (_, property) in properties.iter_mut() {
            *property = reshape(property.take(), shape);
        }
    }
    Value::Object(shape(schema))
}

/// v2 knows neither defaults nor alternatives here.
fn v2_shape(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(instead)) = schema.shift_remove(V2_SHAPE) {
        return instead;
    }
    schema.shift_remove("default");
    schema
}

/// In v3 nothing may stand beside a reference.
fn v3_shape(mut schema: Map<String, Value>) -> Map<String, Value> {
    schema.shift_remove(V2_SHAPE);
    let target = schema.shift_remove(REF);
    if let Some(target) = target.as_ref().and_then(Value::as_str) {
        let reference = v3_reference(target.strip_prefix(V2_PREFIX).unwrap_or(target));
        match reference {
            Value::Object(reference) if schema.is_empty() => return reference,
            reference => {
                schema.insert("allOf".to_owned(), Value::Array(vec![reference]));
            }
        }
    }
    schema
}
