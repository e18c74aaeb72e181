//! What a type is to server-side apply: one field, or a container of fields.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Atom, Element};
use crate::schema::build::scalar_id;
use crate::schema::{Field, List, ListKind, Scalar, Schema, Struct, Type, TypeId};

pub(super) enum Shape<'s> {
    /// Scalars, and whatever is atomic.
    Leaf,
    Struct(&'s Struct),
    /// The type of its values.
    Map(TypeId),
    /// A set, or a map by keys.
    List(&'s List),
}

impl<'s> Shape<'s> {
    pub(super) fn of(schema: &'s Schema, ty: TypeId) -> Shape<'s> {
        match schema.get(ty) {
            Type::Struct(of) if !of.atomic => Shape::Struct(of),
            Type::Map(of) if !of.atomic => Shape::Map(of.values),
            Type::List(of) if of.kind != ListKind::Atomic => Shape::List(of),
            Type::Struct(_) | Type::Map(_) | Type::List(_) | Type::Scalar(_) => Shape::Leaf,
        }
    }

    /// The field of a struct.
    pub(super) fn field(&self, name: &str) -> Option<&'s Field> {
        match self {
            Shape::Struct(of) => of.field(name),
            Shape::Leaf | Shape::Map(_) | Shape::List(_) => None,
        }
    }

    /// The type behind a field name; what the schema does not know is one field.
    pub(super) fn named(&self, name: &str) -> TypeId {
        match self {
            Shape::Struct(of) => of.field(name).map_or(unknown(), |field| field.ty),
            Shape::Map(values) => *values,
            Shape::Leaf | Shape::List(_) => unknown(),
        }
    }

    pub(super) fn below(&self, element: &Element) -> TypeId {
        match (self, element) {
            (Shape::List(of), _) => of.items,
            (_, Element::Field(name)) => self.named(name),
            (_, Element::Key(_) | Element::Value(_) | Element::Index(_)) => unknown(),
        }
    }
}

/// The type of what the schema does not know.
pub(super) fn unknown() -> TypeId {
    scalar_id(Scalar::Any)
}

/// What Kubernetes' own struct holds in this field even when nothing is said of it: a struct that it holds by value
/// is empty, a list that it never leaves out is null.
pub(super) fn unsaid(schema: &Schema, field: &Field) -> Option<&'static Value> {
    // A constant that cannot be written down as one; nothing ever changes it.
    static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    match schema.get(field.ty) {
        Type::Struct(_) => match field.default.as_deref() {
            Some(Value::Object(mark)) if mark.is_empty() => Some(&EMPTY),
            Some(_) | None => None,
        },
        Type::List(_) if field.required => Some(&Value::Null),
        Type::List(_) | Type::Map(_) | Type::Scalar(_) => None,
    }
}

/// What tells `item` apart from the other items of `list`; none when nothing does.
pub(super) fn element_of(schema: &Schema, list: &List, item: &Value) -> Option<Element> {
    match &list.kind {
        ListKind::Atomic => None,
        ListKind::Set => match Atom::of(item)? {
            Atom::Null => None,
            atom => Some(Element::Value(atom)),
        },
        ListKind::Map { keys } => {
            let item = item.as_object()?;
            let mut parts = Vec::with_capacity(keys.len());
            for key in keys {
                let default = || schema.as_struct(list.items)?.field(key)?.default.as_deref();
                if let Some(value) = item.get(&**key).or_else(default) {
                    parts.push(((&**key).into(), Atom::of(value)?));
                }
            }
            (!parts.is_empty()).then(|| Element::key(parts))
        }
    }
}

/// The items of a list by what tells them apart, in good lists each alone; none when one cannot be told apart.
pub(super) fn grouped<'v>(
    schema: &Schema,
    list: &List,
    items: &'v [Value],
) -> Option<BTreeMap<Element, Vec<&'v Value>>> {
    let mut groups: BTreeMap<Element, Vec<&'v Value>> = BTreeMap::new();
    for item in items {
        groups.entry(element_of(schema, list, item)?).or_default().push(item);
    }
    Some(groups)
}
