//! Strategic merge patch: lists merge by key where the schema says so, and directives say the rest.
//!
//! Directives are `$patch: replace|merge|delete`, `$retainKeys`, `$setElementOrder/<list>` and
//! `$deleteFromPrimitiveList/<list>`. Fields that the schema does not know merge as in RFC 7386, so that the decoder
//! can name them. Follows "Strategic Merge Patch" in the Kubernetes community's API documents.

use serde_json::{Map, Value};

use super::super::{Patch, Schema, Type, TypeId};
use super::order::{Identity, arrange};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

type Object = Map<String, Value>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("a strategic merge patch must be an object")]
    NotAnObject,
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective { directive: String, map: String },
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey { item: String, key: String },
    #[error("cannot merge lists without merge key for {field}")]
    NoKeyDeclared { field: String },
    #[error("merging lists cannot yet be specified in the patch")]
    MergeInsideList,
    #[error("invalid patch format of retainKeys directive: {problem}")]
    RetainKeys { problem: String },
    #[error(
        "invalid patch format of setElementOrder or deleteFromPrimitiveList for {field}: a list is wanted"
    )]
    NotAList { field: String },
}

/// The outcome of `patch` on `current`, an object of type `ty`.
pub fn strategic(schema: &Schema, ty: TypeId, current: &Value, patch: &Value) -> Result<Value, MergeError> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(MergeError::NotAnObject);
    };
    Merger { schema }.object(Some(ty), current.clone(), patch.clone()).map(Value::Object)
}

struct Merger<'s> {
    schema: &'s Schema,
}

/// What the schema says of one field: its type, and how it is patched.
struct Child {
    ty: Option<TypeId>,
    patch: Patch,
}

impl Merger<'_> {
    fn child(&self, ty: Option<TypeId>, name: &str) -> Child {
        let unknown = Child { ty: None, patch: Patch::default() };
        match ty.map(|ty| self.schema.get(ty)) {
            Some(Type::Struct(of)) => of
                .field(name)
                .map_or(unknown, |field| Child { ty: Some(field.ty), patch: field.patch.clone() }),
            Some(Type::Map(of)) => Child { ty: Some(of.values), patch: Patch::default() },
            Some(Type::List(_) | Type::Scalar(_)) | None => unknown,
        }
    }

    fn items(&self, ty: Option<TypeId>) -> Option<TypeId> {
        match self.schema.get(ty?) {
            Type::List(list) => Some(list.items),
            Type::Struct(_) | Type::Map(_) | Type::Scalar(_) => None,
        }
    }

    fn object(
        &self,
        ty: Option<TypeId>,
        mut current: Object,
        mut patch: Object,
    ) -> Result<Object, MergeError> {
        match directive(&mut patch)? {
            Some(Directive::Replace) => return Ok(bare(patch)),
            Some(Directive::Delete) => return Ok(Object::new()),
            Some(Directive::Merge) | None => {}
        }
        retain_keys(&mut current, &mut patch)?;
        self.ordered_lists(ty, &mut current, &mut patch)?;
        for (key, change) in patch {
            if let Some(name) = key.strip_prefix(DELETE_PREFIX) {
                delete_primitives(&mut current, name, &change)?;
            } else if change.is_null() {
                current.shift_remove(&key);
            } else {
                let merged = match current.get_mut(&key) {
                    Some(old) => {
                        let child = self.child(ty, &key);
                        self.value(&key, &child, old.take(), change)?
                    }
                    None => bare_value(change),
                };
                current.insert(key, merged);
            }
        }
        Ok(current)
    }

    fn value(&self, name: &str, child: &Child, old: Value, change: Value) -> Result<Value, MergeError> {
        match (old, change) {
            (Value::Object(old), Value::Object(change)) if !child.patch.replace => {
                self.object(child.ty, old, change).map(Value::Object)
            }
            (Value::Array(old), Value::Array(change)) if child.patch.merge => {
                let merged = self.list(name, child, &old, change)?;
                Ok(Value::Array(merged))
            }
            (_, change) => Ok(bare_value(change)),
        }
    }

    /// Merges a list, and orders it by the patch's own order.
    fn list(
        &self,
        name: &str,
        child: &Child,
        old: &[Value],
        change: Vec<Value>,
    ) -> Result<Vec<Value>, MergeError> {
        if old.iter().chain(&change).all(|item| !item.is_object()) {
            let mut merged: Vec<Value> = Vec::with_capacity(old.len() + change.len());
            for item in old.iter().chain(&change) {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            return Ok(arrange(merged, &change, old, Identity::Whole));
        }
        let key = child.patch.merge_key.as_deref();
        let key = key.ok_or_else(|| MergeError::NoKeyDeclared { field: name.to_owned() })?;
        let (mut merged, change) = match special_items(old.to_vec(), change, key)? {
            Items::Replace(items) => return Ok(items),
            Items::Merge { kept, change } => (kept, change),
        };
        let identity = Identity::Key(key);
        for item in &change {
            let Value::Object(entries) = item else { return Err(no_merge_key(item, key)) };
            if identity.of(item).is_none() {
                return Err(no_merge_key(item, key));
            }
            match identity.position(&merged, item) {
                Some(at) => {
                    let whole = Child { ty: self.items(child.ty), patch: Patch::default() };
                    let before = merged[at].take();
                    merged[at] = self.value(name, &whole, before, item.clone())?;
                }
                None => merged.push(Value::Object(bare(entries.clone()))),
            }
        }
        Ok(arrange(merged, &change, old, identity))
    }

    /// `$setElementOrder/x` names the whole order that list `x` is to have; what it omits is the server's alone.
    fn ordered_lists(
        &self,
        ty: Option<TypeId>,
        current: &mut Object,
        patch: &mut Object,
    ) -> Result<(), MergeError> {
        let directives: Vec<String> =
            patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
        for directive in directives {
            let Some(order) = patch.shift_remove(&directive) else { continue };
            let name = &directive[ORDER_PREFIX.len()..];
            let Value::Array(order) = order else {
                return Err(MergeError::NotAList { field: name.to_owned() });
            };
            let child = self.child(ty, name);
            let old = list_of(current.get(name));
            let change = match patch.get(name) {
                Some(Value::Array(_)) => patch.shift_remove(name),
                Some(_) => continue,
                None => None,
            };
            let merged = match (change, old.is_empty()) {
                (Some(Value::Array(change)), false) if child.patch.merge => {
                    self.list(name, &child, &old, change)?
                }
                (Some(change), _) => list_of(Some(&bare_value(change))),
                (None, true) => continue,
                (None, false) => old.clone(),
            };
            let identity = child.patch.merge_key.as_deref().map_or(Identity::Whole, Identity::Key);
            current.insert(name.to_owned(), Value::Array(arrange(merged, &order, &old, identity)));
        }
        Ok(())
    }
}

enum Directive {
    Replace,
    Merge,
    Delete,
}

fn directive(patch: &mut Object) -> Result<Option<Directive>, MergeError> {
    match patch.shift_remove(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(word)) if word == "replace" => Ok(Some(Directive::Replace)),
        Some(Value::String(word)) if word == "merge" => Ok(Some(Directive::Merge)),
        Some(Value::String(word)) if word == "delete" => Ok(Some(Directive::Delete)),
        Some(other) => {
            let directive = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            Err(MergeError::UnknownDirective { directive, map: Value::Object(patch.clone()).to_string() })
        }
    }
}

enum Items {
    /// An item said `$patch: replace`: these are the whole list.
    Replace(Vec<Value>),
    Merge {
        kept: Vec<Value>,
        change: Vec<Value>,
    },
}

/// Obeys the items that are directives, and takes them out of the patch.
fn special_items(mut kept: Vec<Value>, change: Vec<Value>, key: &str) -> Result<Items, MergeError> {
    let identity = Identity::Key(key);
    let mut rest = Vec::with_capacity(change.len());
    let mut is_replaced = false;
    for item in change {
        let Value::Object(mut entries) = item else {
            rest.push(item);
            continue;
        };
        match directive(&mut entries)? {
            None => rest.push(Value::Object(entries)),
            Some(Directive::Replace) => is_replaced = true,
            Some(Directive::Merge) => return Err(MergeError::MergeInsideList),
            Some(Directive::Delete) => {
                let item = Value::Object(entries);
                if identity.of(&item).is_none() {
                    return Err(no_merge_key(&item, key));
                }
                kept.retain(|present| identity.of(present) != identity.of(&item));
            }
        }
    }
    if is_replaced {
        return Ok(Items::Replace(rest.into_iter().map(bare_value).collect()));
    }
    Ok(Items::Merge { kept, change: rest })
}

fn retain_keys(current: &mut Object, patch: &mut Object) -> Result<(), MergeError> {
    let Some(listed) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let problem = |problem: &str| MergeError::RetainKeys { problem: problem.to_owned() };
    let Value::Array(listed) = listed else { return Err(problem("a list is wanted")) };
    let is_listed = |key: &str| listed.iter().any(|name| name.as_str() == Some(key));
    let sets = |key: &str, value: &Value| !key.starts_with('$') && !value.is_null();
    if patch.iter().any(|(key, value)| sets(key, value) && !is_listed(key)) {
        return Err(problem("the list must name every field that the patch sets"));
    }
    current.retain(|key, _| is_listed(key));
    Ok(())
}

fn delete_primitives(current: &mut Object, name: &str, gone: &Value) -> Result<(), MergeError> {
    let Value::Array(gone) = gone else { return Err(MergeError::NotAList { field: name.to_owned() }) };
    if let Some(Value::Array(items)) = current.get_mut(name) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

fn list_of(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn no_merge_key(item: &Value, key: &str) -> MergeError {
    MergeError::NoMergeKey { item: item.to_string(), key: key.to_owned() }
}

/// A patch that meets nothing becomes the value itself, without nulls and directives.
fn bare_value(value: Value) -> Value {
    match value {
        Value::Object(entries) => Value::Object(bare(entries)),
        Value::Array(items) => {
            let is_order = |item: &Value| item.get(DIRECTIVE).is_some();
            Value::Array(items.into_iter().filter(|item| !is_order(item)).map(bare_value).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn bare(entries: Object) -> Object {
    let is_directive = |key: &str| {
        key == DIRECTIVE
            || key == RETAIN_KEYS
            || key.starts_with(ORDER_PREFIX)
            || key.starts_with(DELETE_PREFIX)
    };
    entries
        .into_iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .map(|(key, value)| (key, bare_value(value)))
        .collect()
}
