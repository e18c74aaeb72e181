//! Admission: plugins in a fixed order, each free to change or refuse an object before it is validated.

use futures::future::BoxFuture;
use serde_json::Value;

use crate::object::Stored;
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Freshness, Guard, Scope};

mod default_class;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
pub(crate) mod namespace_lifecycle;
pub(crate) mod node_restriction;
mod pod_security;
mod priority;
pub(crate) mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;

pub use service_account::PodAccounts;

/// One object on its way in.
pub(crate) struct Attempt<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) object: &'a mut Value,
    /// What an update changes; none in a create.
    pub(crate) old: Option<&'a Value>,
    /// How fresh what the plugins read must be: anything at first, the newest when a guard moved.
    pub(crate) freshness: Freshness,
    /// What the decision relied on: the write lands only while it holds.
    pub(crate) guards: &'a mut Vec<Guard>,
}

/// One plugin, named as in Kubernetes.
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    pub(crate) admit: Admit,
}

pub(crate) enum Admit {
    /// Looks at nothing but the object.
    Object(fn(&mut Attempt<'_>) -> Result<(), Status>),
    /// Reads other objects too.
    Reading(for<'a, 'b> fn(&'a mut Attempt<'b>) -> BoxFuture<'a, Result<(), Status>>),
}

pub(crate) const ORDER: &[Plugin] = &[
    namespace_lifecycle::PLUGIN,
    limit_ranger::PLUGIN,
    service_account::PLUGIN,
    node_restriction::PLUGIN,
    taint_nodes_by_condition::PLUGIN,
    pod_security::PLUGIN,
    priority::PLUGIN,
    default_toleration_seconds::PLUGIN,
    default_storage_class::PLUGIN,
    storage_object_in_use_protection::PLUGIN,
    runtime_class::PLUGIN,
    default_ingress_class::PLUGIN,
    resource_quota::PLUGIN,
];

/// Runs every plugin over `attempt`.
pub(crate) async fn admit(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    for plugin in ORDER {
        let outcome = match plugin.admit {
            Admit::Object(admit) => admit(attempt),
            Admit::Reading(admit) => admit(attempt).await,
        };
        if let Err(refusal) = outcome {
            tracing::debug!(plugin = plugin.name, kind = attempt.call.kind.kind, "refused an object");
            return Err(refusal);
        }
    }
    Ok(())
}

impl Attempt<'_> {
    /// The object of a name, as fresh as it must be. An old answer that there is none is not believed.
    async fn find(&self, scope: &Scope, name: &str) -> Result<Option<Stored>, Status> {
        let (storage, key) = (self.call.storage, scope.key(name));
        match storage.get(&key, self.freshness).await? {
            Some(found) => Ok(Some(found)),
            None => storage.get(&key, Freshness::Newest).await,
        }
    }

    /// All objects of a kind.
    async fn all(&self, scope: &Scope) -> Result<Vec<Value>, Status> {
        let page = self.call.storage.page(&scope.prefix(), "", 0, self.freshness).await?;
        page.items.iter().map(|(_, stored)| stored.parse()).collect()
    }

    /// Where objects of another kind are.
    fn scope(&self, group: &str, plural: &str, namespace: Option<&str>) -> Result<Scope, Status> {
        let kind = self.call.server.registry.resource(group, "v1", plural);
        let kind = kind.ok_or_else(|| Status::internal(format!("{plural} are not served")))?;
        Ok(Scope { kind, namespace: namespace.map(str::to_owned) })
    }

    fn is_create(&self) -> bool {
        self.old.is_none()
    }

    fn is(&self, group: &str, kind: &str) -> bool {
        self.call.kind.group == group && self.call.kind.kind == kind
    }

    fn creates(&self, group: &str, kind: &str) -> bool {
        self.is_create() && self.is(group, kind)
    }
}
