//! NamespaceLifecycle: nothing is created in a namespace that is absent or going away, and the first namespaces
//! stay.
//!
//! The namespace's revision guards the create, so none slips in after the namespace began to go.

use base::Revision;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::{meta, tree};

use super::{Admit, Attempt, Operation, Plugin};
use crate::status::Status;
use crate::storage::{Freshness, Guard, Scope};

pub(crate) const PLUGIN: Plugin = Plugin { name: "NamespaceLifecycle", admit: Admit::Reading(admit) };

/// Namespaces that nobody may delete.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if attempt.operation != Operation::Create || !attempt.kind.namespaced {
            return Ok(());
        }
        let Some(kind) = attempt.server.registry.resource("", "v1", "namespaces") else { return Ok(()) };
        let key = Scope { kind, namespace: None }.key(attempt.namespace);
        let storage = &attempt.server.storage;
        // An old answer does no harm when it lets the write through: the guard holds it to the truth.
        let found = match storage.get(&key, attempt.freshness).await? {
            Some(found) => Some(found),
            None => storage.get(&key, Freshness::Newest).await?,
        };
        let Some(found) = found else { return Err(Status::not_found(kind, attempt.namespace)) };
        let namespace = found.parse()?;
        let terminating = meta::deletion_timestamp(&namespace).is_some()
            || tree::text(&namespace, "status.phase") == "Terminating";
        if terminating {
            return Err(Status::namespace_terminating(attempt.kind, attempt.name, attempt.namespace));
        }
        attempt.guards.push(Guard { key, revision: found.revision.unwrap_or(Revision::new(0)) });
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
