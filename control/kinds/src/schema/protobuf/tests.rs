//! Protobuf bodies against the JSON they stand for.
