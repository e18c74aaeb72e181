//! Who sends a request: the client certificate's subject, the owner of a token, or nobody.

use std::collections::BTreeMap;

use x509_parser::prelude::{FromDer, X509Certificate};

pub use bearer::Authentication;
pub(crate) use bearer::{Authenticator, Refusal};
pub use static_tokens::{StaticTokens, StaticTokensError};

mod bearer;
mod bootstrap_token;
mod static_tokens;

pub(crate) const ANONYMOUS: &str = "system:anonymous";
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
pub(crate) const MASTERS: &str = "system:masters";
const NODES: &str = "system:nodes";

/// A user, as authorization and messages see one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub groups: Vec<String>,
    pub uid: String,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// Somebody who is known by `user`.
    pub fn known(user: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// A component of this program that calls the API in process.
    pub fn component(user: impl Into<String>) -> Self {
        Self::known(user, &[])
    }

    /// Nobody: no certificate was shown.
    pub fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// The subject of a verified client certificate: its common name is the user, its organizations the groups.
    pub fn of_certificate(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::anonymous() };
        let subject = certificate.subject();
        let user = subject.iter_common_name().find_map(|name| name.as_str().ok());
        let groups: Vec<&str> = subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
        match user {
            Some(user) if !user.is_empty() => Self::known(user, &groups),
            _ => Self::anonymous(),
        }
    }

    pub fn is_anonymous(&self) -> bool {
        !self.is_in(AUTHENTICATED)
    }

    /// The name of the node that this is; nothing if it is none.
    pub(crate) fn node(&self) -> Option<&str> {
        self.user.strip_prefix("system:node:").filter(|_| self.is_in(NODES))
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member_of| member_of == group)
    }
}
