//! Real processes, tested from the outside: a cluster that cleans up after itself, kubectl, a registry
//! of images, and patience.

pub mod cluster;
pub mod etcdctl;
pub mod eventually;
pub mod kubectl;
pub mod process;
pub mod registry;
