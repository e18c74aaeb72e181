//! Kubernetes' protobuf: the envelope, messages to the JSON that Kubernetes itself would write, and JSON to messages.
//!
//! Messages are compiled from a table of field numbers and joined with the schema graph: names in JSON, structs that
//! Go inlines, zero values that it leaves out. Input comes from the network: every length is checked, nesting and the
//! number of values are bounded, nothing panics.

mod backwards;
mod decode;
mod encode;
mod special;
mod table;
mod wire;

pub use decode::{Envelope, ProtobufError, decode, decode_message, envelope};
pub use encode::{EncodeError, MessageId, TypeMeta, encode, encode_list, frame};
pub(super) use table::Messages;

#[cfg(test)]
mod tests;
