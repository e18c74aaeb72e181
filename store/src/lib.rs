//! The replicated, revisioned, watchable key space.
