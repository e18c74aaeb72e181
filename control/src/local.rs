//! A whole cluster on one machine, out of one folder: `navarch up`, `down` and `status`.

pub(crate) mod down;
mod etcd;
mod example;
pub(crate) mod kubeconfig;
mod layout;
mod process;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod up;
