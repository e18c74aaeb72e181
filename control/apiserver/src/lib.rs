//! The Kubernetes REST API over the store.
//!
//! A request passes `chain/` (who, may they, admission, fence), is served by one of `verbs/` or `subresources/`,
//! and ends in `storage.rs` as one range or one guarded transaction. Verbs know no kind.

#![recursion_limit = "256"]

mod allocation;
mod body;
mod bootstrap;
mod chain;
mod custom;
mod decode;
mod discovery;
mod front;
mod measures;
pub mod metrics;
mod negotiation;
mod node_stream;
mod object;
mod protobuf;
mod query;
mod reply;
mod request;
mod reviews;
mod server;
mod status;
mod storage;
mod subresources;
mod table;
mod tokens;
mod transactions;
mod turns;
mod verbs;
mod warnings;

#[cfg(test)]
mod tests;

pub use allocation::{ServiceNetwork, ServiceNetworkError};
pub use body::{Body, BoxError, empty, full};
pub use bootstrap::BootstrapError;
pub use chain::admission::PodAccounts;
pub use chain::authn::{Authentication, Identity, StaticTokens, StaticTokensError};
pub use node_stream::{NodeStream, NodeStreamError, NodeStreams};
pub use server::{ApiConfig, ApiServer};
pub use tokens::{KeyError, TokenIssuer, TokenKeys};
