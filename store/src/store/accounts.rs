//! Users and roles as the Auth service asks for them: passwords become hashes here, before anything is proposed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Store;
use super::token::{TOKEN_KEY_BYTES, Token};
use crate::error::{AuthError, StoreError};
use crate::mvcc::auth::change::AuthChange;
use crate::mvcc::auth::{Access, Auth, ROOT};
use crate::mvcc::machine::Action;
use crate::mvcc::span::{End, Span};

/// bcrypt's cost in etcd by default: some ten milliseconds for each hash.
const HASH_COST: u32 = 10;
/// bcrypt looks at no more.
const PASSWORD_BYTES_MAX: usize = 72;
const HASHES_AT_ONCE_MAX: usize = 2;
/// Compared with when there is no such user, so that the answer takes as long. The hash of nothing that is known.
const NOBODYS_HASH: &str = "$2b$10$aaaaaaaaaaaaaaaaaaaaaOaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub(crate) fn hashing() -> Semaphore {
    Semaphore::new(HASHES_AT_ONCE_MAX)
}

impl Store {
    /// Turns auth on: from then on clients need permissions.
    pub(crate) async fn auth_enable(&self) -> Result<(), StoreError> {
        let mut key = [0; TOKEN_KEY_BYTES];
        self.inner.entropy.fill(&mut key);
        self.change_auth(AuthChange::Enable { token_key: Bytes::copy_from_slice(&key) }).await
    }

    pub(crate) async fn change_auth(&self, change: AuthChange) -> Result<(), StoreError> {
        self.propose(Action::Auth(change)).await.map(drop)
    }

    /// `None`: the user can prove itself only by a certificate.
    pub(crate) async fn user_add(&self, name: String, password: Option<String>) -> Result<(), StoreError> {
        let password = match password {
            Some(password) => Some(self.hash_password(password).await?),
            None => None,
        };
        self.change_auth(AuthChange::UserAdd { name, password }).await
    }

    pub(crate) async fn user_password(&self, name: String, password: String) -> Result<(), StoreError> {
        let password = self.hash_password(password).await?;
        self.change_auth(AuthChange::UserPassword { name, password }).await
    }

    /// The users as of everything that was acknowledged before the call.
    async fn users_now(&self) -> Result<Arc<Auth>, StoreError> {
        self.read_barrier().await?;
        Ok(Arc::clone(&self.inner.replica.auth()))
    }

    /// Whether auth is on, and its revision.
    pub(crate) async fn auth_status(&self) -> Result<(bool, u64), StoreError> {
        let auth = self.users_now().await?;
        self.by()?;
        Ok((auth.is_on(), auth.revision()))
    }

    pub(crate) async fn user_list(&self) -> Result<Vec<String>, StoreError> {
        let auth = self.users_now().await?;
        self.may_administer()?;
        Ok(auth.user_names().cloned().collect())
    }

    pub(crate) async fn role_list(&self) -> Result<Vec<String>, StoreError> {
        let auth = self.users_now().await?;
        self.may_administer()?;
        Ok(auth.role_names().cloned().collect())
    }

    /// A user's roles, which root and the user itself may see.
    pub(crate) async fn user_get(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let auth = self.users_now().await?;
        if self.caller_name() != Some(name) {
            self.may_administer()?;
        }
        let user = auth.user(name).ok_or(AuthError::UserNotFound)?;
        Ok(user.roles.iter().cloned().collect())
    }

    /// A role's permissions, which root and whoever has the role may see.
    pub(crate) async fn role_get(&self, name: &str) -> Result<BTreeMap<Span, Access>, StoreError> {
        let auth = self.users_now().await?;
        let user = self.caller_name().and_then(|caller| auth.user(caller));
        if !user.is_some_and(|user| user.roles.contains(name)) {
            self.may_administer()?;
        }
        let role = auth.role(name).ok_or(AuthError::RoleNotFound)?;
        if name == ROOT {
            let everything = Span { start: Bytes::new(), end: End::Unbounded };
            return Ok(BTreeMap::from([(everything, Access::ReadWrite)]));
        }
        Ok(role.permissions.clone())
    }

    /// Changes a password into a token.
    pub(crate) async fn authenticate(&self, name: &str, password: String) -> Result<String, StoreError> {
        let auth = self.users_now().await?;
        if !auth.is_on() {
            return Err(AuthError::NotEnabled.into());
        }
        if auth.user(name).is_some_and(|user| user.password.is_none()) {
            return Err(AuthError::NoPassword.into());
        }
        let hash = auth.user(name).and_then(|user| user.password.clone());
        if !self.is_password(hash, password).await? {
            return Err(AuthError::Failed.into());
        }
        // Good as of when the password was looked up: one that was changed meanwhile makes no token.
        Ok(Token::new(&auth, name, self.now_ms()).text())
    }

    /// Reads what a client has shown; `None`: no token of this cluster, or not any more.
    pub(crate) fn token(&self, text: &str) -> Option<Token> {
        let auth = self.inner.replica.auth();
        let token = Token::parse(&auth, text)?;
        token.check(&auth, self.now_ms()).is_ok().then_some(token)
    }

    async fn hash_password(&self, password: String) -> Result<String, StoreError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(AuthError::PasswordTooLong.into());
        }
        let mut salt = [0; 16];
        self.inner.entropy.fill(&mut salt);
        let _turn = self.inner.hashing.acquire().await.map_err(|_| StoreError::Stopping)?;
        let hashed = tokio::task::spawn_blocking(move || bcrypt::hash_with_salt(password, HASH_COST, salt));
        match hashed.await {
            Ok(Ok(parts)) => Ok(parts.to_string()),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot hash a password");
                Err(AuthError::Failed.into())
            }
            Err(_) => Err(StoreError::Stopping),
        }
    }

    async fn is_password(&self, hash: Option<String>, password: String) -> Result<bool, StoreError> {
        let _turn = self.inner.hashing.acquire().await.map_err(|_| StoreError::Stopping)?;
        let known = hash.is_some() && password.len() <= PASSWORD_BYTES_MAX;
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.to_owned());
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
        let right = compared.await.map_err(|_| StoreError::Stopping)?;
        Ok(known && right.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever asks for a user that does not exist waits for a comparison that can be made.
    #[test]
    fn nobodys_hash_is_a_hash() {
        assert!(!bcrypt::verify("", NOBODYS_HASH).expect("a hash that can be compared with"));
    }
}
