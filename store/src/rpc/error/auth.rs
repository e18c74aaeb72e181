//! Refusals about users and permissions, in etcd's words.

use tonic::{Code, Status};

use crate::error::AuthError;

pub(in crate::rpc) fn status(error: AuthError) -> Status {
    let (code, text) = match error {
        AuthError::NoRootUser => (Code::FailedPrecondition, "etcdserver: root user does not exist"),
        AuthError::NoRootRole => (Code::FailedPrecondition, "etcdserver: root user does not have root role"),
        AuthError::UserExists => (Code::FailedPrecondition, "etcdserver: user name already exists"),
        AuthError::UserEmpty => (Code::InvalidArgument, "etcdserver: user name is empty"),
        AuthError::UserNotFound => (Code::FailedPrecondition, "etcdserver: user name not found"),
        AuthError::RoleExists => (Code::FailedPrecondition, "etcdserver: role name already exists"),
        AuthError::RoleEmpty => (Code::InvalidArgument, "etcdserver: role name is empty"),
        AuthError::RoleNotFound => (Code::FailedPrecondition, "etcdserver: role name not found"),
        AuthError::Failed => {
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password")
        }
        // etcd has no status for these two, and hands on what its libraries say.
        AuthError::NoPassword => {
            (Code::Unknown, "auth: authentication failed, password was given for no password user")
        }
        AuthError::PasswordTooLong => (Code::Unknown, "bcrypt: password length exceeds 72 bytes"),
        AuthError::PermissionNotGiven => (Code::InvalidArgument, "etcdserver: permission not given"),
        AuthError::PermissionDenied => (Code::PermissionDenied, "etcdserver: permission denied"),
        AuthError::RoleNotGranted => {
            (Code::FailedPrecondition, "etcdserver: role is not granted to the user")
        }
        AuthError::PermissionNotGranted => {
            (Code::FailedPrecondition, "etcdserver: permission is not granted to the role")
        }
        AuthError::NotEnabled => (Code::FailedPrecondition, "etcdserver: authentication is not enabled"),
        AuthError::InvalidToken => (Code::Unauthenticated, "etcdserver: invalid auth token"),
        AuthError::InvalidManagement => (Code::InvalidArgument, "etcdserver: invalid auth management"),
        AuthError::OldRevision => (Code::InvalidArgument, "etcdserver: revision of auth store is old"),
    };
    Status::new(code, text)
}
