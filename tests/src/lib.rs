//! Real processes, tested from the outside.
