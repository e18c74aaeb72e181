//! Server-side apply: who manages which field of an object, and what comes of an applied configuration.
//!
//! Everything here is pure. An object's fields are a [`FieldSet`]; [`track`] keeps `metadata.managedFields` true when
//! a write has changed an object, [`apply`] merges a configuration and says who is in its way. The schema says what
//! is one field and what is many: structs and maps are many unless they are atomic, lists are many when they are sets
//! or maps by key. Follows KEP-555 and Kubernetes' page "Server-Side Apply"; messages are worded as there.

mod check;
mod compare;
mod conflict;
mod element;
mod extract;
mod fields_v1;
mod managers;
mod merge;
mod remove;
mod set;
mod shape;
mod update;
mod versions;

pub use check::check_declared;
pub use compare::{Comparison, compare};
pub use conflict::{Conflict, Conflicts};
pub use element::{Atom, Element};
pub use extract::fields_of;
pub use fields_v1::FieldsError;
pub use managers::{Managers, Operation, same_but_times};
pub use set::{FieldSet, Path};
pub use update::{LAST_APPLIED, OnConflict, Writer, apply, track};

#[cfg(test)]
mod tests;
