//! NamespaceLifecycle: nothing is created in a namespace that is absent or going away, and the first namespaces
//! stay.
//!
//! The namespace's revision guards the create, so none slips in after the namespace began to go.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::{meta, tree};

use super::{Admit, Attempt, Plugin};
use crate::status::Status;
use crate::storage::Guard;

pub(crate) const PLUGIN: Plugin = Plugin { name: "NamespaceLifecycle", admit: Admit::Reading(admit) };

/// Namespaces that nobody may delete.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if !attempt.is_create() || !attempt.call.kind.namespaced {
            return Ok(());
        }
        let scope = attempt.scope("", "namespaces", None)?;
        // An old answer does no harm when it lets the write through: the guard holds it to the truth.
        let Some(found) = attempt.find(&scope, attempt.namespace).await? else {
            return Err(Status::not_found(scope.kind, attempt.namespace));
        };
        let namespace = found.parse()?;
        let terminating = meta::deletion_timestamp(&namespace).is_some()
            || tree::text(&namespace, "status.phase") == "Terminating";
        if terminating {
            return Err(Status::namespace_terminating(attempt.call.kind, attempt.name, attempt.namespace));
        }
        let key = scope.key(attempt.namespace);
        attempt.guards.push(Guard::at(key, found.written_at()));
        Ok(())
    }
    .boxed()
}

/// Refuses to delete a namespace that the cluster cannot be without.
pub(crate) fn check_delete(kind: &kinds::Kind, name: &str) -> Result<(), Status> {
    if kind.group.is_empty() && kind.kind == "Namespace" && PROTECTED.contains(&name) {
        return Err(Status::forbidden_object(kind, name, "this namespace may not be deleted"));
    }
    Ok(())
}
