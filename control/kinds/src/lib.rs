//! One module per API kind, and the schema graph that all kinds share.
//!
//! A kind is data and pure functions over `serde_json::Value`: no I/O, no clock, no chance. Who serves, stores
//! or watches objects knows no kind by name, except through [`Registry`].

pub mod apps;
pub mod columns;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod duration;
mod field;
mod kind;
pub mod meta;
pub mod names;
pub mod quantity;
mod registry;
pub mod schema;
pub mod selector;
mod strategy;
pub mod tree;

#[cfg(test)]
mod check;

pub use columns::{CellContext, Column};
pub use field::{Field, FieldError, FieldErrors, Reason};
pub use kind::{Kind, NameRule, Scale, Selectable, Serves, Subresource, Verb};
pub use registry::{ALL, Registry};
pub use strategy::{Deletion, Generation, Strategy};
