//! One module per API kind, and the schema graph that all kinds share.

pub mod schema;
