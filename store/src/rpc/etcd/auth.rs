//! The Auth service: users, roles, permissions, and tokens for passwords.

pub(super) mod guard;

use proto::authpb;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::super::error;
use super::{Front, convert};
use crate::StoreError;
use crate::error::AuthError;
use crate::mvcc::auth::change::AuthChange;
use crate::mvcc::auth::{Access, Permission};
use crate::mvcc::span::{End, Span};

fn refused(refusal: StoreError) -> Status {
    error::status(&refusal)
}

impl Front {
    async fn change<T>(&self, request: Request<T>, to: impl FnOnce(T) -> AuthChange) -> Result<(), Status> {
        let store = self.store_of(&request);
        store.change_auth(to(request.into_inner())).await.map_err(refused)
    }
}

#[tonic::async_trait]
impl Auth for Front {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        self.store_of(&request).auth_enable().await.map_err(refused)?;
        Ok(Response::new(pb::AuthEnableResponse { header: Some(self.header_now()) }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        self.change(request, |_| AuthChange::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header: Some(self.header_now()) }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let (enabled, auth_revision) = self.store_of(&request).auth_status().await.map_err(refused)?;
        Ok(Response::new(pb::AuthStatusResponse { header: Some(self.header_now()), enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let token = self.store.authenticate(&name, password).await.map_err(refused)?;
        Ok(Response::new(pb::AuthenticateResponse { header: Some(self.header_now()), token }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let store = self.store_of(&request);
        let pb::AuthUserAddRequest { name, password, options, hashed_password: _ } = request.into_inner();
        let has_password = !options.is_some_and(|options| options.no_password);
        store.user_add(name, has_password.then_some(password)).await.map_err(refused)?;
        Ok(Response::new(pb::AuthUserAddResponse { header: Some(self.header_now()) }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let roles = self.store_of(&request).user_get(&request.get_ref().name).await.map_err(refused)?;
        Ok(Response::new(pb::AuthUserGetResponse { header: Some(self.header_now()), roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let users = self.store_of(&request).user_list().await.map_err(refused)?;
        Ok(Response::new(pb::AuthUserListResponse { header: Some(self.header_now()), users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        self.change(request, |asked| AuthChange::UserDelete { name: asked.name }).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header: Some(self.header_now()) }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let store = self.store_of(&request);
        let pb::AuthUserChangePasswordRequest { name, password, hashed_password: _ } = request.into_inner();
        store.user_password(name, password).await.map_err(refused)?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header: Some(self.header_now()) }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let grant = |asked: pb::AuthUserGrantRoleRequest| AuthChange::UserGrant {
            name: asked.user,
            role: asked.role,
        };
        self.change(request, grant).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header: Some(self.header_now()) }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let revoke = |asked: pb::AuthUserRevokeRoleRequest| AuthChange::UserRevoke {
            name: asked.name,
            role: asked.role,
        };
        self.change(request, revoke).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header: Some(self.header_now()) }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        self.change(request, |asked| AuthChange::RoleAdd { name: asked.name }).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header: Some(self.header_now()) }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let permissions = self.store_of(&request).role_get(&request.get_ref().role).await.map_err(refused)?;
        let perm = permissions.into_iter().map(|(span, access)| permission_message(span, access)).collect();
        Ok(Response::new(pb::AuthRoleGetResponse { header: Some(self.header_now()), perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let roles = self.store_of(&request).role_list().await.map_err(refused)?;
        Ok(Response::new(pb::AuthRoleListResponse { header: Some(self.header_now()), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        self.change(request, |asked| AuthChange::RoleDelete { name: asked.role }).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header: Some(self.header_now()) }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let store = self.store_of(&request);
        let pb::AuthRoleGrantPermissionRequest { name, perm } = request.into_inner();
        let asked = perm.ok_or(AuthError::PermissionNotGiven).map_err(error::auth::status)?;
        let permission = permission(asked).map_err(error::auth::status)?;
        store.change_auth(AuthChange::RoleGrant { name, permission }).await.map_err(refused)?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header: Some(self.header_now()) }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let revoke = |asked: pb::AuthRoleRevokePermissionRequest| AuthChange::RoleRevoke {
            name: asked.role,
            span: convert::span(asked.key, asked.range_end),
        };
        self.change(request, revoke).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header: Some(self.header_now()) }))
    }
}

fn permission(asked: authpb::Permission) -> Result<Permission, AuthError> {
    use authpb::permission::Type;
    let access = match Type::try_from(asked.perm_type).map_err(|_| AuthError::InvalidManagement)? {
        Type::Read => Access::Read,
        Type::Write => Access::Write,
        Type::Readwrite => Access::ReadWrite,
    };
    Ok(Permission { span: convert::span(asked.key, asked.range_end), access })
}

fn permission_message(span: Span, access: Access) -> authpb::Permission {
    use authpb::permission::Type;
    let perm_type = match access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    let range_end = match span.end {
        End::Single => bytes::Bytes::new(),
        End::Unbounded => bytes::Bytes::from_static(&[0]),
        End::Before(end) => end,
    };
    authpb::Permission { perm_type: perm_type.into(), key: span.start, range_end }
}
