//! Changes of users and roles, with etcd's rules about what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::refusal::AuthError;
use super::{Access, Auth, Permission, ROOT, Role, User, rows};
use crate::mvcc::overlay::Overlay;
use crate::mvcc::span::{End, Span};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AuthChange {
    /// The key signs the tokens from now on; ignored when auth is on already.
    Enable {
        token_key: Bytes,
    },
    Disable,
    UserAdd {
        name: String,
        /// A bcrypt hash; `None`: the user proves itself by a certificate only.
        password: Option<String>,
    },
    UserDelete {
        name: String,
    },
    UserPassword {
        name: String,
        password: String,
    },
    UserGrant {
        name: String,
        role: String,
    },
    UserRevoke {
        name: String,
        role: String,
    },
    RoleAdd {
        name: String,
    },
    RoleDelete {
        name: String,
    },
    RoleGrant {
        name: String,
        permission: Permission,
    },
    RoleRevoke {
        name: String,
        span: Span,
    },
}

impl Auth {
    /// Applies a change to the rows and to this. A refusal leaves both as they were.
    pub(crate) fn apply(&mut self, rows: &mut Overlay<'_>, change: &AuthChange) -> Result<(), AuthError> {
        match change {
            AuthChange::Enable { token_key } => self.enable(token_key)?,
            AuthChange::Disable => {
                if self.enabled {
                    self.enabled = false;
                    self.token_key = Bytes::new();
                    self.revision += 1;
                }
            }
            AuthChange::UserAdd { name, password } => self.user_add(rows, name, password.as_ref())?,
            AuthChange::UserDelete { name } => self.user_delete(rows, name)?,
            AuthChange::UserPassword { name, password } => self.user_password(rows, name, password)?,
            AuthChange::UserGrant { name, role } => self.user_grant(rows, name, role)?,
            AuthChange::UserRevoke { name, role } => self.user_revoke(rows, name, role)?,
            AuthChange::RoleAdd { name } => self.role_add(rows, name)?,
            AuthChange::RoleDelete { name } => self.role_delete(rows, name)?,
            AuthChange::RoleGrant { name, permission } => self.role_grant(rows, name, permission)?,
            AuthChange::RoleRevoke { name, span } => self.role_revoke(rows, name, span)?,
        }
        rows::put_settings(rows, self);
        Ok(())
    }

    fn enable(&mut self, token_key: &Bytes) -> Result<(), AuthError> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(AuthError::NoRootUser)?;
        if !root.roles.contains(ROOT) {
            return Err(AuthError::NoRootRole);
        }
        self.enabled = true;
        self.token_key = token_key.clone();
        Ok(())
    }

    fn user_add(
        &mut self,
        rows: &mut Overlay<'_>,
        name: &str,
        password: Option<&String>,
    ) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(AuthError::UserExists);
        }
        self.revision += 1;
        let user = User { password: password.cloned(), since: self.revision, ..User::default() };
        self.put_user(rows, name, user);
        Ok(())
    }

    fn user_delete(&mut self, rows: &mut Overlay<'_>, name: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.users.remove(name).ok_or(AuthError::UserNotFound)?;
        self.revision += 1;
        rows::delete_user(rows, name);
        Ok(())
    }

    /// A user without a password stays one.
    fn user_password(&mut self, rows: &mut Overlay<'_>, name: &str, password: &str) -> Result<(), AuthError> {
        let mut user = self.user_named(name)?;
        self.revision += 1;
        user.since = self.revision;
        user.password = user.password.map(|_| password.to_owned());
        self.put_user(rows, name, user);
        Ok(())
    }

    /// The role root need not exist to be granted. Granting again changes nothing.
    fn user_grant(&mut self, rows: &mut Overlay<'_>, name: &str, role: &str) -> Result<(), AuthError> {
        let mut user = self.user_named(name)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(AuthError::RoleNotFound);
        }
        if user.roles.insert(role.to_owned()) {
            self.revision += 1;
            self.put_user(rows, name, user);
        }
        Ok(())
    }

    fn user_revoke(&mut self, rows: &mut Overlay<'_>, name: &str, role: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        let mut user = self.user_named(name)?;
        if !user.roles.remove(role) {
            return Err(AuthError::RoleNotGranted);
        }
        self.revision += 1;
        self.put_user(rows, name, user);
        Ok(())
    }

    fn role_add(&mut self, rows: &mut Overlay<'_>, name: &str) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleExists);
        }
        self.revision += 1;
        // A user may have it already: root can be granted before it exists.
        self.put_role(rows, name, Role::default());
        Ok(())
    }

    /// The role goes from every user that has it.
    fn role_delete(&mut self, rows: &mut Overlay<'_>, name: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        self.revision += 1;
        rows::delete_role(rows, name);
        for holder in self.holders(name) {
            let mut user = self.user_named(&holder)?;
            user.roles.remove(name);
            self.put_user(rows, &holder, user);
        }
        Ok(())
    }

    /// A permission for the same span replaces the earlier one.
    fn role_grant(
        &mut self,
        rows: &mut Overlay<'_>,
        name: &str,
        permission: &Permission,
    ) -> Result<(), AuthError> {
        let Permission { span, access } = permission;
        let sound = match &span.end {
            End::Single | End::Unbounded => true,
            End::Before(end) => span.start < *end,
        };
        if span.start.is_empty() || !sound {
            return Err(AuthError::InvalidManagement);
        }
        self.change_permissions(rows, name, |permissions| {
            permissions.insert(span.clone(), *access);
            Ok(())
        })
    }

    fn role_revoke(&mut self, rows: &mut Overlay<'_>, name: &str, span: &Span) -> Result<(), AuthError> {
        self.change_permissions(rows, name, |permissions| {
            permissions.remove(span).map(drop).ok_or(AuthError::PermissionNotGranted)
        })
    }

    fn change_permissions(
        &mut self,
        rows: &mut Overlay<'_>,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<Span, Access>) -> Result<(), AuthError>,
    ) -> Result<(), AuthError> {
        let role = self.roles.get(name).ok_or(AuthError::RoleNotFound)?;
        let mut role = Role::clone(role);
        change(&mut role.permissions)?;
        self.revision += 1;
        self.put_role(rows, name, role);
        Ok(())
    }

    fn user_named(&self, name: &str) -> Result<User, AuthError> {
        self.users.get(name).map(|user| User::clone(user)).ok_or(AuthError::UserNotFound)
    }

    fn holders(&self, role: &str) -> Vec<String> {
        let holds = self.users.iter().filter(|(_, user)| user.roles.contains(role));
        holds.map(|(name, _)| name.clone()).collect()
    }

    fn put_user(&mut self, rows: &mut Overlay<'_>, name: &str, user: User) {
        rows::put_user(rows, name, &user);
        self.users.insert(name.to_owned(), Arc::new(user));
        self.merge(name);
    }

    fn put_role(&mut self, rows: &mut Overlay<'_>, name: &str, role: Role) {
        rows::put_role(rows, name, &role);
        self.roles.insert(name.to_owned(), Arc::new(role));
        for holder in self.holders(name) {
            self.merge(&holder);
        }
    }
}
