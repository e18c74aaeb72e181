//! The kinds of the group that has no name.

pub mod config_map;
