//! Tokens: what a client shows in place of a password, signed, so that every member can check it alone.
//!
//! The key is part of the replicated state and new each time auth is turned on. A token ends with its time, with its
//! user, with its user's password, and with auth.

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::error::AuthError;
use crate::mvcc::auth::Auth;

/// How long a token is good for. Clients get another by themselves.
pub(crate) const TOKEN_TIME_MS: i64 = 24 * 60 * 60 * 1000;
pub(crate) const TOKEN_KEY_BYTES: usize = 32;
const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 17;
const SIGNATURE_BYTES: usize = 32;
/// No user's name needs more; keeps a stranger from making us hash megabytes.
const TEXT_BYTES_MAX: usize = 4096;

/// What a token says, once its signature was found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) user: String,
    /// The auth revision at which the password was right.
    issued: u64,
    expires_ms: i64,
    signed_with: Bytes,
}

impl Token {
    pub(crate) fn new(auth: &Auth, user: &str, now_ms: i64) -> Self {
        Self {
            user: user.to_owned(),
            issued: auth.revision(),
            expires_ms: now_ms.saturating_add(TOKEN_TIME_MS),
            signed_with: auth.token_key().clone(),
        }
    }

    /// The text that the client keeps: hexadecimal, because it travels in a header.
    pub(crate) fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.user.len() + SIGNATURE_BYTES);
        bytes.push(FORMAT);
        bytes.extend(self.issued.to_be_bytes());
        bytes.extend(self.expires_ms.to_be_bytes());
        bytes.extend(self.user.as_bytes());
        let signature = signer(&self.signed_with).chain_update(&bytes).finalize().into_bytes();
        bytes.extend(signature);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a token that was signed with the key of `auth`. Whether it is still good says [`Token::check`].
    pub(crate) fn parse(auth: &Auth, text: &str) -> Option<Self> {
        let bytes = unhex(text)?;
        let (said, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        signer(auth.token_key()).chain_update(said).verify_slice(signature).ok()?;
        let (head, user) = said.split_at_checked(HEAD_BYTES)?;
        if head[0] != FORMAT {
            return None;
        }
        Some(Self {
            user: String::from_utf8(user.to_vec()).ok()?,
            issued: u64::from_be_bytes(head[1..9].try_into().ok()?),
            expires_ms: i64::from_be_bytes(head[9..].try_into().ok()?),
            signed_with: auth.token_key().clone(),
        })
    }

    pub(crate) fn check(&self, auth: &Auth, now_ms: i64) -> Result<(), AuthError> {
        let good = auth.user(&self.user).is_some_and(|user| user.since <= self.issued)
            && self.signed_with == auth.token_key()
            && now_ms < self.expires_ms;
        if good { Ok(()) } else { Err(AuthError::InvalidToken) }
    }
}

fn signer(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_BYTES_MAX || !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::mvcc::auth::User;

    fn auth(key: &'static [u8], since: u64) -> Auth {
        let user = User { since, ..User::default() };
        Auth::on(Bytes::from_static(key), 9, BTreeMap::from([("alice".to_owned(), Arc::new(user))]))
    }

    #[test]
    fn a_token_is_good_until_something_ends_it() {
        let now = auth(b"key", 3);
        let text = Token::new(&now, "alice", 1000).text();
        let token = Token::parse(&now, &text).expect("our own token");
        assert_eq!(token.user, "alice");
        assert_eq!(token.check(&now, 1000), Ok(()));
        let invalid = Err(AuthError::InvalidToken);
        assert_eq!(token.check(&now, 1000 + TOKEN_TIME_MS), invalid, "its time is over");
        assert_eq!(token.check(&auth(b"key", 10), 1000), invalid, "the password was changed");
        assert_eq!(token.check(&Auth::on(Bytes::from_static(b"key"), 9, BTreeMap::new()), 1000), invalid);
        assert_eq!(token.check(&auth(b"other", 3), 1000), invalid, "auth was turned off and on");
        assert_eq!(Token::parse(&auth(b"other", 3), &text), None, "signed with another key");
    }

    proptest! {
        #[test]
        fn what_we_did_not_sign_is_no_token(text: String, at in 0usize..200, with in "[0-9a-f]") {
            let now = auth(b"key", 3);
            prop_assert_eq!(Token::parse(&now, &text), None);
            let ours = Token::new(&now, "alice", 1000).text();
            let mut changed = ours.clone();
            changed.replace_range(at % ours.len()..=at % ours.len(), &with);
            prop_assert_eq!(Token::parse(&now, &changed).is_some(), changed == ours);
        }
    }
}
