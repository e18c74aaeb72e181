//! The graph of one version of a custom kind: its structural schema, and the metadata that all kinds have.
//!
//! Server-side apply goes by it. Objects are decoded, pruned and validated by the structural schema itself, since what
//! is an error of decoding for a built-in kind is one of validation here.

use std::collections::HashMap;

use super::build::scalar_id;
use super::protobuf::Messages;
use super::{Field, List, ListKind, Map, Name, Patch, Scalar, Schema, Struct, Type, TypeId};
use crate::custom::{Additional, Structural};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl Schema {
    /// The graph of a custom object, and the object's type in it.
    #[must_use]
    pub fn of_custom(definition: &str, root: &Structural) -> (Schema, TypeId) {
        let mut builder = Builder {
            types: Scalar::ALL.map(Type::Scalar).into(),
            copied: HashMap::new(),
            builtin: &Schema::builtin(),
        };
        let mut fields = builder.fields(root);
        fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
        let text = scalar_id(Scalar::String);
        let metadata =
            builder.builtin.type_of(METADATA).map_or(scalar_id(Scalar::Any), |ty| builder.copy(ty));
        for (name, ty) in [("apiVersion", text), ("kind", text), ("metadata", metadata)] {
            fields.push(field(name, ty));
        }
        let id = builder.object(definition, fields, root);
        let schema = Schema {
            types: builder.types,
            definitions: HashMap::from([(definition.into(), id)]),
            kinds: HashMap::new(),
            messages: Messages::default(),
        };
        (schema, id)
    }
}

struct Builder<'b> {
    types: Vec<Type>,
    /// What was taken over from the built-in graph, by its place there.
    copied: HashMap<TypeId, TypeId>,
    builtin: &'b Schema,
}

impl Builder<'_> {
    fn type_of(&mut self, of: &Structural) -> TypeId {
        if of.int_or_string {
            return scalar_id(Scalar::IntOrString);
        }
        match of.ty.as_str() {
            "object" if !of.properties.is_empty() => {
                let fields = self.fields(of);
                self.object("", fields, of)
            }
            "object" => match &of.additional {
                Some(Additional::Of(values)) => {
                    let values = self.type_of(values);
                    self.push(Type::Map(Map { values, atomic: of.atomic }))
                }
                Some(Additional::Anything) => {
                    self.push(Type::Map(Map { values: scalar_id(Scalar::Any), atomic: of.atomic }))
                }
                None => scalar_id(Scalar::Any),
            },
            "array" => {
                let items = of.items.as_deref().map_or(scalar_id(Scalar::Any), |items| self.type_of(items));
                let kind = of.list.clone().unwrap_or(ListKind::Atomic);
                self.push(Type::List(List { items, kind }))
            }
            "string" => scalar_id(Scalar::String),
            "boolean" => scalar_id(Scalar::Boolean),
            "integer" => scalar_id(Scalar::Int64),
            "number" => scalar_id(Scalar::Double),
            _ => scalar_id(Scalar::Any),
        }
    }

    fn fields(&mut self, of: &Structural) -> Vec<Field> {
        let named = of.properties.iter().map(|(name, of)| {
            let ty = self.type_of(of);
            Field { default: of.default.clone().map(Box::new), ..field(name, ty) }
        });
        named.collect()
    }

    fn object(&mut self, definition: &str, mut fields: Vec<Field>, of: &Structural) -> TypeId {
        fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.push(Type::Struct(Struct {
            definition: definition.into(),
            fields: fields.into(),
            atomic: of.atomic,
            open: of.preserves_unknown || of.embedded,
        }))
    }

    /// A type of the built-in graph with all that it leads to; metadata does not lead back to itself.
    fn copy(&mut self, from: TypeId) -> TypeId {
        if let Some(known) = self.copied.get(&from) {
            return *known;
        }
        let builtin = self.builtin;
        let copied = match builtin.get(from) {
            Type::Scalar(scalar) => scalar_id(*scalar),
            Type::List(of) => {
                let items = self.copy(of.items);
                self.push(Type::List(List { items, kind: of.kind.clone() }))
            }
            Type::Map(of) => {
                let values = self.copy(of.values);
                self.push(Type::Map(Map { values, atomic: of.atomic }))
            }
            Type::Struct(of) => {
                let mut fields = Vec::with_capacity(of.fields.len());
                for field in &of.fields {
                    fields.push(Field { ty: self.copy(field.ty), ..field.clone() });
                }
                let definition = Name::clone(&of.definition);
                self.push(Type::Struct(Struct {
                    definition,
                    fields: fields.into(),
                    atomic: of.atomic,
                    open: of.open,
                }))
            }
        };
        self.copied.insert(from, copied);
        copied
    }

    fn push(&mut self, ty: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(ty);
        id
    }
}

/// A field whose zeroes mean something.
fn field(name: &str, ty: TypeId) -> Field {
    Field {
        name: name.into(),
        ty,
        required: false,
        keeps_zero: true,
        default: None,
        values: Box::default(),
        patch: Patch::default(),
    }
}
