//! Kubernetes' protobuf: the envelope, and messages to the JSON that Kubernetes itself would write.
//!
//! Messages are compiled from a table of field numbers and joined with the schema graph: names in JSON, structs that
//! Go inlines, zero values that it leaves out. Input comes from the network: every length is checked, nesting and the
//! number of values are bounded, nothing panics.

mod decode;
mod special;
mod table;
mod wire;

pub use decode::{Envelope, ProtobufError, decode, decode_message, envelope};
pub(super) use table::Messages;

#[cfg(test)]
mod tests;
