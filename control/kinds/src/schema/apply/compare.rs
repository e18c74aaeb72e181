//! What one object has, and another has not or has otherwise.

use serde_json::Value;

use super::shape::{Shape, grouped, unknown, unsaid};
use super::{Element, FieldSet};
use crate::schema::{Field, List, Schema, Struct, TypeId};

/// No field is in more than one of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

/// How `new` differs from `old`, both objects of type `ty`.
pub fn compare(schema: &Schema, ty: TypeId, old: &Value, new: &Value) -> Comparison {
    Comparer { schema }.value(ty, Some(old), Some(new)).below
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What is in the new object and was not, or not so, in the old one.
    pub fn changed(&self) -> FieldSet {
        self.added.union(&self.modified)
    }

    /// Without `fields` and what lies below them.
    #[must_use]
    pub fn without(&self, fields: &FieldSet) -> Comparison {
        Comparison {
            added: self.added.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            removed: self.removed.recursive_difference(fields),
        }
    }

    fn attach(&mut self, element: impl FnOnce() -> Element, found: Difference) {
        if found.here.is_none() && found.below.is_same() {
            return;
        }
        let element = element();
        let here = |change| found.here == Some(change);
        self.added.put(element.clone(), here(Change::Added), found.below.added);
        self.modified.put(element.clone(), here(Change::Modified), found.below.modified);
        self.removed.put(element, here(Change::Removed), found.below.removed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Removed,
}

/// How a value differs: itself, and below it.
#[derive(Default)]
struct Difference {
    here: Option<Change>,
    below: Comparison,
}

impl Difference {
    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Difference {
        let here = match (old, new) {
            (None, None) => None,
            (None, Some(_)) => Some(Change::Added),
            (Some(_), None) => Some(Change::Removed),
            (Some(old), Some(new)) => (old != new).then_some(Change::Modified),
        };
        Difference { here, below: Comparison::default() }
    }

    /// A container came or went if one side has nothing at all there.
    fn container(old: Option<&Value>, new: Option<&Value>, below: Comparison) -> Difference {
        let here = match (old, new) {
            (None, Some(_)) => Some(Change::Added),
            (Some(_), None) => Some(Change::Removed),
            (None, None) | (Some(_), Some(_)) => None,
        };
        Difference { here, below }
    }
}

struct Comparer<'s> {
    schema: &'s Schema,
}

impl Comparer<'_> {
    fn value(&self, ty: TypeId, old: Option<&Value>, new: Option<&Value>) -> Difference {
        let bare = |side: Option<&Value>| match side {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(entries)) => entries.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
        };
        if bare(old) && bare(new) {
            return Difference::leaf(old, new);
        }
        let shape = Shape::of(self.schema, ty);
        let fits = |side: Option<&Value>| match (&shape, side) {
            (_, None | Some(Value::Null)) => true,
            (Shape::Struct(_) | Shape::Map(_), Some(value)) => value.is_object(),
            (Shape::List(_), Some(value)) => value.is_array(),
            (Shape::Leaf, Some(_)) => false,
        };
        if !fits(old) || !fits(new) {
            return Difference::leaf(old, new);
        }
        match shape {
            Shape::Leaf => Difference::leaf(old, new),
            Shape::Struct(of) => Difference::container(old, new, self.fields(of, old, new)),
            Shape::Map(values) => Difference::container(old, new, self.map(values, old, new)),
            Shape::List(list) => match self.list(list, items(old), items(new)) {
                Some(below) => Difference::container(old, new, below),
                None => Difference::leaf(old, new),
            },
        }
    }

    fn fields(&self, of: &Struct, old: Option<&Value>, new: Option<&Value>) -> Comparison {
        let mut found = Comparison::default();
        for name in names(old, new) {
            let field = of.field(name);
            let (old, new) = (self.field(field, old, name), self.field(field, new, name));
            let difference = self.value(field.map_or(unknown(), |field| field.ty), old, new);
            found.attach(|| Element::field(name), difference);
        }
        // With a struct comes what it always holds.
        if old.is_some() != new.is_some() {
            let side = old.or(new);
            let is_said = |field: &Field| side.is_some_and(|side| side.get(&*field.name).is_some());
            for field in of.fields.iter().filter(|field| !is_said(field)) {
                if let Some(value) = unsaid(self.schema, field) {
                    let there = |side: Option<&Value>| side.map(|_| value);
                    found.attach(|| Element::field(&field.name), Difference::leaf(there(old), there(new)));
                }
            }
        }
        found
    }

    fn field<'v>(&self, field: Option<&Field>, side: Option<&'v Value>, name: &str) -> Option<&'v Value> {
        side?.get(name).or_else(|| unsaid(self.schema, field?))
    }

    fn map(&self, values: TypeId, old: Option<&Value>, new: Option<&Value>) -> Comparison {
        let mut found = Comparison::default();
        for name in names(old, new) {
            let (old, new) = (old.and_then(|old| old.get(name)), new.and_then(|new| new.get(name)));
            found.attach(|| Element::field(name), self.value(values, old, new));
        }
        found
    }

    /// None when an item cannot be told apart from the others, so that the list can only be taken as a whole.
    fn list(&self, list: &List, old: &[Value], new: &[Value]) -> Option<Comparison> {
        let mut found = Comparison::default();
        if old == new {
            return Some(found);
        }
        let mut old = grouped(self.schema, list, old)?;
        for (element, new) in grouped(self.schema, list, new)? {
            let old = old.remove(&element).unwrap_or_default();
            self.item(list, element, &old, &new, &mut found);
        }
        for (element, old) in old {
            self.item(list, element, &old, &[], &mut found);
        }
        Some(found)
    }

    /// Items that share what should tell them apart are compared as one.
    fn item(&self, list: &List, element: Element, old: &[&Value], new: &[&Value], found: &mut Comparison) {
        let mut mark = |change| {
            let difference = Difference { here: Some(change), below: Comparison::default() };
            found.attach(|| element.clone(), difference);
        };
        match (old, new) {
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    mark(Change::Modified);
                }
            }
            ([_, _, ..], _) => {
                mark(Change::Removed);
                if let [new] = new {
                    found.attach(|| element, self.value(list.items, None, Some(new)));
                }
            }
            (_, [_, _, ..]) => {
                mark(Change::Added);
                if let [old] = old {
                    found.attach(|| element, self.value(list.items, Some(old), None));
                }
            }
            (_, _) => {
                let difference = self.value(list.items, old.first().copied(), new.first().copied());
                found.attach(|| element, difference);
            }
        }
    }
}

/// The names on either side, each once.
fn names<'v>(old: Option<&'v Value>, new: Option<&'v Value>) -> impl Iterator<Item = &'v str> {
    let entries = |side: Option<&'v Value>| side.and_then(Value::as_object);
    let (old, new) = (entries(old), entries(new));
    let of_new = new.into_iter().flat_map(|entries| entries.keys());
    let of_old = old.into_iter().flat_map(|entries| entries.keys());
    let only_old = of_old.filter(move |name| new.is_none_or(|new| !new.contains_key(name.as_str())));
    of_new.chain(only_old).map(String::as_str)
}

fn items(side: Option<&Value>) -> &[Value] {
    side.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
