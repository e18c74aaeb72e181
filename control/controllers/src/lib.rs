//! Leader-elected reconcilers, one module each.
