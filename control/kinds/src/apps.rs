//! The kinds of the group apps, and what they share: a selector and a pod template.

pub mod controller_revision;
pub mod daemon_set;
pub mod deployment;
pub mod replica_set;
pub mod stateful_set;
mod template;

pub(crate) use template::validate_selector;

#[cfg(test)]
mod other_tests;
#[cfg(test)]
mod tests;
