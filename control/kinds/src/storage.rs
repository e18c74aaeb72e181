//! The kinds of the group storage.k8s.io: where volumes come from.

pub mod attributes_class;
pub mod capacity;
pub mod csi_driver;
pub mod csi_node;
pub mod protection;
pub mod storage_class;
pub mod volume_attachment;

const GROUP: &str = "storage.k8s.io";

#[cfg(test)]
mod tests;
