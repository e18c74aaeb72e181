//! The kinds of the group autoscaling.

pub mod horizontal_pod_autoscaler;
pub mod older;
mod validate;

#[cfg(test)]
mod tests;

pub const GROUP: &str = "autoscaling";
