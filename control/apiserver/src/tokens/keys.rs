//! The keys that sign tokens, and what others need of them. All servers of a cluster have the same.
//!
//! ECDSA on P-256 alone (ES256): it is what `pki` makes, and ring's signature is already the one that JWS wants.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// What comes before the point in the public key's DER (RFC 5480): an EC key on P-256.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of one coordinate of a point.
const COORDINATE_BYTES: usize = 32;

#[derive(Debug, Error)]
pub enum KeyError {
    #[error("the keys of service accounts are not PEM")]
    Pem(#[source] pem::Error),
    #[error("a key of service accounts is not a P-256 key in PKCS #8: {0}")]
    Rejected(ring::error::KeyRejected),
    #[error("there is no key of service accounts")]
    Empty,
}

/// The first signs; all of them are believed.
#[derive(Debug)]
pub struct TokenKeys(Vec<Key>);

#[derive(Debug)]
struct Key {
    pair: EcdsaKeyPair,
    id: String,
}

impl TokenKeys {
    /// One or more `PRIVATE KEY` blocks. A key that replaces another is put in front of it.
    ///
    /// # Errors
    /// There is none, or one is no P-256 key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for der in PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes()) {
            keys.push(Key::of(der.map_err(KeyError::Pem)?.secret_pkcs8_der())?);
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self(keys)) }
    }

    /// Which key signs.
    pub(super) fn signing_id(&self) -> &str {
        self.0.first().map_or("", |key| key.id.as_str())
    }

    /// The signature of `message`; nothing if the system has no randomness to give.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.first()?.pair.sign(&SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }

    /// Whether the key of this name, or any if it is empty, signed `message`.
    pub(super) fn verify(&self, id: &str, message: &[u8], signature: &[u8]) -> bool {
        self.0.iter().filter(|key| id.is_empty() || key.id == id).any(|key| {
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key());
            public.verify(message, signature).is_ok()
        })
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub(crate) fn to_jwks(&self) -> Value {
        let keys: Vec<Value> = self.0.iter().map(Key::to_jwk).collect();
        json!({"keys": keys})
    }
}

impl Key {
    fn of(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(KeyError::Rejected)?;
        let der = [P256_PREFIX.as_slice(), pair.public_key().as_ref()].concat();
        Ok(Self { id: URL_SAFE_NO_PAD.encode(Sha256::digest(der)), pair })
    }

    fn to_jwk(&self) -> Value {
        // A byte that says "not compressed", then x and y.
        let point = self.pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(COORDINATE_BYTES.min(point.len()));
        json!({
            "use": "sig",
            "kty": "EC",
            "kid": self.id,
            "crv": "P-256",
            "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}
