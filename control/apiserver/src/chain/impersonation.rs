//! Acting as somebody else: the `Impersonate-*` headers, each of which the sender must be allowed to use.
//!
//! The verb is `impersonate`, on users, groups, service accounts, uids and extras, as in Kubernetes.

use http::HeaderMap;

use super::authn::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use super::authz::{Asked, Attributes, Authorizer, Resource};
use crate::request::percent_decode;
use crate::status::Status;

const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// The user that is wanted, if `who` may act as them; without one, `who`.
pub(crate) async fn impersonated(
    authorizer: &Authorizer,
    who: Identity,
    wanted: Option<Identity>,
) -> Result<Identity, Status> {
    let Some(wanted) = wanted else { return Ok(who) };
    for resource in resources(&wanted) {
        let asked = Attributes { verb: "impersonate", asked: Asked::Resource(resource) };
        authorizer.authorize(&who, &asked).await?;
    }
    Ok(completed(wanted))
}

/// What the headers say, and nothing more.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<Identity>, Status> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
    };
    let first = |name: &str| texts(name).into_iter().next().unwrap_or_default();
    let mut wanted = Identity {
        user: first("impersonate-user"),
        uid: first("impersonate-uid"),
        groups: texts("impersonate-group"),
        ..Identity::default()
    };
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            wanted.extra.insert(percent_decode(key), texts(name.as_str()));
        }
    }
    match wanted == Identity::default() {
        true => Ok(None),
        false if wanted.user.is_empty() => {
            Err(Status::bad_request("requested groups without impersonating a user"))
        }
        false => Ok(Some(wanted)),
    }
}

/// What has to be allowed.
fn resources(wanted: &Identity) -> Vec<Resource<'_>> {
    let user = match service_account(&wanted.user) {
        Some((namespace, name)) => {
            Resource { resource: "serviceaccounts", namespace, name, ..Resource::default() }
        }
        None => Resource { resource: "users", name: &wanted.user, ..Resource::default() },
    };
    let groups =
        wanted.groups.iter().map(|name| Resource { resource: "groups", name, ..Resource::default() });
    let extras = wanted.extra.iter().flat_map(|(key, values)| {
        values.iter().map(move |name| Resource {
            group: AUTHENTICATION_GROUP,
            resource: "userextras",
            subresource: key,
            name,
            ..Resource::default()
        })
    });
    let uid = (!wanted.uid.is_empty()).then_some(Resource {
        group: AUTHENTICATION_GROUP,
        resource: "uids",
        name: &wanted.uid,
        ..Resource::default()
    });
    [user].into_iter().chain(groups).chain(extras).chain(uid).collect()
}

/// With the groups that everybody of the user's sort is in.
fn completed(mut wanted: Identity) -> Identity {
    if let Some((namespace, _)) = service_account(&wanted.user)
        && wanted.groups.is_empty()
    {
        wanted.groups =
            vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let everybody = if wanted.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !wanted.is_in(AUTHENTICATED) && !wanted.is_in(UNAUTHENTICATED) {
        wanted.groups.push(everybody.to_owned());
    }
    wanted
}

/// Namespace and name in `system:serviceaccount:<namespace>:<name>`.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
