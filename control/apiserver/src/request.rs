//! What a request asks for, read from its method and path: `/api/v1/…` and `/apis/<group>/<version>/…`.
//!
//! Pure. It does not know which kinds exist: an unknown resource is refused later.

use std::net::IpAddr;

use http::Method;
use kinds::Verb;

/// A path below a group and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows the subresource, as in `proxy/a/b`.
    pub(crate) rest: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Resource {
        verb: Verb,
        path: ResourcePath,
    },
    /// Discovery, health, metrics, documents, and whatever does not exist.
    NonResource,
    /// A method that no resource answers.
    UnknownMethod,
}

/// From where a request came, as its connection says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// A parsed request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) target: Target,
}

impl RequestInfo {
    pub(crate) fn parse(method: &Method, uri: &http::Uri) -> Self {
        let query = Query::parse(uri.query().unwrap_or_default());
        let path = uri.path().to_owned();
        let target = match resource_path(&path) {
            None => Target::NonResource,
            Some((resource, watch_prefix)) => {
                let watching = watch_prefix || query.flag("watch");
                match verb_of(method, &resource, watching) {
                    Some(verb) => Target::Resource { verb, path: resource },
                    None => Target::UnknownMethod,
                }
            }
        };
        Self { path, query, target }
    }
}

fn verb_of(method: &Method, path: &ResourcePath, watching: bool) -> Option<Verb> {
    let named = path.name.is_some();
    Some(match *method {
        Method::GET | Method::HEAD if watching && path.subresource.is_none() => Verb::Watch,
        Method::GET | Method::HEAD if named => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return None,
    })
}

/// The resource that `path` names, and whether the old `/watch/` prefix was there.
fn resource_path(path: &str) -> Option<(ResourcePath, bool)> {
    let mut segments = path.trim_matches('/').split('/').map(percent_decode);
    let mut found = ResourcePath::default();
    match segments.next()?.as_str() {
        "api" => {}
        "apis" => found.group = segments.next().filter(|s| !s.is_empty())?,
        _ => return None,
    }
    found.version = segments.next().filter(|s| !s.is_empty())?;
    let mut segments = segments.peekable();
    let watch_prefix = segments.next_if(|s| s == "watch").is_some();
    let first = segments.next().filter(|s| !s.is_empty())?;
    if first == "namespaces" {
        let Some(namespace) = segments.next() else {
            found.resource = first;
            return Some((found, watch_prefix));
        };
        match segments.next() {
            // The namespace itself, or one of its own subresources.
            None => (found.resource, found.name) = (first, Some(namespace.clone())),
            Some(own) if own == "status" || own == "finalize" => {
                (found.resource, found.name, found.subresource) = (first, Some(namespace.clone()), Some(own));
            }
            Some(resource) => (found.resource, found.name) = (resource, segments.next()),
        }
        found.namespace = Some(namespace);
    } else {
        (found.resource, found.name) = (first, segments.next());
    }
    if found.subresource.is_none() {
        found.subresource = segments.next();
    }
    let rest: Vec<String> = segments.collect();
    found.rest = (!rest.is_empty()).then(|| rest.join("/"));
    Some((found, watch_prefix))
}

/// The query of a URL: `key=value` pairs, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(key), form_decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of `key`; empty when absent.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.find(key).unwrap_or_default()
    }

    pub(crate) fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All but `key`.
    pub(crate) fn without(&self, key: &str) -> Self {
        Self(self.0.iter().filter(|(k, _)| k != key).cloned().collect())
    }

    /// A boolean as Kubernetes reads it: present and neither `false` nor `0`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Decodes `%41`; what is not valid stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(method: &str, uri: &str, expected: Expect) {
        let method: Method = method.parse().unwrap();
        let info = RequestInfo::parse(&method, &uri.parse().unwrap());
        let shown = match info.target {
            Target::NonResource => "non-resource".to_owned(),
            Target::UnknownMethod => "unknown method".to_owned(),
            Target::Resource { verb, path } => format!(
                "{} {}/{} ns={} {} {} {}",
                verb.as_str(),
                path.group,
                path.version,
                path.namespace.unwrap_or_default(),
                path.resource,
                path.name.unwrap_or_default(),
                path.subresource.unwrap_or_default()
            )
            .trim_end()
            .to_owned(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn paths_and_methods_become_targets() {
        check("GET", "/api/v1/namespaces/default/pods", expect!["list /v1 ns=default pods"]);
        check("GET", "/api/v1/pods?watch=true", expect!["watch /v1 ns= pods"]);
        check("GET", "/api/v1/pods?watch=0", expect!["list /v1 ns= pods"]);
        check("GET", "/api/v1/watch/namespaces/a/pods", expect!["watch /v1 ns=a pods"]);
        check("GET", "/api/v1/namespaces/a", expect!["get /v1 ns=a namespaces a"]);
        check("PUT", "/api/v1/namespaces/a/finalize", expect!["update /v1 ns=a namespaces a finalize"]);
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            expect!["patch apps/v1 ns=a deployments d scale"],
        );
        check("DELETE", "/api/v1/nodes/n%2e1", expect!["delete /v1 ns= nodes n.1"]);
        check("DELETE", "/api/v1/nodes", expect!["deletecollection /v1 ns= nodes"]);
        check("GET", "/apis/apps/v1", expect!["non-resource"]);
        check("GET", "/apis", expect!["non-resource"]);
        check("GET", "/healthz", expect!["non-resource"]);
        check("OPTIONS", "/api/v1/pods", expect!["unknown method"]);
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&x=1+2&watch&follow=False");
        assert_eq!(query.get("labelSelector"), "a=b,c");
        assert_eq!(query.get("x"), "1 2");
        assert!(query.flag("watch"));
        assert!(!query.flag("follow"));
        assert!(!query.flag("absent"));
    }
}
