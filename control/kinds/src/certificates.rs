//! The kinds of the group certificates.k8s.io.

pub mod certificate_signing_request;
mod validate;

#[cfg(test)]
mod tests;

pub const GROUP: &str = "certificates.k8s.io";
