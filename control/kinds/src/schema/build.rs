//! Compiles the tables in `data/` into the graph.
//!
//! The tables are part of the program, so a broken one is a broken build: nothing here can fail on input, and the
//! tests compile everything once.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::defaults::is_mark;
use super::protobuf::Messages;
use super::{Field, List, ListKind, Map, Name, Patch, Scalar, Schema, Struct, Type, TypeId};

/// What 1.36 has, then what is served beside it: see `data/README.md`.
pub(super) const DEFINITIONS: [&str; 2] =
    [include_str!("../../data/schema-1.36.json"), include_str!("../../data/schema-more.json")];
pub(super) const KINDS: &[&str] = &[
    include_str!("../../data/definition-kinds-1.36.tsv"),
    include_str!("../../data/definition-kinds-more.tsv"),
];
const POINTERS: &[&str] =
    &[include_str!("../../data/pointer-fields-1.36.tsv"), include_str!("../../data/pointer-fields-more.tsv")];
const MESSAGES: &[&str] =
    &[include_str!("../../data/protobuf-fields.tsv"), include_str!("../../data/protobuf-fields-more.tsv")];
const ABSENCES: &[&str] = &[
    include_str!("../../data/protobuf-absences.tsv"),
    include_str!("../../data/protobuf-absences-more.tsv"),
];
const REF_PREFIX: &str = "#/definitions/";

pub(super) fn builtin() -> Schema {
    let parsed = |text| serde_json::from_str::<InOrder<Shape>>(text).unwrap_or_default().0;
    let mut definitions: Vec<(&'static str, Shape)> = DEFINITIONS.into_iter().flat_map(parsed).collect();
    definitions.sort_unstable_by_key(|(name, _)| *name);
    let mut builder = Builder::new(&definitions);
    for (name, shape) in &definitions {
        builder.define(name, shape);
    }
    let kinds = builder.kinds();
    let mut schema = Schema {
        types: builder.types,
        definitions: builder.definitions,
        kinds,
        messages: Messages::default(),
    };
    schema.messages = Messages::compile(MESSAGES, ABSENCES, &schema);
    schema
}

/// The rows of tables, without their headings.
pub(super) fn rows(tables: &'static [&'static str]) -> impl Iterator<Item = Vec<&'static str>> {
    tables.iter().flat_map(|table| table.lines().skip(1)).map(|line| line.split('\t').collect())
}

/// A JSON object as pairs, so that text is borrowed from the program itself.
struct InOrder<T>(Vec<(&'static str, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        InOrder(Vec::new())
    }
}

impl<T: Deserialize<'static>> Deserialize<'static> for InOrder<T> {
    fn deserialize<D: Deserializer<'static>>(from: D) -> Result<Self, D::Error> {
        struct Pairs<T>(std::marker::PhantomData<T>);
        impl<T: Deserialize<'static>> Visitor<'static> for Pairs<T> {
            type Value = InOrder<T>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'static>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = entries.next_entry()? {
                    pairs.push(pair);
                }
                Ok(InOrder(pairs))
            }
        }
        from.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

/// A schema as it stands in the table. `oneOf` appears only at definitions that [`special`] names.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Shape {
    #[serde(rename = "$ref", borrow)]
    reference: Option<&'static str>,
    #[serde(rename = "type", borrow)]
    ty: Option<&'static str>,
    #[serde(borrow)]
    format: Option<&'static str>,
    properties: InOrder<Shape>,
    #[serde(borrow)]
    required: Vec<&'static str>,
    items: Option<Box<Shape>>,
    #[serde(rename = "additionalProperties")]
    values: Option<Box<Shape>>,
    default: Option<Value>,
    #[serde(rename = "enum", borrow)]
    legal: Vec<&'static str>,
    #[serde(rename = "x-kubernetes-list-type", borrow)]
    list_type: Option<&'static str>,
    #[serde(rename = "x-kubernetes-list-map-keys", borrow)]
    list_keys: Vec<&'static str>,
    #[serde(rename = "x-kubernetes-map-type", borrow)]
    map_type: Option<&'static str>,
    #[serde(rename = "x-kubernetes-patch-strategy", borrow)]
    patch_strategy: Option<&'static str>,
    #[serde(rename = "x-kubernetes-patch-merge-key", borrow)]
    merge_key: Option<&'static str>,
}

/// Definitions that are written in JSON in a way of their own.
fn special(definition: &str) -> Option<Scalar> {
    let at = definition.strip_prefix("io.k8s.apimachinery.pkg.");
    match at {
        Some("api.resource.Quantity") => return Some(Scalar::Quantity),
        Some("util.intstr.IntOrString") => return Some(Scalar::IntOrString),
        Some("apis.meta.v1.Time") => return Some(Scalar::Time),
        Some("apis.meta.v1.MicroTime") => return Some(Scalar::MicroTime),
        Some("apis.meta.v1.Duration") => return Some(Scalar::Duration),
        Some("apis.meta.v1.FieldsV1" | "runtime.RawExtension") => return Some(Scalar::Object),
        Some(_) | None => {}
    }
    match definition.strip_prefix("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.") {
        Some(
            "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray",
        ) => Some(Scalar::Any),
        Some(_) | None => None,
    }
}

struct Builder {
    types: Vec<Type>,
    definitions: HashMap<Name, TypeId>,
    names: HashSet<Name>,
    pointers: HashSet<(&'static str, &'static str)>,
}

impl Builder {
    /// Gives every definition its id before any is filled in, since they refer to each other.
    fn new(definitions: &[(&'static str, Shape)]) -> Builder {
        let pointers = rows(POINTERS).filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect();
        let mut builder =
            Builder { types: Vec::new(), definitions: HashMap::new(), names: HashSet::new(), pointers };
        for scalar in Scalar::ALL {
            builder.push(Type::Scalar(scalar));
        }
        for (name, _) in definitions {
            let name = builder.name(name);
            let id = match special(&name) {
                Some(scalar) => scalar_id(scalar),
                None => builder.push(Type::Scalar(Scalar::Any)),
            };
            builder.definitions.insert(name, id);
        }
        builder
    }

    fn define(&mut self, name: &'static str, shape: &Shape) {
        let Some(id) = self.definitions.get(name).copied() else { return };
        if special(name).is_some() {
            return;
        }
        let mut fields: Vec<Field> =
            shape.properties.0.iter().map(|(field, of)| self.field(name, shape, field, of)).collect();
        fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.types[id.0 as usize] = Type::Struct(Struct {
            definition: self.name(name),
            fields: fields.into(),
            atomic: shape.map_type == Some("atomic"),
            open: false,
        });
    }

    fn field(&mut self, owner: &'static str, parent: &Shape, name: &'static str, shape: &Shape) -> Field {
        let strategies = || shape.patch_strategy.unwrap_or_default().split(',');
        Field {
            name: self.name(name),
            ty: self.type_of(shape),
            required: parent.required.contains(&name),
            keeps_zero: shape.default.as_ref().is_some_and(is_mark) || self.pointers.contains(&(owner, name)),
            default: shape.default.clone().map(Box::new),
            values: shape.legal.iter().map(|value| self.name(value)).collect(),
            patch: Patch {
                merge: strategies().any(|strategy| strategy == "merge"),
                replace: strategies().any(|strategy| strategy == "replace"),
                retain_keys: strategies().any(|strategy| strategy == "retainKeys"),
                merge_key: shape.merge_key.map(|key| self.name(key)),
            },
        }
    }

    fn type_of(&mut self, shape: &Shape) -> TypeId {
        if let Some(reference) = shape.reference {
            let target = reference.strip_prefix(REF_PREFIX).unwrap_or(reference);
            return self.definitions.get(target).copied().unwrap_or(scalar_id(Scalar::Any));
        }
        if let Some(items) = &shape.items {
            let items = self.type_of(items);
            let kind = match shape.list_type {
                Some("set") => ListKind::Set,
                Some("map") => {
                    ListKind::Map { keys: shape.list_keys.iter().map(|key| self.name(key)).collect() }
                }
                _ => ListKind::Atomic,
            };
            return self.push(Type::List(List { items, kind }));
        }
        if let Some(values) = &shape.values {
            let values = self.type_of(values);
            return self.push(Type::Map(Map { values, atomic: shape.map_type == Some("atomic") }));
        }
        scalar_id(match (shape.ty, shape.format) {
            (Some("string"), Some("byte")) => Scalar::Bytes,
            (Some("string"), _) => Scalar::String,
            (Some("boolean"), _) => Scalar::Boolean,
            (Some("integer"), Some("int32")) => Scalar::Int32,
            (Some("integer"), _) => Scalar::Int64,
            (Some("number"), _) => Scalar::Double,
            _ => Scalar::Any,
        })
    }

    /// What the table names, then every other definition that says its kind: old versions, options.
    fn kinds(&mut self) -> HashMap<(Name, Name, Name), TypeId> {
        let mut kinds = HashMap::new();
        let mut groups: HashMap<&str, &str> = HashMap::new();
        for row in rows(KINDS) {
            let [definition, group, version, kind] = row[..] else { continue };
            if let Some(id) = self.definitions.get(definition).copied() {
                kinds.insert((self.name(group), self.name(version), self.name(kind)), id);
            }
            if let Some((package, _, _)) = parts(definition) {
                groups.entry(package).or_insert(group);
            }
        }
        let definitions: Vec<(Name, TypeId)> =
            self.definitions.iter().map(|(name, id)| (Name::clone(name), *id)).collect();
        for (definition, id) in definitions {
            let Type::Struct(of) = &self.types[id.0 as usize] else { continue };
            let says_kind = of.field("kind").is_some() && of.field("apiVersion").is_some();
            let Some((package, version, kind)) = parts(&definition).filter(|_| says_kind) else { continue };
            if let Some(group) = groups.get(package) {
                kinds.entry((self.name(group), self.name(version), self.name(kind))).or_insert(id);
            }
        }
        kinds
    }

    fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.names.get(text) {
            return Name::clone(name);
        }
        let name = Name::from(text);
        self.names.insert(Name::clone(&name));
        name
    }

    fn push(&mut self, ty: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(ty);
        id
    }
}

/// `io.k8s.api.apps.v1.Deployment` as (`io.k8s.api.apps`, `v1`, `Deployment`).
fn parts(definition: &str) -> Option<(&str, &str, &str)> {
    let (rest, kind) = definition.rsplit_once('.')?;
    let (package, version) = rest.rsplit_once('.')?;
    Some((package, version, kind))
}

/// Scalars come first in every graph, in the order of their declaration.
pub(super) fn scalar_id(scalar: Scalar) -> TypeId {
    TypeId(scalar as u32)
}
