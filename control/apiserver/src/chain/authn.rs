//! Who sends a request: the client certificate's subject, or nobody; and whom an administrator impersonates.

use std::collections::BTreeMap;

use http::HeaderMap;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::status::Status;

const ANONYMOUS: &str = "system:anonymous";
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
pub(crate) const MASTERS: &str = "system:masters";

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

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member_of| member_of == group)
    }

    /// The user whom the `Impersonate-*` headers name; only administrators may.
    pub(crate) fn impersonated(self, headers: &HeaderMap) -> Result<Self, Status> {
        let texts = |name: &str| -> Vec<String> {
            headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
        };
        let mut groups = texts("impersonate-group");
        let Some(user) = texts("impersonate-user").into_iter().next() else {
            return match groups.is_empty() {
                true => Ok(self),
                false => Err(Status::bad_request("requested groups without impersonating a user")),
            };
        };
        if !self.is_in(MASTERS) {
            let why = format!(
                "User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
                self.user
            );
            return Err(Status::forbidden("", "users", &user, &why));
        }
        if user != ANONYMOUS && !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Ok(Self { user, groups, ..Self::default() })
    }
}
