//! One node: runs the pods that it is given.

mod assembly;
mod causes;
mod cgroups;
pub mod cni;
mod config;
pub mod container;
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
pub mod reclaim;
mod run;
pub mod runtime;
pub mod shim;
mod shutdown;
mod statics;
pub mod streams;
pub mod tokens;
pub mod tunnel;
pub mod usage;
mod volumes;

pub use assembly::{AgentError, RunningPods, purge_pods, start_pods};
pub use config::{AgentConfig, AgentTls, Paths, RuntimeChoice};
pub use run::{purge, run};
pub use shutdown::{ShutdownPolicy, shut_down};
