//! Custom kinds: what a CustomResourceDefinition says, compiled to the same [`Kind`](crate::Kind) that built-in kinds are.
//!
//! A custom kind differs in one field: [`Custom`] holds its structural schema, by which objects are pruned, defaulted
//! and validated, and a schema graph of its own, by which they are applied. All else is data that built-in kinds have
//! too. Rules in CEL are compiled beside the schema. Conversion by webhooks is not known here: definitions that ask for it
//! are refused.

mod compile;
mod defaults;
mod formats;
mod json_path;
mod lists;
mod object;
mod pattern;
mod prune;
mod rules;
mod structural;
mod validate;
mod versions;

pub use compile::Definition;
pub(crate) use formats::fits;
pub use json_path::{JsonPath, JsonPathError};
pub use object::Custom;
pub(crate) use pattern::Pattern;
pub(crate) use prune::pruned;
pub use rules::Rule;
pub(crate) use rules::rule_errors;
pub use structural::{Additional, Structural};
pub(crate) use validate::schema_errors;
pub use versions::by_priority;

#[cfg(test)]
mod tests;
