//! What every request passes before a verb serves it, in this order: who is it, as whom, may they; and for
//! writes: does the sender still lead, is the object admitted.

pub(crate) mod admission;
pub(crate) mod authn;
pub(crate) mod authz;
pub(crate) mod fence;
pub(crate) mod impersonation;
