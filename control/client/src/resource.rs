//! Where a kind lives: group, version, plural, scope, and the paths that follow from them.

use std::any::TypeId;
use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;

use crate::object::{Object, ObjectKey};

/// A served resource, known at compile time or discovered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiResource {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub namespaced: bool,
}

impl ApiResource {
    pub fn of<K: Object>() -> Self {
        Self {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            kind: K::KIND.into(),
            plural: K::URL_PATH_SEGMENT.into(),
            namespaced: TypeId::of::<K::Scope>() == TypeId::of::<NamespaceResourceScope>(),
        }
    }

    /// `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// All objects of one namespace, or of all when `namespace` is empty.
    pub(crate) fn collection_path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/namespaces/{}/{}", escape(namespace), self.plural)
        } else {
            format!("{root}/{}", self.plural)
        }
    }

    pub(crate) fn object_path(&self, key: &ObjectKey) -> String {
        format!("{}/{}", self.collection_path(&key.namespace), escape(&key.name))
    }
}

/// Percent-encodes what is not unreserved (RFC 3986), so that text fits a path segment or a query value.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{Node, Pod};

    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        let web = ObjectKey::namespaced("default", "web");
        assert_eq!(
            ApiResource::of::<Deployment>().object_path(&web),
            "/apis/apps/v1/namespaces/default/deployments/web"
        );
        assert_eq!(ApiResource::of::<Pod>().collection_path(""), "/api/v1/pods");
        assert_eq!(ApiResource::of::<Node>().object_path(&ObjectKey::cluster("a b")), "/api/v1/nodes/a%20b");
    }
}
