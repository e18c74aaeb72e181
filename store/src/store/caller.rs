//! On whose behalf a handle asks, and whether it may.
//!
//! A handle that a node hands out asks for the process itself, and is never refused. The client port asks for its
//! clients: reads are checked here against the users that this node knows, writes again where they are applied.

use std::sync::Arc;

use base::LeaseId;

use super::Store;
use super::token::Token;
use crate::error::{AuthError, StoreError};
use crate::mvcc::auth::Auth;
use crate::mvcc::auth::permit::{By, Rights};
use crate::mvcc::lease;
use crate::mvcc::request::Lease;
use crate::mvcc::txn::Stop;

/// Who asks. All but the process itself are refused nothing while auth is off.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Process,
    Anonymous,
    /// It showed something that proves nothing, and gets this answer to everything.
    Refused(AuthError),
    Client(Arc<Client>),
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) proof: Proof,
}

#[derive(Debug)]
pub(crate) enum Proof {
    /// The connection's certificate names the user.
    Certificate,
    Token(Token),
}

impl Caller {
    pub(crate) fn client(name: String, proof: Proof) -> Self {
        Self::Client(Arc::new(Client { name, proof }))
    }

    /// What it may do, while auth is on.
    fn rights<'a>(&self, auth: &'a Auth, now_ms: i64) -> Result<Rights<'a>, AuthError> {
        match self {
            Self::Process => Ok(Rights::Everything),
            Self::Anonymous => Err(AuthError::UserEmpty),
            Self::Refused(refusal) => Err(*refusal),
            Self::Client(client) => {
                client.check(auth, now_ms)?;
                auth.rights_of(&client.name, auth.revision())
            }
        }
    }
}

impl Client {
    /// A proof may have become worthless since it was shown: a stream lives long.
    fn check(&self, auth: &Auth, now_ms: i64) -> Result<(), AuthError> {
        match &self.proof {
            Proof::Certificate => Ok(()),
            Proof::Token(token) => token.check(auth, now_ms),
        }
    }
}

impl Store {
    pub(crate) fn on_behalf_of(&self, caller: Caller) -> Self {
        Self { caller, ..self.clone() }
    }

    pub(super) fn caller_name(&self) -> Option<&str> {
        match &self.caller {
            Caller::Client(client) => Some(&client.name),
            Caller::Process | Caller::Anonymous | Caller::Refused(_) => None,
        }
    }

    pub(crate) fn auth_is_on(&self) -> bool {
        self.inner.replica.auth().is_on()
    }

    /// Refuses what the caller may not do, as far as this node knows.
    pub(crate) fn may(
        &self,
        check: impl FnOnce(Rights<'_>) -> Result<(), AuthError>,
    ) -> Result<(), StoreError> {
        if matches!(self.caller, Caller::Process) {
            return Ok(());
        }
        let auth = self.inner.replica.auth();
        if auth.is_on() {
            check(self.caller.rights(&auth, self.now_ms())?)?;
        }
        Ok(())
    }

    /// Whether the caller may do what only root may.
    pub(crate) fn may_administer(&self) -> Result<(), AuthError> {
        let auth = self.inner.replica.auth();
        auth.admin(&self.by_of(&auth)?)
    }

    /// Whether the caller has said who it is. It need not be a user that exists, as in etcd.
    pub(crate) fn has_name(&self) -> Result<(), AuthError> {
        let auth = self.inner.replica.auth();
        match self.by_of(&auth)? {
            By::Anonymous if auth.is_on() => Err(AuthError::UserEmpty),
            By::Anonymous | By::Process | By::User { .. } => Ok(()),
        }
    }

    /// Whether the caller's lease hangs only on keys that it may write.
    pub(super) async fn may_end(&self, id: LeaseId) -> Result<(), StoreError> {
        if self.may_do_everything()? {
            return Ok(());
        }
        let store = self.clone();
        let checked = self.inner.replica.read(false, move |view, _| {
            let checked = store.may_with(|rights| rights.lease(view, id));
            match checked {
                Ok(()) => Ok(Ok(())),
                Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
                Err(Stop::Failed(failure)) => Err(failure),
            }
        });
        checked.await.map_err(|error| self.unreadable(&error))?
    }

    /// Whether the caller may read every key of these leases.
    pub(super) async fn may_see(&self, leases: &[Lease]) -> Result<(), StoreError> {
        if self.may_do_everything()? {
            return Ok(());
        }
        let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
        let found = self.inner.replica.read(true, move |view, _| {
            let mut keys = Vec::new();
            for id in ids {
                keys.extend(lease::keys(view, id)?);
            }
            Ok(keys)
        });
        let keys = found.await.map_err(|error| self.unreadable(&error))?;
        self.may(|rights| rights.read_keys(&keys))
    }

    /// What an entry is told about the caller.
    pub(super) fn by(&self) -> Result<By, StoreError> {
        Ok(self.by_of(&self.inner.replica.auth())?)
    }

    fn by_of(&self, auth: &Auth) -> Result<By, AuthError> {
        match &self.caller {
            Caller::Process => Ok(By::Process),
            Caller::Anonymous => Ok(By::Anonymous),
            Caller::Refused(_) | Caller::Client(_) if !auth.is_on() => Ok(By::Anonymous),
            Caller::Refused(refusal) => Err(*refusal),
            Caller::Client(client) => {
                client.check(auth, self.now_ms())?;
                Ok(By::User { name: client.name.clone(), revision: auth.revision() })
            }
        }
    }

    fn may_do_everything(&self) -> Result<bool, StoreError> {
        let mut everything = true;
        self.may(|rights| {
            everything = matches!(rights, Rights::Everything);
            Ok(())
        })?;
        Ok(everything)
    }

    fn may_with(&self, check: impl FnOnce(Rights<'_>) -> Result<(), Stop>) -> Result<(), Stop> {
        let auth = self.inner.replica.auth();
        if !auth.is_on() {
            return Ok(());
        }
        let rights = self.caller.rights(&auth, self.now_ms()).map_err(StoreError::from)?;
        check(rights)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.inner.clock.now().as_millisecond()
    }
}
