//! Who may do what: nodes by what their pods use, everybody by the roles and bindings of RBAC, as this server's copy of
//! the store holds them.
//!
//! `system:masters` may everything, and everybody may ask whether the server is well. Everything else needs a rule. No
//! request is refused for a rule that this server has not read yet: until the first roles are there, requests wait.

use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use kinds::Verb;
use kinds::selector::FieldSelector;
use tokio::sync::watch;

use self::book::{Grant, Roles};
use self::nodes::{Nodes, Opinion};
use self::rule::Rule;
use super::authn::{Identity, MASTERS};
use crate::request::{RequestInfo, ResourcePath, Target};
use crate::status::Status;
use crate::storage::Storage;

pub(crate) mod book;
pub(crate) mod escalation;
mod feed;
mod nodes;
pub(crate) mod rule;
pub(crate) mod signers;

/// How long a request waits for the first roles of a new cluster.
const FIRST_ROLES_WAIT_MAX: Duration = Duration::from_secs(10);
/// Paths that anybody may read, whatever the roles say.
const HEALTH: &[&str] = &["/livez", "/readyz", "/healthz"];

/// The kubelet's subresources of nodes, by what is read of it.
const PARTS_OF_NODES: &[(&str, &str)] = &[
    ("healthz", "healthz"),
    ("metrics", "metrics"),
    ("metrics/cadvisor", "metrics"),
    ("metrics/probes", "metrics"),
    ("metrics/resource", "metrics"),
    ("pods", "pods"),
    ("stats/summary", "stats"),
];

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    /// A verb of the API, or a special one such as `impersonate`; of a path, the method in small letters.
    pub(crate) verb: &'a str,
    pub(crate) asked: Asked<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Resource(Resource<'a>),
    Path(&'a str),
}

/// Empty is none: no subresource, no namespace, no name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resource<'a> {
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The only node whose pods are asked for, if they are asked for by node.
    pub(crate) node: &'a str,
}

/// What was decided, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Empty when there is nothing to say.
    pub(crate) reason: String,
}

/// Decides. Fed by a task of its own.
pub(crate) struct Authorizer {
    roles: watch::Receiver<Option<Arc<Roles>>>,
    nodes: Nodes,
}

impl Authorizer {
    /// `of_nodes`: what every node may.
    pub(crate) fn start(storage: Storage, tasks: &Tasks, of_nodes: Vec<Rule>) -> Self {
        let (publish, roles) = watch::channel(None);
        let stop = tasks.stop().clone();
        tasks.spawn_infallible("roles", feed::feed(storage.clone(), publish, stop));
        Self { roles, nodes: Nodes::start(storage, tasks, of_nodes) }
    }

    /// Refuses what `who` may not do.
    pub(crate) async fn authorize(&self, who: &Identity, asked: &Attributes<'_>) -> Result<(), Status> {
        if who.is_in(MASTERS) || asked.is_about_health() {
            return Ok(());
        }
        let opinion = self.nodes.opinion(who, asked).await?;
        if opinion == Opinion::Allowed {
            return Ok(());
        }
        let roles = self.roles().await?;
        match allowing(&roles, who, asked) {
            Some(_) => Ok(()),
            None => Err(refusal(who, asked, &reasons(opinion, complaints(&roles, who, asked)))),
        }
    }

    /// Whether `who` may, and why.
    pub(crate) async fn decide(&self, who: &Identity, asked: &Attributes<'_>) -> Result<Decision, Status> {
        if who.is_in(MASTERS) || asked.is_about_health() {
            return Ok(Decision { allowed: true, reason: String::new() });
        }
        let opinion = self.nodes.opinion(who, asked).await?;
        if opinion == Opinion::Allowed {
            return Ok(Decision { allowed: true, reason: String::new() });
        }
        let roles = self.roles().await?;
        Ok(match allowing(&roles, who, asked) {
            Some(grant) => {
                Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.describe()) }
            }
            None => {
                let reason = reasons(opinion, complaints(&roles, who, asked));
                Decision { allowed: false, reason }
            }
        })
    }

    /// The newest rules. Waits while the first roles of the cluster are still being made.
    pub(crate) async fn roles(&self) -> Result<Arc<Roles>, Status> {
        let is_furnished =
            |roles: &Option<Arc<Roles>>| roles.as_ref().is_some_and(|roles| roles.is_furnished);
        let now = self.roles.borrow().clone();
        if let (true, Some(roles)) = (is_furnished(&now), now) {
            return Ok(roles);
        }
        let mut receiver = self.roles.clone();
        // Whether they came in time or not: what is there now decides.
        let _in_time =
            tokio::time::timeout(FIRST_ROLES_WAIT_MAX, receiver.wait_for(is_furnished)).await.is_ok();
        let read = self.roles.borrow().clone();
        read.ok_or_else(|| Status::unavailable("the roles are not read yet"))
    }
}

impl<'a> Attributes<'a> {
    /// What a request wants; `name` as [`name_of`] found it.
    pub(crate) fn of(info: &'a RequestInfo, method: &'a str, name: &'a str) -> Self {
        match &info.target {
            Target::Resource { verb, path } => Self::on(*verb, path, name),
            Target::NonResource | Target::UnknownMethod => {
                Self { verb: method, asked: Asked::Path(&info.path) }
            }
        }
    }

    pub(crate) fn on(verb: Verb, path: &'a ResourcePath, name: &'a str) -> Self {
        let resource = Resource {
            group: &path.group,
            resource: &path.resource,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            namespace: path.namespace.as_deref().unwrap_or_default(),
            name,
            node: "",
        };
        Self { verb: verb.as_str(), asked: Asked::Resource(resource) }
    }

    /// The same, of the pods of one node only; `node` as [`node_of`] found it.
    pub(crate) fn on_node(mut self, node: &'a str) -> Self {
        if let Asked::Resource(resource) = &mut self.asked {
            resource.node = node;
        }
        self
    }

    /// What is enough for a part of what a node tells, without all of `nodes/proxy` (KEP-2862).
    ///
    /// Only for whole paths as the node serves them, and only on the node itself: what is cleaned or sent to a port
    /// later may be something else.
    pub(crate) fn of_part(&self, info: &'a RequestInfo) -> Option<Self> {
        let Asked::Resource(resource) = self.asked else { return None };
        let Target::Resource { path, .. } = &info.target else { return None };
        let is_proxy = ("", "nodes", "proxy") == (resource.group, resource.resource, resource.subresource);
        if !is_proxy || self.verb != "get" || resource.name.contains(':') {
            return None;
        }
        let rest = path.rest.as_deref().unwrap_or_default();
        let (_, subresource) = PARTS_OF_NODES.iter().find(|(part, _)| *part == rest)?;
        Some(Self { asked: Asked::Resource(Resource { subresource, ..resource }), ..*self })
    }

    fn namespace(&self) -> &'a str {
        match self.asked {
            Asked::Resource(resource) => resource.namespace,
            Asked::Path(_) => "",
        }
    }

    fn is_about_health(&self) -> bool {
        let below = |path: &str, root: &&str| {
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        matches!(self.asked, Asked::Path(path) if self.verb == "get" && HEALTH.iter().any(|root| below(path, root)))
    }
}

/// The object that a request is about: the path's, or the only one that its field selector lets through.
pub(crate) fn name_of(info: &RequestInfo) -> String {
    let Target::Resource { verb, path } = &info.target else { return String::new() };
    match (&path.name, verb) {
        (Some(name), _) => name.clone(),
        (None, Verb::List | Verb::Watch | Verb::DeleteCollection) => {
            selector(info).and_then(|selector| Some(selector.name()?.to_owned())).unwrap_or_default()
        }
        (None, Verb::Create | Verb::Delete | Verb::Get | Verb::Patch | Verb::Update) => String::new(),
    }
}

/// The node whose pods are asked for, if the field selector lets no others through.
pub(crate) fn node_of(info: &RequestInfo) -> String {
    selector(info).and_then(|selector| Some(selector.exact("spec.nodeName")?.to_owned())).unwrap_or_default()
}

fn selector(info: &RequestInfo) -> Option<FieldSelector> {
    let selector = info.query.get("fieldSelector");
    (!selector.is_empty()).then(|| FieldSelector::parse(selector).ok()).flatten()
}

/// The verb of a path that is no resource. HEAD is GET without its body.
pub(crate) fn method_verb(method: &http::Method) -> String {
    if method == http::Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() }
}

fn allowing<'a>(roles: &'a Roles, who: &'a Identity, asked: &'a Attributes<'a>) -> Option<&'a Grant> {
    let mut grants = roles.grants(who, asked.namespace());
    grants.find(|grant| grant.rules().iter().any(|rule| rule.allows(asked)))
}

/// Roles that `who` should have and that are not there.
fn complaints(roles: &Roles, who: &Identity, asked: &Attributes<'_>) -> String {
    let mut absent: Vec<String> = roles.grants(who, asked.namespace()).filter_map(Grant::complaint).collect();
    absent.dedup();
    match absent.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    }
}

/// What nobody who was asked allows.
fn reasons(opinion: Opinion, complaints: String) -> String {
    match (opinion, complaints.as_str()) {
        (Opinion::NotByThis(why), "") => why,
        (Opinion::NotByThis(why), _) => format!("{why}\n{complaints}"),
        (Opinion::None | Opinion::Allowed, _) => complaints,
    }
}

fn refusal(who: &Identity, asked: &Attributes<'_>, reason: &str) -> Status {
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let (user, verb) = (&who.user, asked.verb);
    match asked.asked {
        Asked::Path(path) => {
            Status::forbidden_path(&format!("User {user:?} cannot {verb} path {path:?}{because}"))
        }
        Asked::Resource(resource) => {
            let place = match resource.namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let what = match resource.subresource {
                "" => resource.resource.to_owned(),
                subresource => format!("{}/{subresource}", resource.resource),
            };
            let why = format!(
                "User {user:?} cannot {verb} resource {what:?} in API group {:?} {place}{because}",
                resource.group
            );
            Status::forbidden(resource.group, resource.resource, resource.name, &why)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
