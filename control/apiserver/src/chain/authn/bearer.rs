//! Who sends a token: `Authorization: Bearer …` of a request, or the token of a TokenReview.
//!
//! A token of a service account dies with the account, and with the object that it is bound to. Both are read from
//! this server's own copy of the store; only that one of them is not there is not believed of an old copy.

use std::sync::Arc;

use base::Clock;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use kinds::core::{node, pod, secret, service_account};
use kinds::{Kind, meta};
use serde_json::Value;

use super::bootstrap_token::{self, BootstrapToken};
use super::{AUTHENTICATED, Identity, StaticTokens};
use crate::metrics::{SERVICEACCOUNT_STALE_TOKENS_TOTAL, SERVICEACCOUNT_VALID_TOKENS_TOTAL};
use crate::status::Status;
use crate::storage::{Freshness, Scope, Storage};
use crate::tokens::claims::{Claims, Reference, Untimely};
use crate::tokens::{TokenIssuer, jwt};

/// How long ago something must have been deleted before nobody's clock can disagree.
const LEEWAY_SECONDS: i64 = 60;
/// What is known of a token's owner beyond name and groups.
const EXTRA: &str = "authentication.kubernetes.io/";

/// How this server learns who somebody is, certificates aside.
#[derive(Debug, Default)]
pub struct Authentication {
    /// Signs and checks the tokens of service accounts. Nothing: there are none.
    pub service_accounts: Option<TokenIssuer>,
    pub static_tokens: StaticTokens,
}

/// Knows whose a token is.
pub(crate) struct Authenticator {
    pub(crate) known: Authentication,
    storage: Storage,
    clock: Arc<dyn Clock>,
}

/// Somebody, and which of the asked audiences the token is for.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) who: Identity,
    pub(crate) audiences: Vec<String>,
}

/// Why a token is nobody's.
#[derive(Debug)]
pub(crate) enum Refusal {
    Invalid(String),
    /// The store could not be asked.
    Away(Status),
}

impl Authenticator {
    pub(crate) fn new(known: Authentication, storage: Storage, clock: Arc<dyn Clock>) -> Self {
        Self { known, storage, clock }
    }

    /// Who sends a request: whom the connection's certificate names, else whom its token names.
    pub(crate) async fn sender(&self, who: Identity, headers: &HeaderMap) -> Result<Identity, Status> {
        let Some(token) = bearer(headers).filter(|_| who.is_anonymous()) else { return Ok(who) };
        match self.authenticate(token, &[]).await {
            Ok(found) => Ok(found.who),
            Err(Refusal::Invalid(why)) => {
                tracing::debug!(why, "refused a token");
                Err(Status::unauthorized())
            }
            Err(Refusal::Away(status)) => Err(status),
        }
    }

    /// Whose `token` is, if it is for one of `audiences`; for this API server, if none are named.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Authenticated, Refusal> {
        let own = self.own_audiences();
        let wanted = if audiences.is_empty() { own } else { audiences };
        let anybody = |who: &Identity| {
            // These are for nobody else, so that they are for this server.
            let for_us: Vec<String> = own.iter().filter(|own| wanted.contains(own)).cloned().collect();
            match for_us.is_empty() && !wanted.is_empty() {
                true => Err(invalid()),
                false => Ok(Authenticated { who: who.clone(), audiences: for_us }),
            }
        };
        if let Some(who) = self.known.static_tokens.find(token) {
            return anybody(who);
        }
        if let Some(token) = BootstrapToken::parse(token) {
            let scope = scope(&secret::SECRET, bootstrap_token::NAMESPACE);
            let found = self.get(&scope, &token.secret_name(), Freshness::Any).await?;
            let owner = found.and_then(|secret| token.owner(&secret, self.clock.now()));
            return anybody(&owner.ok_or_else(invalid)?);
        }
        let issuer = self.known.service_accounts.as_ref().ok_or_else(invalid)?;
        let claims = verified(issuer, token).ok_or_else(invalid)?;
        self.check_claims(&claims, wanted).await
    }

    /// Who this server is in tokens.
    pub(crate) fn own_audiences(&self) -> &[String] {
        self.known.service_accounts.as_ref().map(|issuer| issuer.audiences.as_slice()).unwrap_or_default()
    }

    async fn check_claims(&self, claims: &Claims, wanted: &[String]) -> Result<Authenticated, Refusal> {
        let audiences: Vec<String> =
            claims.audiences.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if audiences.is_empty() {
            return Err(because(&format!(
                "token audiences {} is invalid for the target audiences {}",
                listed(&claims.audiences),
                listed(wanted)
            )));
        }
        claims.check_time(self.clock.now()).map_err(|untimely| match untimely {
            Untimely::Expired => because("service account token has expired"),
            Untimely::NotYet => because("service account token is not valid yet"),
        })?;
        self.check_alive(claims).await?;
        if let Some(warn_after) = claims.warn_after {
            let stale = self.clock.now().as_second() > warn_after;
            let name =
                if stale { SERVICEACCOUNT_STALE_TOKENS_TOTAL } else { SERVICEACCOUNT_VALID_TOKENS_TOTAL };
            metrics::counter!(name).increment(1);
        }
        Ok(Authenticated { who: identity(claims), audiences })
    }

    /// Refuses what has outlived its account or the object that it is bound to.
    async fn check_alive(&self, claims: &Claims) -> Result<(), Refusal> {
        let (namespace, account) = (claims.namespace.as_str(), &claims.account);
        let found = self.living(&scope(&service_account::SERVICE_ACCOUNT, namespace), account).await?;
        let Some(found) = found else {
            return Err(because(&format!("serviceaccounts {:?} not found", account.name)));
        };
        if self.is_deleted(&found) {
            return Err(because(&format!("service account {namespace}/{} has been deleted", account.name)));
        }
        if meta::uid(&found) != account.uid {
            let (uid, claimed) = (meta::uid(&found), &account.uid);
            return Err(because(&format!("service account UID ({uid}) does not match claim ({claimed})")));
        }
        let bound = [
            ("secret", claims.secret.as_ref(), scope(&secret::SECRET, namespace)),
            ("pod", claims.pod.as_ref(), scope(&pod::POD, namespace)),
            // The node of a pod is told, not bound to.
            (
                "node",
                claims.node.as_ref().filter(|_| claims.pod.is_none()),
                Scope { kind: &node::NODE, namespace: None },
            ),
        ];
        for (word, reference, scope) in bound {
            let Some(reference) = reference else { continue };
            let found = self.living(&scope, reference).await?;
            let Some(found) = found.filter(|found| !self.is_deleted(found)) else {
                return Err(because("service account token has been invalidated"));
            };
            if meta::uid(&found) != reference.uid {
                let (uid, claimed) = (meta::uid(&found), &reference.uid);
                let what = if word == "secret" { "Secret" } else { word };
                return Err(because(&format!(
                    "{what} UID ({uid}) does not match service account {word} ref claim ({claimed})"
                )));
            }
        }
        Ok(())
    }

    /// The object of that name. An old copy that has none, or another one, is not believed.
    async fn living(&self, scope: &Scope, reference: &Reference) -> Result<Option<Value>, Refusal> {
        let found = self.get(scope, &reference.name, Freshness::Any).await?;
        match found.filter(|found| meta::uid(found) == reference.uid) {
            Some(found) => Ok(Some(found)),
            None => self.get(scope, &reference.name, Freshness::Newest).await,
        }
    }

    async fn get(&self, scope: &Scope, name: &str, freshness: Freshness) -> Result<Option<Value>, Refusal> {
        let found = self.storage.get(&scope.key(name), freshness).await.map_err(Refusal::Away)?;
        found.map(|found| found.parse()).transpose().map_err(Refusal::Away)
    }

    /// Whether its end was asked for so long ago that its tokens are no good any more.
    fn is_deleted(&self, object: &Value) -> bool {
        meta::deletion_timestamp(object).is_some_and(|at| {
            let deleted = at.parse::<base::Timestamp>().map(base::Timestamp::as_second);
            deleted.is_ok_and(|deleted| deleted < self.clock.now().as_second().saturating_sub(LEEWAY_SECONDS))
        })
    }
}

/// What the token says, if we said it.
fn verified(issuer: &TokenIssuer, token: &str) -> Option<Claims> {
    let token = jwt::parse(token)?;
    let claims = Claims::read(&token.claims)?;
    (claims.issuer == issuer.issuer && token.is_signed_by(&issuer.keys)).then_some(claims)
}

fn identity(claims: &Claims) -> Identity {
    let namespace = &claims.namespace;
    let mut who = Identity {
        user: claims.user(),
        uid: claims.account.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.to_owned(),
        ],
        ..Identity::default()
    };
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            who.extra.insert(format!("{EXTRA}{key}"), vec![value.to_owned()]);
        }
    };
    if !claims.id.is_empty() {
        tell("credential-id", &format!("JTI={}", claims.id));
    }
    for (word, reference) in [("node", &claims.node), ("pod", &claims.pod)] {
        if let Some(reference) = reference {
            tell(&format!("{word}-name"), &reference.name);
            tell(&format!("{word}-uid"), &reference.uid);
        }
    }
    who
}

fn scope(kind: &'static Kind, namespace: &str) -> Scope {
    Scope { kind, namespace: Some(namespace.to_owned()) }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut words = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split(' ');
    let scheme = words.next()?;
    let token = words.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn invalid() -> Refusal {
    Refusal::Invalid("invalid bearer token".to_owned())
}

fn because(why: &str) -> Refusal {
    Refusal::Invalid(format!("[invalid bearer token, {why}]"))
}

/// As Go prints a list of texts.
fn listed(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
