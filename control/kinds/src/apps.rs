//! The kinds of the group apps, and what they share: a selector and a pod template.

pub mod deployment;
pub mod replica_set;
mod template;

pub(crate) use template::validate_selector;

#[cfg(test)]
mod tests;
