//! Why the users' part of the store refuses: etcd's list.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a caller, or a change of users and roles, is refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum AuthError {
    #[error("auth cannot be turned on: there is no user root")]
    NoRootUser,
    #[error("auth cannot be turned on: the user root does not have the role root")]
    NoRootRole,
    #[error("the user exists already")]
    UserExists,
    #[error("no user is named")]
    UserEmpty,
    #[error("the user does not exist")]
    UserNotFound,
    #[error("the role exists already")]
    RoleExists,
    #[error("no role is named")]
    RoleEmpty,
    #[error("the role does not exist")]
    RoleNotFound,
    #[error("the user or the password is wrong")]
    Failed,
    #[error("the user has no password, and proves itself by a certificate only")]
    NoPassword,
    #[error("the password has more than 72 bytes")]
    PasswordTooLong,
    #[error("no permission is given")]
    PermissionNotGiven,
    #[error("permission denied")]
    PermissionDenied,
    #[error("the user does not have the role")]
    RoleNotGranted,
    #[error("the role does not have the permission")]
    PermissionNotGranted,
    #[error("auth is not turned on")]
    NotEnabled,
    #[error("the token is not valid, or not any more")]
    InvalidToken,
    #[error(
        "users and roles must stay such that root can administer them, and a permission needs a sound span"
    )]
    InvalidManagement,
    #[error("the caller's password has changed, or the user was made anew, since the request was let in")]
    OldRevision,
}
