//! Images: the two that the agent makes itself, and when to pull the others.

mod archive;
mod builtin;
pub(crate) mod policy;

pub use builtin::{ImageError, PAUSE_IMAGE, WEB_IMAGE, ensure};
