//! Tokens of service accounts: signed statements of who somebody is (RFC 7515, RFC 7519), made and read here.
//!
//! Nothing here asks whether the account still exists: that is `chain/authn`'s to find out.

pub(crate) mod claims;
pub(crate) mod jwt;
mod keys;

pub use keys::{KeyError, TokenKeys};

/// Who signs this cluster's tokens, for whom, and with what.
#[derive(Debug)]
pub struct TokenIssuer {
    /// The claim `iss`: the same on every server of a cluster, and an URL if others are to check tokens.
    pub issuer: String,
    /// Who this API server is in the claim `aud`, and whom a token is for that names nobody.
    pub audiences: Vec<String>,
    /// Where others find the keys.
    pub jwks_uri: String,
    pub keys: TokenKeys,
}

#[cfg(test)]
pub(crate) mod tests;
