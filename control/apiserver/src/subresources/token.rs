//! `serviceaccounts/token`: a token for an account, which lives no longer than what it is bound to.
//!
//! Nothing is stored. What a token says and how a request for one is refused are Kubernetes' own.

use base::Timestamp;
use kinds::core::{node, pod, secret};
use kinds::{FieldError, FieldErrors, Kind, meta, tree};
use serde_json::{Value, json};

use crate::chain::admission::node_restriction;
use crate::decode::{Expected, decode};
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Freshness, Scope};
use crate::tokens::claims::{Claims, Reference};
use crate::tokens::{TokenIssuer, jwt};
use crate::verbs::create::seconds;

const REQUEST: Expected<'static> = Expected {
    definition: "io.k8s.api.authentication.v1.TokenRequest",
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    custom: None,
};

const EXPIRATION_SECONDS_DEFAULT: i64 = 60 * 60;
const EXPIRATION_SECONDS_MIN: i64 = 10 * 60;
const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;
/// What the volumes that every pod gets ask for. Clients that never read their token again get far more, and are
/// counted once the time that was asked for is over.
const INJECTED_SECONDS: i64 = 60 * 60 + 7;
const EXTENDED_SECONDS: i64 = 365 * 24 * 60 * 60;

pub(super) async fn create(call: &Call<'_>) -> Result<Reply, Status> {
    let Some(issuer) = &call.server.authenticator.known.service_accounts else {
        return Err(Status::no_such_resource());
    };
    let options = WriteOptions::parse(call.query, "CreateOptions")?;
    let mut request = decode(call, REQUEST, options.field_validation)?;
    let found = call.storage.get(&call.scope().key(call.name()), Freshness::Newest).await?;
    let account = found.ok_or_else(|| Status::not_found(call.kind, call.name()))?.parse()?;
    let now = call.server.clock.now();
    settle(&mut request, &account, issuer, now)?;
    let claims = claims(call, issuer, &request, &account).await?;
    let token = jwt::sign(&issuer.keys, &claims.to_json());
    let token = token.ok_or_else(|| Status::internal("failed to generate token"))?;
    let expires = now.as_second().saturating_add(lifetime(&request));
    let expires = Timestamp::from_second(expires).map(seconds).unwrap_or_default();
    tree::set(&mut request, "status", json!({"token": token, "expirationTimestamp": expires}));
    Ok(Reply::created(Content::Json(request)))
}

/// Completes the request, or says what is wrong with it.
fn settle(request: &mut Value, account: &Value, issuer: &TokenIssuer, now: Timestamp) -> Result<(), Status> {
    let invalid =
        |name: &str, errors: &FieldErrors| Status::invalid_body(REQUEST.group, REQUEST.kind, name, errors);
    let names = [
        ("name", meta::name(account), "must match the service account name if specified"),
        ("namespace", meta::namespace(account), "must match the service account namespace if specified"),
    ];
    for (field, wanted, why) in names {
        let path = format!("metadata.{field}");
        let own = tree::text(request, &path).to_owned();
        if !own.is_empty() && own != wanted {
            let errors = one(FieldError::invalid(path, own, why));
            return Err(invalid(meta::name(account), &errors));
        }
        tree::set(request, &path, wanted);
    }
    let (uid, own) = (meta::uid(account), meta::uid(request).to_owned());
    if !own.is_empty() && own != uid {
        let why = format!(
            "the UID in the token request ({own}) does not match the UID of the service account ({uid})"
        );
        return Err(Status::other_object(REQUEST.group, REQUEST.kind, meta::name(account), &why));
    }
    meta::set(request, "uid", uid);
    meta::set(request, "creationTimestamp", seconds(now));
    if tree::items(request, "spec.audiences").is_empty() {
        tree::set(request, "spec.audiences", json!(issuer.audiences));
    }
    tree::set_default(request, "spec.expirationSeconds", EXPIRATION_SECONDS_DEFAULT);
    let lifetime = lifetime(request);
    let path = "spec.expirationSeconds";
    let wrong = if lifetime < EXPIRATION_SECONDS_MIN {
        FieldError::invalid(path, lifetime, "may not specify a duration less than 10 minutes")
    } else if lifetime > EXPIRATION_SECONDS_MAX {
        FieldError::invalid(path, lifetime, "may not specify a duration larger than 2^32 seconds")
    } else {
        return Ok(());
    };
    Err(invalid("", &one(wrong)))
}

fn one(error: FieldError) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.push(error);
    errors
}

fn lifetime(request: &Value) -> i64 {
    tree::int(request, "spec.expirationSeconds").unwrap_or_default()
}

async fn claims(
    call: &Call<'_>,
    issuer: &TokenIssuer,
    request: &Value,
    account: &Value,
) -> Result<Claims, Status> {
    let audiences: Vec<String> = tree::items(request, "spec.audiences")
        .iter()
        .filter_map(|audience| Some(audience.as_str()?.to_owned()))
        .collect();
    let asked = lifetime(request);
    let now = call.server.clock.now().as_second();
    let mut claims = Claims {
        issuer: issuer.issuer.clone(),
        id: call.server.entropy.uid(),
        issued_at: now,
        not_before: now,
        expires: now.saturating_add(asked),
        namespace: meta::namespace(account).to_owned(),
        account: reference(account),
        ..Claims::default()
    };
    bind(call, request, &mut claims).await?;
    let for_us = audiences.iter().all(|audience| issuer.audiences.contains(audience));
    if claims.pod.is_some() && asked == INJECTED_SECONDS && for_us {
        claims.warn_after = Some(claims.expires);
        claims.expires = now.saturating_add(EXTENDED_SECONDS);
    }
    claims.audiences = audiences;
    Ok(claims)
}

/// Binds the token to the object that the request names.
async fn bind(call: &Call<'_>, request: &Value, claims: &mut Claims) -> Result<(), Status> {
    let bound = tree::get(request, "spec.boundObjectRef");
    let account = (call.kind, call.name());
    if bound.is_null() {
        return node_restriction::check_token(call.who, account, bound, None);
    }
    let (api_version, kind, name) =
        (tree::text(bound, "apiVersion"), tree::text(bound, "kind"), tree::text(bound, "name"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let object = match (group, kind) {
        ("", "Pod") => {
            let object = existing(call, &pod::POD, name).await?;
            if tree::text(&object, "spec.serviceAccountName") != call.name() {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                )));
            }
            claims.node = host(call, tree::text(&object, "spec.nodeName")).await?;
            claims.pod = Some(reference(&object));
            object
        }
        ("", "Secret") => {
            let object = existing(call, &secret::SECRET, name).await?;
            claims.secret = Some(reference(&object));
            object
        }
        ("", "Node") => {
            let object = existing(call, &node::NODE, name).await?;
            claims.node = Some(reference(&object));
            object
        }
        _ => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let pod = claims.pod.as_ref().map(|_| &object);
    node_restriction::check_token(call.who, account, bound, pod)?;
    let uid = tree::text(bound, "uid");
    if !uid.is_empty() && uid != meta::uid(&object) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::other_object(group, kind, name, &why));
    }
    Ok(())
}

async fn existing(call: &Call<'_>, kind: &'static Kind, name: &str) -> Result<Value, Status> {
    let found = read(call, kind, name).await?;
    found.ok_or_else(|| Status::not_found(kind, name))
}

async fn read(call: &Call<'_>, kind: &'static Kind, name: &str) -> Result<Option<Value>, Status> {
    let namespace = if kind.namespaced { call.path.namespace.clone() } else { None };
    let found = call.storage.get(&Scope { kind, namespace }.key(name), Freshness::Newest).await?;
    found.map(|found| found.parse()).transpose()
}

/// The node that a pod is on. One that is gone is still told by its name.
async fn host(call: &Call<'_>, name: &str) -> Result<Option<Reference>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = read(call, &node::NODE, name).await?;
    let uid = found.as_ref().map(meta::uid).unwrap_or_default().to_owned();
    Ok(Some(Reference { name: name.to_owned(), uid }))
}

fn reference(object: &Value) -> Reference {
    Reference { name: meta::name(object).to_owned(), uid: meta::uid(object).to_owned() }
}
