//! ServiceAccount: a pod that names no service account runs as `default`.
//!
//! The account need not exist yet and no token is projected: tokens come with a later issue.

use kinds::tree;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "ServiceAccount", admit: Admit::Object(admit) };

fn admit(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    if attempt.creates("", "Pod") {
        tree::set_default_text(attempt.object, "spec.serviceAccountName", "default");
        let name = tree::text(attempt.object, "spec.serviceAccountName").to_owned();
        // The old name of the same field, which clients still read.
        tree::set(attempt.object, "spec.serviceAccount", name);
    }
    Ok(())
}
