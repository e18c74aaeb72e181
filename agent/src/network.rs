//! The pod network of one node.

mod subnet;

pub use subnet::{Subnet, SubnetError};
