//! The compact form of a token: three parts in base64, with dots between them. What it says is another file's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::TokenKeys;

/// What is longer is no token of ours.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
const ALGORITHM: &str = "ES256";

/// A token taken apart. Nothing in it is to be believed before it is [verified](Self::is_signed_by).
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    header: Value,
    /// Header and claims as they were sent: what the signature is of.
    signed: &'a str,
    signature: Vec<u8>,
    pub(crate) claims: Value,
}

/// Nothing if the text is no token.
pub(crate) fn parse(token: &str) -> Option<Unverified<'_>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let json = |part: &str| -> Option<Value> {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
        value.is_object().then_some(value)
    };
    Some(Unverified {
        header: json(header)?,
        claims: json(claims)?,
        signed,
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
    })
}

/// The token that makes these claims; nothing if the system has no randomness to give.
pub(crate) fn sign(keys: &TokenKeys, claims: &Value) -> Option<String> {
    let header = json!({"alg": ALGORITHM, "kid": keys.signing_id()});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = keys.sign(signed.as_bytes())?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

impl Unverified<'_> {
    pub(crate) fn is_signed_by(&self, keys: &TokenKeys) -> bool {
        let text = |name: &str| self.header.get(name).and_then(Value::as_str).unwrap_or_default();
        // What must be understood, we do not understand (RFC 7515, 4.1.11).
        text("alg") == ALGORITHM
            && self.header.get("crit").is_none()
            && keys.verify(text("kid"), self.signed.as_bytes(), &self.signature)
    }
}
