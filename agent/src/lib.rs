//! One node: runs the pods that it is given.
