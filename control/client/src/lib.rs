//! What every user of the API needs: a typed client, watched caches, work queues, elections and events.
//!
//! Speaks HTTP and JSON through a [`Transport`]; knows neither the API server nor the store.

mod cache;
mod client;
mod election;
mod error;
mod events;
mod fence;
mod informer;
mod informers;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod metrics;
pub mod node_affinity;
mod object;
mod resource;
mod selector;
pub mod tolerations;
mod transport;
mod watch;
mod workqueue;

pub use cache::{Cache, Change, Index};
pub use client::{Client, Delete, ListOptions, Page, Preconditions};
pub use election::{Election, ElectionConfig, Leadership};
pub use error::ClientError;
pub use events::{EventKind, Recorder};
pub use fence::Fence;
pub use informer::Informer;
pub use informers::Informers;
pub use metrics::describe as describe_metrics;
pub use object::{HasMetadata, Object, ObjectKey, Partial, controller_of, reference_to};
pub use resource::ApiResource;
pub use selector::selects;
pub use transport::{Body, BoxError, Transport, TransportError};
pub use watch::{WatchEvent, WatchStream};
pub use workqueue::{Backoff, WorkQueue};
