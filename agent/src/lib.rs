//! One node: runs the pods that it is given.

mod agent;
mod cgroups;
pub mod cni;
mod config;
pub mod containerd;
pub mod desired;
pub mod gateway;
pub mod images;
pub mod logs;
pub mod metrics;
pub mod network;
pub mod node;
mod pods;
mod probes;
mod run;
pub mod runtime;
pub mod tunnel;
mod volumes;

pub use agent::{purge, run};
pub use config::{AgentConfig, AgentTls, Paths, RuntimeChoice};
pub use run::{AgentError, RunningPods, purge_pods, start_pods};
