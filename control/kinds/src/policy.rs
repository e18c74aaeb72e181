//! The kinds of the group policy.

pub mod older;
pub mod pod_disruption_budget;

#[cfg(test)]
mod tests;
