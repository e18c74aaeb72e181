//! Several served versions of one built-in kind: one of them is stored, the others are converted to it and back.
//!
//! A version is a [`Kind`] of its own, with its own schema, verbs and selectable fields, and a [`Conversion`]. Rules are
//! those of the stored version: a version's object is converted, prepared, judged and converted back. So both functions
//! are total, and one undoes the other on whatever the defaults have been applied to.

use serde_json::Value;

use crate::{FieldErrors, Kind, tree};

/// How objects of one version become those of the stored one.
pub struct Conversion {
    /// The stored version: its key, its bytes, its rules.
    pub of: &'static Kind,
    /// Fields that only have another name or place: `(here, stored)`, dotted paths. Moved before `to_stored` and after
    /// `from_stored`.
    pub moves: &'static [(&'static str, &'static str)],
    /// What is more than a move.
    pub to_stored: fn(&mut Value),
    pub from_stored: fn(&mut Value),
    /// What this version asks beyond the stored one, of an object as it is stored.
    pub validate_create: fn(&Value) -> FieldErrors,
    /// `(new, old)`
    pub validate_update: fn(&Value, &Value) -> FieldErrors,
}

impl Conversion {
    /// Of a version that differs by its name.
    pub const fn same(of: &'static Kind) -> Self {
        Self {
            of,
            moves: &[],
            to_stored: |_| {},
            from_stored: |_| {},
            validate_create: |_| FieldErrors::new(),
            validate_update: |_, _| FieldErrors::new(),
        }
    }

    /// An object of this version as it is stored.
    pub fn stored(&self, object: &Value) -> Value {
        let mut object = object.clone();
        self.store(&mut object);
        object
    }

    fn store(&self, object: &mut Value) {
        rename(object, self.of);
        for (here, there) in self.moves {
            relocate(object, here, there);
        }
        (self.to_stored)(object);
    }

    fn serve(&self, object: &mut Value, kind: &Kind) {
        rename(object, kind);
        (self.from_stored)(object);
        for (here, there) in self.moves {
            relocate(object, there, here);
        }
    }
}

impl Kind {
    /// A stored object as this version serves it.
    pub fn serve(&self, object: &mut Value) {
        if let Some(conversion) = self.conversion {
            conversion.serve(object, self);
        }
    }

    /// An object of this version as it is stored.
    pub fn store(&self, object: &mut Value) {
        if let Some(conversion) = self.conversion {
            conversion.store(object);
        }
    }

    /// Does `change` to the object as it is stored.
    pub(crate) fn as_stored(
        &self,
        object: &mut Value,
        change: impl FnOnce(&'static Kind, &mut Value),
    ) -> bool {
        let Some(conversion) = self.conversion else { return false };
        conversion.store(object);
        change(conversion.of, object);
        conversion.serve(object, self);
        true
    }
}

fn rename(object: &mut Value, kind: &Kind) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.kind.into());
    }
}

/// Moves what is at `from`, if anything is, to `to`.
pub(crate) fn relocate(object: &mut Value, from: &str, to: &str) {
    if let Some(value) = tree::remove(object, from).filter(|value| !value.is_null()) {
        tree::set(object, to, value);
    }
}

#[cfg(test)]
mod tests;
