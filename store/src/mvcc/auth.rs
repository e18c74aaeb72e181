//! Users, roles and what they may do: state like any other, changed only by entries of the log.
//!
//! Rows hold the records, memory holds them too, with each user's permissions merged into intervals. Passwords
//! arrive as hashes and keys for tokens as given bytes: nothing here hashes, signs or throws dice.

pub(crate) mod change;
pub(crate) mod permit;
pub(crate) mod ranges;
pub(crate) mod refusal;
pub(crate) mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::ranges::Ranges;
use super::span::Span;
use super::tables::{TableError, View};

/// The user that must exist while auth is on, and the role that may do everything.
pub(crate) const ROOT: &str = "root";
/// etcd's auth store begins here.
const FIRST_REVISION: u64 = 1;

/// Everything about users, as of one entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Auth {
    pub(super) enabled: bool,
    /// Counts changes, as etcd does: turning auth on is none.
    pub(super) revision: u64,
    /// Signs tokens. Made anew each time auth is turned on.
    pub(super) token_key: Bytes,
    pub(super) users: BTreeMap<String, Arc<User>>,
    pub(super) roles: BTreeMap<String, Arc<Role>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// A bcrypt hash; `None`: only a certificate proves this user.
    pub(crate) password: Option<String>,
    /// The auth revision that made this user, or changed the password: what was proved before proves nothing now.
    pub(crate) since: u64,
    pub(crate) roles: BTreeSet<String>,
    /// Follows from the roles.
    pub(crate) allowed: Allowed,
}

/// Permissions in the order of their spans, one for each span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) permissions: BTreeMap<Span, Access>,
}

/// What a role may do with the keys of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permission {
    pub(crate) span: Span,
    pub(crate) access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    Read,
    Write,
    ReadWrite,
}

/// All permissions of one user, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The user has the root role.
    pub(crate) everything: bool,
    pub(crate) read: Ranges,
    pub(crate) write: Ranges,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: FIRST_REVISION,
            token_key: Bytes::new(),
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl Auth {
    pub(crate) fn load(view: &dyn View) -> Result<Self, TableError> {
        let mut auth = rows::load(view)?;
        for name in auth.users.keys().cloned().collect::<Vec<_>>() {
            auth.merge(&name);
        }
        Ok(auth)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.enabled
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn token_key(&self) -> &Bytes {
        &self.token_key
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|user| &**user)
    }

    pub(crate) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(|role| &**role)
    }

    pub(crate) fn user_names(&self) -> impl Iterator<Item = &String> {
        self.users.keys()
    }

    pub(crate) fn role_names(&self) -> impl Iterator<Item = &String> {
        self.roles.keys()
    }

    #[cfg(test)]
    pub(crate) fn on(token_key: Bytes, revision: u64, users: BTreeMap<String, Arc<User>>) -> Self {
        Self { enabled: true, revision, token_key, users, ..Self::default() }
    }

    /// Works out anew what a user may do. A role that does not exist grants nothing.
    fn merge(&mut self, name: &str) {
        let Some(user) = self.users.get_mut(name) else { return };
        let user = Arc::make_mut(user);
        let mut allowed = Allowed { everything: user.roles.contains(ROOT), ..Allowed::default() };
        for role in user.roles.iter().filter_map(|role| self.roles.get(role)) {
            for (span, access) in &role.permissions {
                if matches!(access, Access::Read | Access::ReadWrite) {
                    allowed.read.add(span);
                }
                if matches!(access, Access::Write | Access::ReadWrite) {
                    allowed.write.add(span);
                }
            }
        }
        user.allowed = allowed;
    }
}

#[cfg(test)]
mod tests;
