//! The kinds of the group rbac.authorization.k8s.io: what may be done, and who may do it.

pub mod binding;
pub mod older;
pub mod role;

/// The group of the kinds, of users and of groups of users.
pub const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
