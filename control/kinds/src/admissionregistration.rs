//! The kinds of the group admissionregistration.k8s.io: who is asked, and which rules hold, before something is written.

pub mod policy;
pub mod policy_binding;
mod rules;
pub mod webhook_configuration;

#[cfg(test)]
mod tests;

pub const GROUP: &str = "admissionregistration.k8s.io";

const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
