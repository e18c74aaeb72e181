//! The kinds of the group resource.k8s.io: devices, who wants them, and who has them.

pub mod device_class;
pub mod resource_claim;
pub mod resource_slice;
mod rules;

#[cfg(test)]
mod tests;

pub const GROUP: &str = "resource.k8s.io";
