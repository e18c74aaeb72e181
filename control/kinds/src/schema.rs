//! The schema graph: what every built-in type looks like, compiled once from the tables in `data/`.
//!
//! One graph drives decoding (JSON, YAML, Kubernetes protobuf), unknown-field detection, defaults, pruning, patches
//! and OpenAPI. A type is an index ([`TypeId`]), a name is shared, and a struct's fields are sorted, so a look-up is
//! a binary search without hashing. The graph knows shapes only: what a kind is served as, and which values are
//! legal beyond their type, is the business of the kinds.

pub mod apply;
mod build;
mod custom;
mod decode;
mod defaults;
mod document;
mod json;
pub mod merge;
mod node;
pub mod openapi;
pub mod protobuf;
mod prune;
mod scalar;
mod yaml;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

pub use decode::{DecodeError, Decoded, decode_json, decode_value, decode_yaml};
pub use defaults::apply_defaults;
pub use document::{Document, read_document, read_object};
pub use prune::prune;

/// A name that many fields or types share; interned while the graph is built.
pub type Name = Arc<str>;

/// An index into one [`Schema`]; meaningless in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

/// Every type, and the ways to find one. Immutable once built.
pub struct Schema {
    types: Vec<Type>,
    definitions: HashMap<Name, TypeId>,
    /// (group, version, kind) of every definition that is an object of its own.
    kinds: HashMap<(Name, Name, Name), TypeId>,
    messages: protobuf::Messages,
}

#[derive(Debug)]
pub enum Type {
    Struct(Struct),
    List(List),
    Map(Map),
    Scalar(Scalar),
}

#[derive(Debug)]
pub struct Struct {
    /// The definition's whole name, `io.k8s.api.core.v1.Pod`.
    pub definition: Name,
    /// Sorted by name.
    pub fields: Box<[Field]>,
    /// `x-kubernetes-map-type: atomic`: one owner, replaced whole.
    pub atomic: bool,
    /// Fields that it does not name are legal.
    pub open: bool,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: Name,
    pub ty: TypeId,
    pub required: bool,
    /// A zero value (`""`, `0`, `false`) means something else than absence, so it is written out.
    pub keeps_zero: bool,
    /// What the schema says when the field is absent. `{}`, `""`, `0` and `false` mark fields that Kubernetes always
    /// writes; they are no wish for a value.
    pub default: Option<Box<Value>>,
    /// The legal values, when the schema names them.
    pub values: Box<[Name]>,
    pub patch: Patch,
}

/// How strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    /// Which field of a list's items tells them apart.
    pub merge_key: Option<Name>,
}

#[derive(Debug)]
pub struct List {
    pub items: TypeId,
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`, which server-side apply goes by. A list that says nothing is atomic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    Map { keys: Box<[Name]> },
}

#[derive(Debug)]
pub struct Map {
    pub values: TypeId,
    pub atomic: bool,
}

/// What holds no further typed fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    String,
    Boolean,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    /// Any JSON object, kept as it came: RawExtension, FieldsV1.
    Object,
    /// Any JSON value, kept as it came.
    Any,
}

impl Scalar {
    const ALL: [Scalar; 13] = [
        Scalar::String,
        Scalar::Boolean,
        Scalar::Int32,
        Scalar::Int64,
        Scalar::Double,
        Scalar::Bytes,
        Scalar::Quantity,
        Scalar::IntOrString,
        Scalar::Time,
        Scalar::MicroTime,
        Scalar::Duration,
        Scalar::Object,
        Scalar::Any,
    ];
}

impl Schema {
    /// The types of Kubernetes 1.36, compiled from the tables in this crate when first asked for.
    #[must_use]
    pub fn builtin() -> Arc<Schema> {
        // A constant that is too large to be written down as one; nothing ever changes it.
        static BUILTIN: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(build::builtin()));
        Arc::clone(&BUILTIN)
    }

    /// The type of a definition such as `io.k8s.api.core.v1.Pod`.
    #[must_use]
    pub fn type_of(&self, definition: &str) -> Option<TypeId> {
        self.definitions.get(definition).copied()
    }

    /// The type of an object by what it says of itself; `group` is empty for the core.
    #[must_use]
    pub fn type_of_kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        self.kinds.get(&(group.into(), version.into(), kind.into())).copied()
    }

    #[must_use]
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// How many types there are; for figures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The struct behind `id`, if it is one.
    #[must_use]
    pub fn as_struct(&self, id: TypeId) -> Option<&Struct> {
        match self.get(id) {
            Type::Struct(found) => Some(found),
            Type::List(_) | Type::Map(_) | Type::Scalar(_) => None,
        }
    }

    /// The type at the end of a path of field names; `*` steps into a list's items or a map's values.
    #[must_use]
    pub fn at(&self, from: TypeId, path: &[&str]) -> Option<TypeId> {
        path.iter().try_fold(from, |id, step| match (self.get(id), *step) {
            (Type::Struct(found), name) => found.field(name).map(|field| field.ty),
            (Type::List(list), "*") => Some(list.items),
            (Type::Map(map), _) => Some(map.values),
            (Type::List(_) | Type::Scalar(_), _) => None,
        })
    }
}

impl Struct {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok().map(|at| &self.fields[at])
    }

    /// The last part of the definition's name, which is also the type's name in Kubernetes' sources.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.definition.rsplit('.').next().unwrap_or(&self.definition)
    }
}

#[cfg(test)]
mod tests;
