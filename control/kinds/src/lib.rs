//! One module per API kind, and the schema graph that all kinds share.
//!
//! A kind is data and pure functions over `serde_json::Value`: no I/O, no clock, no chance. Who serves, stores
//! or watches objects knows no kind by name, except through [`Registry`].

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
mod cel;
pub mod certificates;
pub mod cidr;
pub mod columns;
mod conversion;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod discovery;
pub mod duration;
pub mod events;
mod field;
pub mod flowcontrol;
mod int_or_percent;
mod kind;
pub mod meta;
pub mod metrics;
pub mod names;
pub mod networking;
pub mod node;
pub mod policy;
pub mod quantity;
pub mod quota;
pub mod rbac;
mod registry;
pub mod resource;
pub mod scheduling;
pub mod schema;
pub mod selector;
pub mod storage;
mod strategy;
pub mod tree;

#[cfg(test)]
mod check;

pub use columns::{Cell, CellContext, Column};
pub use conversion::Conversion;
pub use field::{Field, FieldError, FieldErrors, Reason};
pub use kind::{Connect, Kind, NameRule, Proxied, Read, Scale, Selectable, Serves, Subresource, Verb, View};
pub use registry::{ALL, LEGACY, Registry};
pub use strategy::{Allocation, Deletion, Generation, Measured, Review, Strategy};
