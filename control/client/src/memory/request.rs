//! Reads what a request is about.

use std::collections::BTreeMap;

use http::Uri;

/// The object or collection that a path names.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// `apps/deployments`, or `/pods`.
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    pub(super) query: BTreeMap<String, String>,
}

/// The claim in a fence header.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub(super) namespace: String,
    pub(super) lease: String,
    pub(super) holder: String,
    pub(super) epoch: i64,
}

impl Target {
    pub(super) fn parse(uri: &Uri) -> Option<Self> {
        let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _version, rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let mut target = Self { query: query(uri.query().unwrap_or_default()), ..Self::default() };
        let rest = match rest {
            ["namespaces", namespace, plural, rest @ ..] if !["status", "finalize"].contains(plural) => {
                target.namespace = (*namespace).to_owned();
                target.resource = format!("{group}/{plural}");
                rest
            }
            [plural, rest @ ..] => {
                target.resource = format!("{group}/{plural}");
                rest
            }
            [] => return None,
        };
        target.name = rest.first().map(|name| (*name).to_owned());
        target.subresource = rest.get(1).map(|name| (*name).to_owned());
        Some(target)
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

pub(super) fn parse_fence(header: &str) -> Claim {
    let mut parts = header.split("; ");
    let (namespace, lease) = parts.next().and_then(|name| name.split_once('/')).unwrap_or_default();
    let mut claim = Claim { namespace: namespace.to_owned(), lease: lease.to_owned(), ..Claim::default() };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "holder" => value.clone_into(&mut claim.holder),
            "epoch" => claim.epoch = value.parse().unwrap_or(-1),
            _ => {}
        }
    }
    claim
}
