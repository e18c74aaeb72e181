//! Images: the two that the agent makes itself, when to pull the others, and the built-in runtime's own store.

mod archive;
mod builtin;
mod compression;
mod digest;
#[allow(dead_code, reason = "the built-in runtime, which pulls, is being written")]
mod documents;
#[allow(dead_code, reason = "the built-in runtime, which imports, is being written")]
mod import;
pub(crate) mod policy;
#[allow(dead_code, reason = "the built-in runtime, which pulls, is being written")]
mod pull;
#[allow(dead_code, reason = "the built-in runtime, which pulls, is being written")]
mod reference;
#[allow(dead_code, reason = "the built-in runtime, which pulls, is being written")]
mod registry;
#[allow(dead_code, reason = "the built-in runtime, which mounts what is stored, is being written")]
mod store;
mod unpack;

#[allow(unused_imports, reason = "the built-in runtime, which uses them, is being written")]
pub(crate) use self::{
    builtin::ensure_stored,
    documents::ImageConfig,
    import::{Archive, ImportError},
    pull::PullError,
    store::{ImageStore, ImageStoreError, StoredImage},
};
pub use builtin::{ImageError, PAUSE_IMAGE, WEB_IMAGE, ensure};
