//! What a token of a service account says, with Kubernetes' names for it.

use base::Timestamp;
use kinds::tree;
use serde_json::{Map, Value, json};

const PRIVATE: &str = "kubernetes.io";
/// How far the clocks of two servers may be apart.
const LEEWAY_SECONDS: i64 = 60;

/// An object, and which of all that ever had its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    /// Empty if it was not known.
    pub(crate) uid: String,
}

/// Everything that a token states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) id: String,
    /// Seconds since 1970, as the next three.
    pub(crate) issued_at: i64,
    pub(crate) not_before: i64,
    pub(crate) expires: i64,
    /// When it should have been replaced, if that is before it expires.
    pub(crate) warn_after: Option<i64>,
    pub(crate) namespace: String,
    pub(crate) account: Reference,
    /// With any of these it ends.
    pub(crate) pod: Option<Reference>,
    pub(crate) secret: Option<Reference>,
    /// Where the pod runs; alone: with it the token ends.
    pub(crate) node: Option<Reference>,
}

/// Why a time is the wrong one, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untimely {
    Expired,
    NotYet,
}

impl Claims {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.account.name)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut private = Map::new();
        private.insert("namespace".to_owned(), json!(self.namespace));
        private.extend(self.node.iter().map(|node| ("node".to_owned(), node.to_json())));
        private.extend(self.pod.iter().map(|pod| ("pod".to_owned(), pod.to_json())));
        private.extend(self.secret.iter().map(|secret| ("secret".to_owned(), secret.to_json())));
        private.insert("serviceaccount".to_owned(), self.account.to_json());
        private.extend(self.warn_after.iter().map(|at| ("warnafter".to_owned(), json!(at))));
        json!({
            "aud": self.audiences,
            "exp": self.expires,
            "iat": self.issued_at,
            "iss": self.issuer,
            "jti": self.id,
            PRIVATE: private,
            "nbf": self.not_before,
            "sub": self.user(),
        })
    }

    /// Nothing if it is no statement about a service account.
    pub(crate) fn read(claims: &Value) -> Option<Self> {
        let private = claims.get(PRIVATE)?;
        let reference = |name: &str| private.get(name).and_then(Reference::read);
        let seconds = |of: &Value, name: &str| of.get(name).and_then(Value::as_i64);
        let read = Self {
            issuer: tree::text(claims, "iss").to_owned(),
            audiences: audiences(claims.get("aud")?),
            id: tree::text(claims, "jti").to_owned(),
            issued_at: seconds(claims, "iat").unwrap_or_default(),
            not_before: seconds(claims, "nbf").unwrap_or_default(),
            expires: seconds(claims, "exp")?,
            warn_after: seconds(private, "warnafter"),
            namespace: tree::text(private, "namespace").to_owned(),
            account: reference("serviceaccount")?,
            pod: reference("pod"),
            secret: reference("secret"),
            node: reference("node"),
        };
        (tree::text(claims, "sub") == read.user()).then_some(read)
    }

    pub(crate) fn check_time(&self, now: Timestamp) -> Result<(), Untimely> {
        let now = now.as_second();
        if now.saturating_sub(LEEWAY_SECONDS) > self.expires {
            return Err(Untimely::Expired);
        }
        if now.saturating_add(LEEWAY_SECONDS) < self.not_before {
            return Err(Untimely::NotYet);
        }
        Ok(())
    }
}

impl Reference {
    fn to_json(&self) -> Value {
        match self.uid.as_str() {
            "" => json!({"name": self.name}),
            uid => json!({"name": self.name, "uid": uid}),
        }
    }

    fn read(value: &Value) -> Option<Self> {
        let name = tree::text(value, "name");
        (!name.is_empty()).then(|| Self { name: name.to_owned(), uid: tree::text(value, "uid").to_owned() })
    }
}

/// One, or several.
fn audiences(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
