//! Images: the two that the agent makes itself, when to pull the others, and the built-in runtime's own store.

mod archive;
mod builtin;
mod compression;
pub(crate) mod credentials;
mod digest;
mod documents;
mod import;
pub(crate) mod policy;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

pub use builtin::{ImageError, PAUSE_IMAGE, WEB_IMAGE, ensure};
pub(crate) use builtin::{ensure_stored, import_from};
pub(crate) use store::{ImageStore, StoredImage};
