//! POST: a new object, named, stamped, defaulted, admitted, validated, and written if its key is free.

use base::Revision;
use bytes::Bytes;
use kinds::{Kind, meta, tree};
use serde_json::Value;

use super::ATTEMPTS_MAX;
use super::managing::{Managing, manage};
use super::write::{Part, apply_defaults, clear_server_fields, prune};
use crate::allocation::allocate;
use crate::chain::admission::{Attempt, admit};
use crate::chain::authz::{escalation, signers};
use crate::chain::fence::Fence;
use crate::custom::as_stored;
use crate::decode::{Expected, decode};
use crate::object::{Stored, encode};
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::reviews::user_info;
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Change, Freshness, Written};

/// A generated name leaves room for its suffix within what a label holds.
const GENERATED_PREFIX_MAX: usize = 58;
const SUFFIX_LEN: usize = 5;

pub(crate) async fn create(call: &Call<'_>) -> Result<Reply, Status> {
    let options = WriteOptions::parse(call.query, "CreateOptions")?;
    let object = decode(call, Expected::object(call.kind), options.field_validation)?;
    let stored =
        create_object(call, object, Creation { dry_run: options.dry_run, managing: Managing::Track }).await?;
    Ok(Reply::created(Content::Object(call.kind, stored)))
}

/// How an object is made.
#[derive(Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) dry_run: bool,
    pub(crate) managing: Managing,
}

pub(crate) async fn create_object(
    call: &Call<'_>,
    mut object: Value,
    creation: Creation,
) -> Result<Stored, Status> {
    let kind = call.kind;
    settle_namespace(call, &mut object)?;
    if !matches!(meta::resource_version(&object), "" | "0") {
        return Err(Status::version_on_create());
    }
    clear_server_fields(&mut object);
    meta::set(&mut object, "uid", call.server.entropy.uid());
    meta::set(&mut object, "creationTimestamp", timestamp(call));
    let fence = Fence::of(call.headers)?;
    let named = !meta::name(&object).is_empty();
    let mut freshness = Freshness::Any;
    for _ in 0..ATTEMPTS_MAX {
        let mut object = object.clone();
        if !named {
            generate_name(call, &mut object);
        }
        kind.prepare_create(&mut object);
        if let Some(note_maker) = kind.strategy.note_maker {
            note_maker(&mut object, &user_info(call.who));
        }
        let name = meta::name(&object).to_owned();
        let (json, guards) = {
            let mut guards = Vec::new();
            if let Some(fence) = &fence {
                guards.push(fence.guard(call.storage, freshness).await?);
            }
            finish(call, &mut object, creation.managing, freshness, &mut guards).await?;
            (encode(kind, object), guards)
        };
        let key = call.scope().key(&name);
        if creation.dry_run {
            return dry(call, kind, &key, &name, json).await;
        }
        let change = Change::Put(as_stored(kind, &json));
        match call.storage.write(&key, Revision::new(0), change, &guards).await? {
            Written::At(revision) => {
                fence.iter().for_each(|fence| fence.landed(revision));
                return Ok(Stored { json, revision: Some(revision) });
            }
            Written::Lost(_) if named => return Err(Status::already_exists(kind, &name)),
            // The generated name is taken: roll again.
            Written::Lost(_) => {}
            Written::GuardMoved => freshness = Freshness::Newest,
        }
    }
    Err(Status::contended(kind, meta::name(&object)))
}

/// Defaults, admits and validates.
async fn finish(
    call: &Call<'_>,
    object: &mut Value,
    managing: Managing,
    freshness: Freshness,
    guards: &mut Vec<crate::storage::Guard>,
) -> Result<(), Status> {
    let kind = call.kind;
    let name = meta::name(object).to_owned();
    apply_defaults(call.server, kind, object)?;
    manage(call, (managing, Part::Object), None, object)?;
    let namespace = meta::namespace(object).to_owned();
    let mut attempt =
        Attempt { call, namespace: &namespace, name: &name, object, old: None, freshness, guards };
    admit(&mut attempt).await?;
    escalation::check(call, None, object).await?;
    signers::check(call, None, object).await?;
    apply_defaults(call.server, kind, object)?;
    prune(call.server, kind, object)?;
    let errors = kind.validate_create(object);
    errors.into_result().map_err(|errors| Status::invalid(kind, &name, &errors))?;
    allocate(call, (None, object), freshness, guards).await
}

async fn dry(
    call: &Call<'_>,
    kind: &'static Kind,
    key: &str,
    name: &str,
    json: Bytes,
) -> Result<Stored, Status> {
    match call.storage.get(key, Freshness::Newest).await? {
        Some(_) => Err(Status::already_exists(kind, name)),
        None => Ok(Stored { json, revision: None }),
    }
}

/// The namespace of the body must be the path's, or missing.
pub(crate) fn settle_namespace(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    let Some(namespace) = call.scope().namespace else {
        meta::remove(object, "namespace");
        return Ok(());
    };
    let own = meta::namespace(object);
    if !own.is_empty() && own != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta::set(object, "namespace", namespace);
    Ok(())
}

fn generate_name(call: &Call<'_>, object: &mut Value) {
    let prefix = tree::text(object, "metadata.generateName");
    if prefix.is_empty() {
        return;
    }
    let prefix: String = prefix.chars().take(GENERATED_PREFIX_MAX).collect();
    let name = format!("{prefix}{}", call.server.entropy.name_suffix(SUFFIX_LEN));
    meta::set(object, "name", name);
}

/// Now, to the second, as metadata writes it.
pub(crate) fn timestamp(call: &Call<'_>) -> String {
    seconds(call.server.clock.now())
}

pub(crate) fn seconds(at: base::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
