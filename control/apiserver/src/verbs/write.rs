//! Changing what exists: read, let the caller compute, prepare, admit, validate, write if unchanged, else again.
//!
//! The caller's function may run several times; it sees the object as clients see it, resourceVersion included.

use base::Revision;
use kinds::{Deletion, FieldError, FieldErrors, Kind, meta, schema, tree};
use serde_json::Value;

use super::ATTEMPTS_MAX;
use crate::chain::admission::{Attempt, Operation, admit};
use crate::chain::fence::Fence;
use crate::object::{Stored, encode};
use crate::server::{Call, Shared};
use crate::status::Status;
use crate::storage::{Change, Freshness, Guard, Written};

/// Which part of an object a write is about, and so which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Object,
    /// The status alone.
    Status,
    /// What the handler of a subresource set on the current object by itself.
    Trusted,
}

/// One change of one existing object.
pub(crate) struct Update {
    pub(crate) part: Part,
    pub(crate) dry_run: bool,
}

/// Changes the object that `call` names by what `change` makes of it.
pub(crate) async fn change_object(
    call: &Call<'_>,
    update: &Update,
    change: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Stored, Status> {
    let kind = call.kind;
    let name = call.name();
    let key = call.scope().key(name);
    let storage = &call.server.storage;
    let fence = Fence::of(call.headers)?;
    let mut freshness = Freshness::Any;
    let mut current = storage.get(&key, Freshness::Newest).await?;
    for _ in 0..ATTEMPTS_MAX {
        let Some(stored) = &current else { return Err(Status::not_found(kind, name)) };
        let mut guards = Vec::new();
        if let Some(fence) = &fence {
            guards.push(fence.guard(storage, freshness).await?);
        }
        let old = stored.parse()?;
        let new = change(&stored.parse_served()?)?;
        check_identity(call, stored, &old, &new)?;
        let new = prepare(call, update.part, &old, new, freshness, &mut guards).await?;
        if new == old {
            return Ok(stored.clone());
        }
        let json = encode(kind, new.clone());
        let expected = stored.revision.unwrap_or(Revision::new(0));
        if update.dry_run {
            return Ok(Stored { json, revision: stored.revision });
        }
        let put = if goes(kind, &old, &new) { Change::Delete } else { Change::Put(json.clone()) };
        match storage.write(&key, expected, put, &guards).await? {
            Written::At(revision) => {
                fence.iter().for_each(|fence| fence.landed(revision));
                return Ok(Stored { json, revision: Some(revision) });
            }
            Written::Lost(now) => current = now,
            Written::GuardMoved => freshness = Freshness::Newest,
        }
    }
    Err(Status::contended(kind, name))
}

/// Name, namespace, uid and resourceVersion of a change must be those of what it changes.
fn check_identity(call: &Call<'_>, stored: &Stored, old: &Value, new: &Value) -> Result<(), Status> {
    let kind = call.kind;
    let name = call.name();
    let new_name = meta::name(new);
    if new_name != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({new_name}) does not match the name on the URL ({name})"
        )));
    }
    let namespace = call.scope().namespace.unwrap_or_default();
    let new_namespace = meta::namespace(new);
    if new_namespace != namespace && !new_namespace.is_empty() {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({new_namespace}) does not match the namespace on the URL ({namespace})"
        )));
    }
    let (uid, new_uid) = (meta::uid(old), meta::uid(new));
    if !new_uid.is_empty() && new_uid != uid {
        let key = call.scope().key(name);
        return Err(Status::conflict(
            kind,
            name,
            &format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {new_uid}, UID in object meta: {uid}"
            ),
        ));
    }
    match meta::resource_version(new) {
        "" | "0" if kind.strategy.unconditional_update => Ok(()),
        "" | "0" => {
            let mut errors = FieldErrors::new();
            errors.push(FieldError::invalid(
                "metadata.resourceVersion",
                0,
                "must be specified for an update",
            ));
            Err(Status::invalid_resource(kind, name, &errors))
        }
        version if Some(version) == stored.revision.map(|revision| revision.to_string()).as_deref() => Ok(()),
        _ => Err(Status::modified(kind, name)),
    }
}

async fn prepare(
    call: &Call<'_>,
    part: Part,
    old: &Value,
    mut new: Value,
    freshness: Freshness,
    guards: &mut Vec<Guard>,
) -> Result<Value, Status> {
    let kind = call.kind;
    let name = call.name();
    clear_server_fields(&mut new);
    if let Some(namespace) = call.scope().namespace {
        meta::set(&mut new, "namespace", namespace);
    }
    let errors = match part {
        Part::Trusted => return Ok(new),
        Part::Status => {
            kind.prepare_status_update(&mut new, old);
            prune(call.server, kind, &mut new);
            kind.validate_status_update(&new, old)
        }
        Part::Object => {
            apply_defaults(call.server, kind, &mut new)?;
            kind.prepare_update(&mut new, old);
            let namespace = meta::namespace(&new).to_owned();
            let mut attempt = Attempt {
                server: call.server,
                kind,
                namespace: &namespace,
                name,
                operation: Operation::Update,
                object: &mut new,
                freshness,
                guards,
            };
            admit(&mut attempt).await?;
            prune(call.server, kind, &mut new);
            kind.validate_update(&new, old)
        }
    };
    errors.into_result().map_err(|errors| Status::invalid(kind, name, &errors))?;
    Ok(new)
}

/// Whether this change takes the last hold off an object that is being deleted.
fn goes(kind: &Kind, old: &Value, new: &Value) -> bool {
    meta::deletion_timestamp(old).is_some()
        && tree::int(new, "metadata.deletionGracePeriodSeconds").unwrap_or_default() == 0
        && is_free(kind, new)
}

/// Whether nothing holds the object.
pub(crate) fn is_free(kind: &Kind, object: &Value) -> bool {
    meta::finalizers(object).is_empty()
        && match kind.strategy.deletion {
            Deletion::SpecFinalizers(_) => tree::items(object, "spec.finalizers").is_empty(),
            Deletion::Immediate | Deletion::Graceful(_) => true,
        }
}

/// What a client may send and the server does not keep. `managedFields` belong to server-side apply.
pub(crate) fn clear_server_fields(object: &mut Value) {
    for field in ["resourceVersion", "managedFields", "selfLink"] {
        meta::remove(object, field);
    }
}

/// What the schema says when a field is absent, then what the kind says.
pub(crate) fn apply_defaults(server: &Shared, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    let ty = server
        .schema
        .type_of(kind.definition)
        .ok_or_else(|| Status::internal(format!("the schema lacks {}", kind.definition)))?;
    schema::apply_defaults(&server.schema, ty, object);
    kind.default_fields(object);
    Ok(())
}

fn prune(server: &Shared, kind: &Kind, object: &mut Value) {
    if let Some(ty) = server.schema.type_of(kind.definition) {
        schema::prune(&server.schema, ty, object);
    }
}
