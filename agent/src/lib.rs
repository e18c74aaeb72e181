//! One node: runs the pods that it is given.

pub mod cni;
pub mod desired;
pub mod gateway;
pub mod logs;
pub mod network;
pub mod node;
pub mod tunnel;
