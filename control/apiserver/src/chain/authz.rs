//! Who may do what: one table, until roles are served.
//!
//! `system:masters` may everything. Components may what their rows say; everyone else who is known may
//! read discovery, and nobody more.

use kinds::Verb;

use super::authn::{AUTHENTICATED, Identity, MASTERS};
use crate::request::{RequestInfo, ResourcePath, Target};
use crate::status::Status;

/// What one identity may do to some resources.
struct Rule {
    /// The user.
    subject: &'static str,
    verbs: &'static [Verb],
    /// `resource` or `resource/subresource`; `*` is all of them.
    resources: &'static [&'static str],
}

const READ: &[Verb] = &[Verb::Get, Verb::List, Verb::Watch];
const WRITE: &[Verb] = &[Verb::Create, Verb::Update, Verb::Patch, Verb::Delete];

const RULES: &[Rule] = &[
    Rule { subject: "system:apiserver", verbs: Verb::ALL, resources: &["*"] },
    Rule { subject: "system:kube-controller-manager", verbs: Verb::ALL, resources: &["*"] },
    Rule { subject: "system:kube-scheduler", verbs: READ, resources: &["*"] },
    Rule {
        subject: "system:kube-scheduler",
        verbs: WRITE,
        resources: &["pods/binding", "pods/status", "events", "leases"],
    },
    Rule { subject: "system:kube-scheduler", verbs: &[Verb::Delete], resources: &["pods"] },
    // Reports of agents. Nodes themselves never call the API: they speak to the gateway only.
    Rule { subject: "system:navarch:gateway", verbs: READ, resources: &["*"] },
    Rule {
        subject: "system:navarch:gateway",
        verbs: &[Verb::Create, Verb::Update, Verb::Patch],
        resources: &["nodes", "nodes/status", "pods/status", "events", "leases"],
    },
    Rule { subject: "system:navarch:gateway", verbs: &[Verb::Delete], resources: &["pods"] },
];

/// Paths that anybody may read.
const PUBLIC: &[&str] = &["/livez", "/readyz", "/healthz", "/version"];
/// Paths that everybody known may read.
const DISCOVERY: &[&str] = &["/api", "/apis", "/openapi"];

/// Refuses what `who` may not do.
pub(crate) fn authorize(who: &Identity, method: &http::Method, info: &RequestInfo) -> Result<(), Status> {
    let allowed = match &info.target {
        Target::Resource { verb, path } => may_on_resource(who, *verb, path),
        Target::NonResource | Target::UnknownMethod => may_on_path(who, method, &info.path),
    };
    if allowed {
        return Ok(());
    }
    if who.is_anonymous() {
        return Err(Status::unauthorized());
    }
    Err(match &info.target {
        Target::Resource { verb, path } => refusal(who, *verb, path),
        Target::NonResource | Target::UnknownMethod => Status::forbidden_path(&format!(
            "User {:?} cannot {} path {:?}",
            who.user,
            method.as_str().to_ascii_lowercase(),
            info.path
        )),
    })
}

fn may_on_resource(who: &Identity, verb: Verb, path: &ResourcePath) -> bool {
    let resource = full_resource(path);
    who.is_in(MASTERS)
        || RULES.iter().any(|rule| {
            who.user == rule.subject
                && rule.verbs.contains(&verb)
                && rule.resources.iter().any(|named| *named == "*" || *named == resource)
        })
}

fn may_on_path(who: &Identity, method: &http::Method, path: &str) -> bool {
    let reads = matches!(*method, http::Method::GET | http::Method::HEAD);
    let below = |roots: &[&str]| {
        roots
            .iter()
            .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    who.is_in(MASTERS) || (reads && below(PUBLIC)) || (reads && who.is_in(AUTHENTICATED) && below(DISCOVERY))
}

fn refusal(who: &Identity, verb: Verb, path: &ResourcePath) -> Status {
    let place = match path.namespace.as_deref() {
        Some(namespace) if path.resource != "namespaces" => format!("in the namespace {namespace:?}"),
        _ => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User {:?} cannot {} resource {:?} in API group {:?} {place}",
        who.user,
        verb.as_str(),
        full_resource(path),
        path.group
    );
    Status::forbidden(&path.group, &path.resource, path.name.as_deref().unwrap_or_default(), &why)
}

fn full_resource(path: &ResourcePath) -> String {
    match &path.subresource {
        Some(subresource) => format!("{}/{subresource}", path.resource),
        None => path.resource.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(who: &Identity, method: &str, uri: &str, expected: Expect) {
        let method: http::Method = method.parse().unwrap();
        let info = RequestInfo::parse(&method, &uri.parse().unwrap());
        let answer = match authorize(who, &method, &info) {
            Ok(()) => "allowed".to_owned(),
            Err(status) => format!("{} {}", status.code().as_u16(), status.message()),
        };
        expected.assert_eq(&answer);
    }

    #[test]
    fn the_table_decides() {
        let admin = Identity::known("admin", &[MASTERS]);
        let bob = Identity::known("bob", &[]);
        let gateway = Identity::component("system:navarch:gateway");
        let node = Identity::known("system:node:n1", &["system:nodes"]);
        let nobody = Identity::anonymous();
        check(&admin, "DELETE", "/api/v1/nodes", expect!["allowed"]);
        check(&admin, "GET", "/metrics", expect!["allowed"]);
        check(&bob, "GET", "/apis/apps/v1", expect!["allowed"]);
        check(&bob, "GET", "/metrics", expect![[r#"403 forbidden: User "bob" cannot get path "/metrics""#]]);
        check(
            &bob,
            "GET",
            "/api/v1/namespaces/default/configmaps",
            expect![[
                r#"403 configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" in the namespace "default""#
            ]],
        );
        check(
            &bob,
            "GET",
            "/apis/apps/v1/namespaces/a/deployments/d",
            expect![[
                r#"403 deployments.apps "d" is forbidden: User "bob" cannot get resource "deployments" in API group "apps" in the namespace "a""#
            ]],
        );
        check(&gateway, "PATCH", "/api/v1/namespaces/a/pods/p/status", expect!["allowed"]);
        check(
            &node,
            "POST",
            "/api/v1/nodes/n/proxy",
            expect![[
                r#"403 nodes "n" is forbidden: User "system:node:n1" cannot create resource "nodes/proxy" in API group "" at the cluster scope"#
            ]],
        );
        check(&nobody, "GET", "/readyz/ping", expect!["allowed"]);
        check(&nobody, "GET", "/api/v1/pods", expect!["401 Unauthorized"]);
        check(&nobody, "GET", "/api", expect!["401 Unauthorized"]);
    }
}
