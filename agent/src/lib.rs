//! One node: runs the pods that it is given.

pub mod desired;
pub mod network;
