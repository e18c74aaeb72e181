//! One module per API kind, and the schema graph that all kinds share.
//!
//! A kind is data and pure functions over `serde_json::Value`: no I/O, no clock, no chance. Who serves, stores
//! or watches objects knows no kind by name, except through [`Registry`].

pub mod apiextensions;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod batch;
mod cel;
mod cidr;
pub mod columns;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod discovery;
pub mod duration;
mod field;
mod int_or_percent;
mod kind;
pub mod meta;
pub mod names;
pub mod networking;
pub mod node;
pub mod policy;
pub mod quantity;
pub mod rbac;
mod registry;
pub mod scheduling;
pub mod schema;
pub mod selector;
pub mod storage;
mod strategy;
pub mod tree;

#[cfg(test)]
mod check;

pub use columns::{Cell, CellContext, Column};
pub use field::{Field, FieldError, FieldErrors, Reason};
pub use kind::{Kind, NameRule, Read, Scale, Selectable, Serves, Subresource, Verb};
pub use registry::{ALL, Registry};
pub use strategy::{Deletion, Generation, Review, Strategy};
