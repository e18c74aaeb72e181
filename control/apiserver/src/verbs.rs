//! The generic verbs. They know no kind: what a kind wants differently, its entry in the registry says.

pub(crate) mod apply;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod delete_collection;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod managing;
pub(crate) mod past;
pub(crate) mod patch;
pub(crate) mod selection;
pub(crate) mod update;
pub(crate) mod watch;
pub(crate) mod write;

/// How often a write that lost against another is decided again before its sender is told.
pub(crate) const ATTEMPTS_MAX: usize = 32;
