//! The store's users, roles, alarms, and whether it asks who calls: changed one at a time, and told in full.

use std::time::Duration;

use proto::authpb::{Permission, UserAddOptions, permission};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::{Target, outcome};
use crate::history::{Heard, Op, Put};

/// The name that the harness's own certificate gives.
pub const OWN_USER: &str = "etcd-client";
/// Whoever has this role may do everything, and auth cannot be turned on without a user of this name.
pub const ROOT: &str = "root";

/// One change. Each is of something that is there or not, afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    User {
        name: String,
        exists: bool,
    },
    Role {
        name: String,
        exists: bool,
    },
    /// A user has a role.
    Has {
        user: String,
        role: String,
        exists: bool,
    },
    /// A role may read and write from this key to the next.
    May {
        role: String,
        key: String,
        exists: bool,
    },
    /// Callers must say who they are.
    Auth {
        exists: bool,
    },
    /// No space is left.
    Alarm {
        exists: bool,
    },
}

impl Change {
    /// What it is about, in the words in which all that there is, is told.
    pub fn subject(&self) -> (String, bool) {
        match self {
            Self::User { name, exists } => (format!("user {name}"), *exists),
            Self::Role { name, exists } => (format!("role {name}"), *exists),
            Self::Has { user, role, exists } => (format!("user {user} has role {role}"), *exists),
            Self::May { role, key, exists } => (format!("role {role} may {key}"), *exists),
            Self::Auth { exists } => ("auth".to_owned(), *exists),
            Self::Alarm { exists } => ("alarm".to_owned(), *exists),
        }
    }

    /// Asks for it, once.
    pub async fn ask(&self, target: &Target, deadline: Duration) -> Heard {
        match tokio::time::timeout(deadline, self.call(target.connect())).await {
            Ok(Ok(())) => Heard::Yes,
            Ok(Err(status)) => heard(&status),
            Err(_) => Heard::Nothing,
        }
    }

    async fn call(&self, channel: Channel) -> Result<(), Status> {
        let mut auth = AuthClient::new(channel.clone());
        match self.clone() {
            Self::User { name, exists: true } => {
                let options = Some(UserAddOptions { no_password: true });
                auth.user_add(pb::AuthUserAddRequest { name, options, ..Default::default() }).await.map(drop)
            }
            Self::User { name, exists: false } => {
                auth.user_delete(pb::AuthUserDeleteRequest { name }).await.map(drop)
            }
            Self::Role { name, exists: true } => {
                auth.role_add(pb::AuthRoleAddRequest { name }).await.map(drop)
            }
            Self::Role { name: role, exists: false } => {
                auth.role_delete(pb::AuthRoleDeleteRequest { role }).await.map(drop)
            }
            Self::Has { user, role, exists: true } => {
                auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.map(drop)
            }
            Self::Has { user: name, role, exists: false } => {
                auth.user_revoke_role(pb::AuthUserRevokeRoleRequest { name, role }).await.map(drop)
            }
            Self::May { role, key, exists: true } => {
                let perm_type = permission::Type::Readwrite.into();
                let perm = Some(Permission { perm_type, key: key.into(), ..Permission::default() });
                let grant = pb::AuthRoleGrantPermissionRequest { name: role, perm };
                auth.role_grant_permission(grant).await.map(drop)
            }
            Self::May { role, key, exists: false } => {
                let revoke =
                    pb::AuthRoleRevokePermissionRequest { role, key: key.into(), ..Default::default() };
                auth.role_revoke_permission(revoke).await.map(drop)
            }
            Self::Auth { exists: true } => auth.auth_enable(pb::AuthEnableRequest {}).await.map(drop),
            Self::Auth { exists: false } => auth.auth_disable(pb::AuthDisableRequest {}).await.map(drop),
            Self::Alarm { exists } => {
                use pb::alarm_request::AlarmAction;
                let action = if exists { AlarmAction::Activate } else { AlarmAction::Deactivate };
                let alarm = pb::AlarmRequest {
                    action: action.into(),
                    alarm: pb::AlarmType::Nospace.into(),
                    ..Default::default()
                };
                MaintenanceClient::new(channel).alarm(alarm).await.map(drop)
            }
        }
    }
}

/// Everything that a member says there is, in order.
///
/// # Errors
/// When it does not say all of it.
pub async fn tell(target: &Target) -> Result<Vec<String>, Status> {
    let mut auth = AuthClient::new(target.connect());
    let mut told = Vec::new();
    let status = auth.auth_status(pb::AuthStatusRequest {}).await?.into_inner();
    told.extend(status.enabled.then(|| "auth".to_owned()));
    told.push(format!("auth revision {}", status.auth_revision));
    for name in auth.user_list(pb::AuthUserListRequest {}).await?.into_inner().users {
        let asked = pb::AuthUserGetRequest { name: name.clone() };
        let roles = auth.user_get(asked).await?.into_inner().roles;
        told.extend(roles.into_iter().map(|role| format!("user {name} has role {role}")));
        told.push(format!("user {name}"));
    }
    for role in auth.role_list(pb::AuthRoleListRequest {}).await?.into_inner().roles {
        let asked = pb::AuthRoleGetRequest { role: role.clone() };
        let permissions = auth.role_get(asked).await?.into_inner().perm;
        let one = |may: Permission| format!("role {role} may {}", String::from_utf8_lossy(&may.key));
        told.extend(permissions.into_iter().map(one));
        told.push(format!("role {role}"));
    }
    let alarms = MaintenanceClient::new(target.connect()).alarm(pb::AlarmRequest::default()).await?;
    let alarms = alarms.into_inner().alarms;
    told.extend((!alarms.is_empty()).then(|| "alarm".to_owned()));
    told.extend(alarms.iter().map(|alarm| format!("alarm {} of {}", alarm.alarm, alarm.member_id)));
    told.sort();
    told.dedup();
    Ok(told)
}

/// As of any write.
fn heard(status: &Status) -> Heard {
    let write = Op::Put(Put { key: String::new(), value: String::new(), lease: 0, previous: false });
    match outcome::of_status(&write, status) {
        crate::history::Outcome::Refused(_) => Heard::Refusal,
        crate::history::Outcome::Ok { .. } | crate::history::Outcome::Unknown(_) => Heard::Nothing,
    }
}
