//! Who may do what: the same check where a request is let in, and where its entry is applied.
//!
//! An entry names the user and the auth revision at which a member believed it. When it is applied, the permissions
//! of that moment count; and if the user was made anew or the password changed since, the belief is worth nothing.

use std::collections::BTreeSet;

use base::LeaseId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::refusal::AuthError;
use super::{Allowed, Auth};
use crate::mvcc::lease;
use crate::mvcc::machine::Action;
use crate::mvcc::request::{Op, Put, Txn};
use crate::mvcc::span::Span;
use crate::mvcc::tables::View;
use crate::mvcc::txn::Stop;

/// On whose behalf an entry was proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum By {
    /// A part of this process. It may do everything.
    #[default]
    Process,
    /// A client that did not say who it is, or came while auth was off.
    Anonymous,
    /// A client that proved to be `user`, at this auth revision.
    User { name: String, revision: u64 },
}

impl By {
    /// Who it is, if he has said so.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::User { name, .. } => Some(name),
            Self::Process | Self::Anonymous => None,
        }
    }
}

/// What somebody may do as of one state of the users.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rights<'a> {
    Everything,
    Only(&'a Allowed),
}

impl Auth {
    pub(crate) fn rights(&self, by: &By) -> Result<Rights<'_>, AuthError> {
        match by {
            By::Process => Ok(Rights::Everything),
            By::Anonymous | By::User { .. } if !self.enabled => Ok(Rights::Everything),
            By::Anonymous => Err(AuthError::UserEmpty),
            By::User { name, revision } => self.rights_of(name, *revision),
        }
    }

    /// While auth is on: the rights of a user who was believed at this auth revision.
    pub(crate) fn rights_of(&self, name: &str, revision: u64) -> Result<Rights<'_>, AuthError> {
        let user = self.user(name).ok_or(AuthError::PermissionDenied)?;
        if user.since > revision {
            return Err(AuthError::OldRevision);
        }
        Ok(if user.allowed.everything { Rights::Everything } else { Rights::Only(&user.allowed) })
    }

    /// For what only the root role may do.
    pub(crate) fn admin(&self, by: &By) -> Result<(), AuthError> {
        match self.rights(by) {
            Ok(Rights::Everything) => Ok(()),
            Ok(Rights::Only(_)) => Err(AuthError::PermissionDenied),
            Err(AuthError::PermissionDenied) => Err(AuthError::UserNotFound),
            Err(refusal) => Err(refusal),
        }
    }

    /// Whether an entry may be applied.
    pub(crate) fn permit(&self, view: &dyn View, by: &By, action: &Action) -> Result<(), Stop> {
        if matches!(by, By::Process) || !self.enabled {
            return Ok(());
        }
        match action {
            Action::Txn(txn) => {
                let rights = refused(self.rights(by))?;
                refused(rights.txn(txn))?;
                for lease in leases(txn) {
                    rights.lease(view, lease)?;
                }
                Ok(())
            }
            Action::LeaseGrant(_) => refused(self.rights(by).map(drop)),
            Action::LeaseRevoke(id) => refused(self.rights(by))?.lease(view, *id),
            Action::Compact(_) | Action::Auth(_) | Action::Alarm(_) => refused(self.admin(by)),
            // Part of adding a member, which the client port lets only root do.
            Action::TakeNodeId { .. } => Ok(()),
        }
    }
}

impl Rights<'_> {
    pub(crate) fn read(self, span: &Span) -> Result<(), AuthError> {
        self.need(span, |allowed| &allowed.read)
    }

    pub(crate) fn write(self, span: &Span) -> Result<(), AuthError> {
        self.need(span, |allowed| &allowed.write)
    }

    pub(crate) fn read_keys<'k>(self, keys: impl IntoIterator<Item = &'k Bytes>) -> Result<(), AuthError> {
        keys.into_iter().try_for_each(|key| self.read(&Span::key(key.clone())))
    }

    /// Everything that any path through a transaction may touch, whichever it takes. Leases are left out.
    pub(crate) fn txn(self, txn: &Txn) -> Result<(), AuthError> {
        if matches!(self, Self::Everything) {
            return Ok(());
        }
        for compare in &txn.compares {
            self.read(&compare.span)?;
        }
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                Op::Range(range) => self.read(&range.span)?,
                Op::Put(put) => self.put(put)?,
                Op::Delete(delete) => {
                    self.write(&delete.span)?;
                    if delete.prev_kv {
                        self.read(&delete.span)?;
                    }
                }
                Op::Txn(inner) => self.txn(inner)?,
            }
        }
        Ok(())
    }

    /// Who attaches a key to a lease, or ends it, must be able to write every key that hangs on it already.
    pub(crate) fn lease(self, view: &dyn View, id: LeaseId) -> Result<(), Stop> {
        if matches!(self, Self::Everything) {
            return Ok(());
        }
        let keys = lease::keys(view, id)?;
        refused(keys.into_iter().try_for_each(|key| self.write(&Span::key(key))))
    }

    fn put(self, put: &Put) -> Result<(), AuthError> {
        let span = Span::key(put.key.clone());
        self.write(&span)?;
        if put.prev_kv { self.read(&span) } else { Ok(()) }
    }

    fn need(self, span: &Span, of: fn(&Allowed) -> &super::Ranges) -> Result<(), AuthError> {
        match self {
            Self::Everything => Ok(()),
            Self::Only(allowed) if of(allowed).cover(span) => Ok(()),
            Self::Only(_) => Err(AuthError::PermissionDenied),
        }
    }
}

/// The leases to which a transaction may attach keys.
fn leases(txn: &Txn) -> BTreeSet<LeaseId> {
    let mut found = BTreeSet::new();
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put(put) if !put.lease.is_none() => {
                found.insert(put.lease);
            }
            Op::Put(_) | Op::Range(_) | Op::Delete(_) => {}
            Op::Txn(inner) => found.extend(leases(inner)),
        }
    }
    found
}

fn refused<T>(result: Result<T, AuthError>) -> Result<T, Stop> {
    result.map_err(|refusal| Stop::Refused(refusal.into()))
}
