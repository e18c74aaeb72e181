//! RBAC's own guard: nobody gives what they have not got.
//!
//! Who writes a role must hold every rule in it, or the verb `escalate` on it; who writes a binding must hold every rule
//! of its role, or the verb `bind` on it. Words as in Kubernetes.

use kinds::{meta, rbac, tree};
use serde_json::Value;

use super::book::Grant;
use super::rule::{Rule, listed, missing};
use super::{Asked, Attributes, Resource};
use crate::chain::authn::MASTERS;
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Freshness, Scope};

const AGGREGATION: &str = "must have cluster-admin privileges to use an aggregationRule";

/// A role or a binding as it would be written, and as it was.
struct Gift<'a> {
    call: &'a Call<'a>,
    old: Option<&'a Value>,
    new: &'a Value,
    namespace: &'a str,
}

/// Refuses a role or a binding that gives more than its writer has. Everything else passes.
pub(crate) async fn check(call: &Call<'_>, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if call.kind.group != rbac::GROUP || call.who.is_in(MASTERS) {
        return Ok(());
    }
    let gift = Gift { call, old, new, namespace: meta::namespace(new) };
    match call.kind.kind {
        _ if gift.only_lets_go() => Ok(()),
        "RoleBinding" | "ClusterRoleBinding" => check_binding(&gift).await,
        _ => check_role(&gift).await,
    }
}

async fn check_role(gift: &Gift<'_>) -> Result<(), Status> {
    // A role that is being made has no name yet, as far as rights go.
    let name = if gift.old.is_some() { meta::name(gift.new) } else { "" };
    if gift.may("escalate", gift.call.kind.plural, name).await? {
        return Ok(());
    }
    let refused = |why: &str| Status::forbidden_object(gift.call.kind, meta::name(gift.new), why);
    if let Some(lacking) = gift.lacks(&Rule::all_of(gift.new)).await? {
        return Err(refused(&lacking));
    }
    let gathers = |role: &Value| !tree::get(role, "aggregationRule").is_null();
    if (gathers(gift.new) || gift.old.is_some_and(gathers))
        && gift.lacks(&Rule::full_authority()).await?.is_some()
    {
        return Err(refused(AGGREGATION));
    }
    Ok(())
}

async fn check_binding(gift: &Gift<'_>) -> Result<(), Status> {
    let name = tree::text(gift.new, "roleRef.name").to_owned();
    let (kind, namespace) = match tree::text(gift.new, "roleRef.kind") {
        "ClusterRole" => (&rbac::role::CLUSTER_ROLE, None),
        "Role" => (&rbac::role::ROLE, Some(gift.namespace.to_owned())),
        // Validation refuses it.
        _ => return Ok(()),
    };
    if gift.may("bind", kind.plural, &name).await? {
        return Ok(());
    }
    let key = Scope { kind, namespace }.key(&name);
    let Some(role) = gift.call.storage.get(&key, Freshness::Newest).await? else {
        return Err(Status::not_found(kind, &name));
    };
    match gift.lacks(&Rule::all_of(&role.parse()?)).await? {
        Some(lacking) => Err(Status::forbidden_object(gift.call.kind, meta::name(gift.new), &lacking)),
        None => Ok(()),
    }
}

impl Gift<'_> {
    /// Whether the sender has a special verb on a role.
    async fn may(&self, verb: &str, resource: &str, name: &str) -> Result<bool, Status> {
        let resource = Resource {
            group: rbac::GROUP,
            resource,
            namespace: self.namespace,
            name,
            subresource: "",
            node: "",
        };
        let asked = Attributes { verb, asked: Asked::Resource(resource) };
        Ok(self.call.server.authorizer.decide(self.call.who, &asked).await?.allowed)
    }

    /// What the sender has not got of `rules`, told to them; nothing when they have it all.
    async fn lacks(&self, rules: &[Rule]) -> Result<Option<String>, Status> {
        let roles = self.call.server.authorizer.roles().await?;
        let grants: Vec<&Grant> = roles.grants(self.call.who, self.namespace).collect();
        let held: Vec<&Rule> = grants.iter().flat_map(|grant| grant.rules()).collect();
        let mut lines: Vec<String> = missing(&held, rules).iter().map(Rule::to_string).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        lines.sort();
        let mut told = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            self.call.who.user,
            listed(&self.call.who.groups),
            lines.join("\n")
        );
        let complaints: Vec<String> = grants.iter().filter_map(|grant| grant.complaint()).collect();
        if !complaints.is_empty() {
            told.push_str(&format!("; resolution errors: [{}]", complaints.join(", ")));
        }
        Ok(Some(told))
    }

    /// Whether the change is but one of finalizers and owners: an object must be able to go.
    fn only_lets_go(&self) -> bool {
        let Some(old) = self.old else { return false };
        let bare = |object: &Value| {
            let mut object = object.clone();
            for field in ["finalizers", "ownerReferences", "managedFields"] {
                meta::remove(&mut object, field);
            }
            object
        };
        bare(self.new) == bare(old)
    }
}
