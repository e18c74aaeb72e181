//! The kinds of the group networking.k8s.io.

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod older;
pub mod service_cidr;

const GROUP: &str = "networking.k8s.io";

#[cfg(test)]
mod tests;
