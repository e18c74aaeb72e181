//! Around each service: finds out who calls, and keeps from root's calls everybody else.
//!
//! While auth is off a call passes untouched. What a user may do with keys is not decided here but in the store, which
//! sees them.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either};
use tonic::Request;
use tonic::body::Body;
use tonic::codegen::http::request::Parts;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use super::super::super::client::Client;
use super::super::super::error;
use super::super::Front;
use crate::Store;
use crate::error::AuthError;
use crate::store::caller::{Caller, Proof};

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Everybody; who calls is not even looked at.
    All,
    /// Everybody, but what is asked for is checked in the store, against the caller's permissions.
    Checked,
    /// Whoever has said who it is.
    Named,
    /// Who has the root role.
    Root,
}

/// Every call, as etcd 3.7 has it. What is not here only root may call.
const CALLS: &[(&str, For)] = &[
    ("/etcdserverpb.Auth/AuthDisable", For::Checked),
    ("/etcdserverpb.Auth/AuthEnable", For::Checked),
    ("/etcdserverpb.Auth/AuthStatus", For::Checked),
    ("/etcdserverpb.Auth/Authenticate", For::All),
    ("/etcdserverpb.Auth/RoleAdd", For::Checked),
    ("/etcdserverpb.Auth/RoleDelete", For::Checked),
    ("/etcdserverpb.Auth/RoleGet", For::Checked),
    ("/etcdserverpb.Auth/RoleGrantPermission", For::Checked),
    ("/etcdserverpb.Auth/RoleList", For::Checked),
    ("/etcdserverpb.Auth/RoleRevokePermission", For::Checked),
    ("/etcdserverpb.Auth/UserAdd", For::Checked),
    ("/etcdserverpb.Auth/UserChangePassword", For::Checked),
    ("/etcdserverpb.Auth/UserDelete", For::Checked),
    ("/etcdserverpb.Auth/UserGet", For::Checked),
    ("/etcdserverpb.Auth/UserGrantRole", For::Checked),
    ("/etcdserverpb.Auth/UserList", For::Checked),
    ("/etcdserverpb.Auth/UserRevokeRole", For::Checked),
    ("/etcdserverpb.Cluster/MemberAdd", For::Root),
    ("/etcdserverpb.Cluster/MemberList", For::All),
    ("/etcdserverpb.Cluster/MemberPromote", For::Root),
    ("/etcdserverpb.Cluster/MemberRemove", For::Root),
    ("/etcdserverpb.Cluster/MemberUpdate", For::Root),
    ("/etcdserverpb.KV/Compact", For::Root),
    ("/etcdserverpb.KV/DeleteRange", For::Checked),
    ("/etcdserverpb.KV/Put", For::Checked),
    ("/etcdserverpb.KV/Range", For::Checked),
    ("/etcdserverpb.KV/RangeStream", For::Checked),
    ("/etcdserverpb.KV/Txn", For::Checked),
    ("/etcdserverpb.Lease/LeaseGrant", For::Named),
    ("/etcdserverpb.Lease/LeaseKeepAlive", For::Checked),
    ("/etcdserverpb.Lease/LeaseLeases", For::Checked),
    ("/etcdserverpb.Lease/LeaseRevoke", For::Named),
    ("/etcdserverpb.Lease/LeaseTimeToLive", For::Named),
    // Root's, unless it only lists: the handler sees which.
    ("/etcdserverpb.Maintenance/Alarm", For::Named),
    ("/etcdserverpb.Maintenance/Defragment", For::Root),
    ("/etcdserverpb.Maintenance/Downgrade", For::Root),
    ("/etcdserverpb.Maintenance/Hash", For::Root),
    ("/etcdserverpb.Maintenance/HashKV", For::Root),
    ("/etcdserverpb.Maintenance/MoveLeader", For::Root),
    ("/etcdserverpb.Maintenance/Snapshot", For::Root),
    ("/etcdserverpb.Maintenance/Status", For::Named),
    ("/etcdserverpb.Watch/Watch", For::Checked),
];

fn whom(path: &str) -> For {
    CALLS.iter().find(|(call, _)| *call == path).map_or(For::Root, |(_, whom)| *whom)
}

/// Puts the guard around a service.
pub(in crate::rpc::etcd) fn guard<S>(front: &Front, service: S) -> Guard<S> {
    Guard { front: front.clone(), service }
}

#[derive(Clone)]
pub(in crate::rpc::etcd) struct Guard<S> {
    front: Front,
    service: S,
}

impl<S: NamedService> NamedService for Guard<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = http::Response<Body>;
type Passed<F> = Either<F, BoxFuture<'static, Result<Answer, Infallible>>>;

impl<S> Service<http::Request<Body>> for Guard<S>
where
    S: Service<http::Request<Body>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Passed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // What the other services ask in their handlers: a learner answers nothing about users.
        if request.uri().path().starts_with("/etcdserverpb.Auth/")
            && let Err(refusal) = self.front.admit(&MetadataMap::from_headers(request.headers().clone()))
        {
            return Either::Right(Box::pin(async move { Ok(refusal.into_http()) }));
        }
        if !self.front.store.auth_is_on() {
            return Either::Left(self.service.call(request));
        }
        let whom = whom(request.uri().path());
        if whom == For::All {
            return Either::Left(self.service.call(request));
        }
        let (store, mut service) = (self.front.store.clone(), self.service.clone());
        let (mut parts, body) = request.into_parts();
        Either::Right(Box::pin(async move {
            match admit(&store, whom, &parts).await {
                Ok(caller) => {
                    parts.extensions.insert(caller);
                    service.call(http::Request::from_parts(parts, body)).await
                }
                Err(refusal) => Ok(error::auth::status(refusal).into_http()),
            }
        }))
    }
}

/// Who calls, if it may. A "no" is said only by a member that knows what the leader knew when it was asked: users and
/// tokens may be newer than what is applied here.
async fn admit(store: &Store, whom: For, request: &Parts) -> Result<Caller, AuthError> {
    let caller = identify(store, request);
    let admitted = check(store, whom, &caller);
    let doubtful = admitted.is_err() || matches!(caller, Caller::Refused(_));
    if doubtful && store.read_barrier().await.is_ok() {
        let caller = identify(store, request);
        return check(store, whom, &caller).map(|()| caller);
    }
    admitted.map(|()| caller)
}

fn check(store: &Store, whom: For, caller: &Caller) -> Result<(), AuthError> {
    match whom {
        For::All | For::Checked => Ok(()),
        For::Named => store.on_behalf_of(caller.clone()).has_name(),
        For::Root => store.on_behalf_of(caller.clone()).may_administer(),
    }
}

/// By token, else by certificate.
fn identify(store: &Store, request: &Parts) -> Caller {
    let shown = ["token", "authorization"].iter().find_map(|name| request.headers.get(*name));
    match shown {
        Some(text) => {
            let text = text.to_str().unwrap_or_default();
            match store.token(text.strip_prefix("Bearer ").unwrap_or(text)) {
                Some(token) => Caller::client(token.user.clone(), Proof::Token(token)),
                None => Caller::Refused(AuthError::InvalidToken),
            }
        }
        None => match request.extensions.get::<Arc<Client>>().and_then(|client| client.name.clone()) {
            Some(name) => Caller::client(name.to_string(), Proof::Certificate),
            None => Caller::Anonymous,
        },
    }
}

impl Front {
    /// The store as the caller of this request may see it.
    pub(in crate::rpc::etcd) fn store_of<T>(&self, request: &Request<T>) -> Store {
        match request.extensions().get::<Caller>() {
            Some(caller) => self.store.on_behalf_of(caller.clone()),
            None => self.store.clone(),
        }
    }

    /// This front, asking on behalf of the caller of this request: for what outlives it.
    pub(in crate::rpc::etcd) fn of<T>(&self, request: &Request<T>) -> Self {
        Self { store: self.store_of(request), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that nobody thought about is root's, which is safe; but it should have been thought about.
    #[test]
    fn every_call_of_the_port_is_in_the_table() {
        let text = include_str!("../../../../../proto/proto/etcd.proto");
        let mut service = "";
        let mut calls = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split([' ', '(']).filter(|word| !word.is_empty()).collect();
            match words[..] {
                ["service", name, ..] => service = name,
                ["rpc", name, ..] => calls.push(format!("/etcdserverpb.{service}/{name}")),
                _ => {}
            }
        }
        calls.sort();
        assert!(calls.len() > 40, "{calls:?}");
        assert_eq!(calls, CALLS.iter().map(|(call, _)| *call).collect::<Vec<_>>());
    }
}
