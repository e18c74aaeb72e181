//! Changing what exists: read, let the caller compute, prepare, admit, validate, write if unchanged, else again.
//!
//! The caller's function may run several times; it sees the object as clients see it, resourceVersion included.

use kinds::schema::apply::same_but_times;
use kinds::{Deletion, FieldError, FieldErrors, Kind, View, meta, schema, tree};
use serde_json::Value;

use super::ATTEMPTS_MAX;
use super::create::timestamp;
use super::managing::{Managing, manage};
use crate::allocation::{allocate, release};
use crate::chain::admission::resource_quota::Moved;
use crate::chain::admission::{Attempt, admit, node_restriction};
use crate::chain::authz::{escalation, signers};
use crate::chain::fence::Fence;
use crate::custom::{as_served, as_stored};
use crate::object::{Stored, encode};
use crate::server::{Call, Shared};
use crate::status::Status;
use crate::storage::{Change, Freshness, Guard, Written};

/// Which part of an object a write is about, and so which rules hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// All but the status.
    Object,
    /// The status alone.
    Status,
    /// What a view of the kind lets through.
    View(&'static View),
    /// What the handler of a subresource set on the current object by itself.
    Trusted,
}

/// One change of one existing object.
pub(crate) struct Update {
    pub(crate) part: Part,
    pub(crate) dry_run: bool,
    pub(crate) managing: Managing,
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
    let storage = call.storage;
    let fence = Fence::of(call.headers)?;
    let mut freshness = Freshness::Any;
    let served = |stored: Option<Stored>| stored.map(|stored| as_served(kind, stored)).transpose();
    let mut current = served(storage.get(&key, Freshness::Newest).await?)?;
    for _ in 0..ATTEMPTS_MAX {
        let Some(stored) = &current else { return Err(Status::not_found(kind, name)) };
        let mut guards = Vec::new();
        if let Some(fence) = &fence {
            guards.push(fence.guard(storage, freshness).await?);
        }
        let old = stored.parse()?;
        let new = change(&stored.parse_served()?)?;
        check_identity(call, stored, &old, &new)?;
        let mut new = prepare(call, update, &old, new, freshness, &mut guards).await?;
        let is_last = goes(kind, &old, &new);
        if is_last {
            let_go(call, name, &old, freshness, &mut guards).await?;
        } else if matches!(update.part, Part::Object) {
            allocate(call, (Some(&old), &mut new), freshness, &mut guards).await?;
        }
        if same_but_times(&new, &old) {
            return Ok(stored.clone());
        }
        let json = encode(kind, new.clone());
        let expected = stored.written_at();
        if update.dry_run {
            return Ok(Stored { json, revision: stored.revision });
        }
        let put = if is_last { Change::Delete } else { Change::Put(as_stored(kind, &json)) };
        match storage.write(&key, expected, put, &guards).await? {
            Written::At(revision) => {
                fence.iter().for_each(|fence| fence.landed(revision));
                return Ok(Stored { json, revision: Some(revision) });
            }
            Written::Lost(now) => current = served(now)?,
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
        return Err(Status::misnamed(new_name, name));
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
    update: &Update,
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
    let errors = match update.part {
        Part::Trusted => return Ok(new),
        Part::Status => {
            kind.prepare_status_update(&mut new, old);
            node_restriction::check_status(call.who, kind, old, &new)?;
            manage(call, (update.managing, update.part), Some(old), &mut new)?;
            prune(call.server, kind, &mut new)?;
            signers::check(call, Some(old), &new).await?;
            if !goes(kind, old, &new) {
                let namespace = meta::namespace(&new);
                Moved { namespace, name, before: Some(old), after: Some(&new), is_limited: false }
                    .charge(call, freshness, guards)
                    .await?;
            }
            kind.validate_status_update(&new, old)
        }
        Part::View(view) => {
            if view.admitted {
                apply_defaults(call.server, kind, &mut new)?;
            }
            kind.prepare_view(view, &mut new, (old, &timestamp(call)));
            manage(call, (update.managing, update.part), Some(old), &mut new)?;
            if view.admitted {
                admit_update(call, &mut new, old, freshness, guards).await?;
            }
            prune(call.server, kind, &mut new)?;
            signers::check(call, Some(old), &new).await?;
            kind.validate_view(view, &new, old)
        }
        Part::Object => {
            apply_defaults(call.server, kind, &mut new)?;
            kind.prepare_update(&mut new, old);
            manage(call, (update.managing, update.part), Some(old), &mut new)?;
            admit_update(call, &mut new, old, freshness, guards).await?;
            escalation::check(call, Some(old), &new).await?;
            prune(call.server, kind, &mut new)?;
            kind.validate_update(&new, old)
        }
    };
    errors.into_result().map_err(|errors| Status::invalid(kind, name, &errors))?;
    Ok(new)
}

/// Lets the plugins change or refuse an update.
async fn admit_update(
    call: &Call<'_>,
    new: &mut Value,
    old: &Value,
    freshness: Freshness,
    guards: &mut Vec<Guard>,
) -> Result<(), Status> {
    let namespace = meta::namespace(new).to_owned();
    let mut attempt = Attempt {
        call,
        namespace: &namespace,
        name: call.name(),
        object: new,
        old: Some(old),
        freshness,
        guards,
    };
    admit(&mut attempt).await
}

/// What else happens when an object goes: what it was given is free again, and quotas are charged for it no longer.
pub(crate) async fn let_go(
    call: &Call<'_>,
    name: &str,
    old: &Value,
    freshness: Freshness,
    guards: &mut Vec<Guard>,
) -> Result<(), Status> {
    release(call, old, freshness, guards).await?;
    let namespace = meta::namespace(old);
    Moved { namespace, name, before: Some(old), after: None, is_limited: false }
        .charge(call, freshness, guards)
        .await
}

/// Whether this change takes the last hold off an object that is being deleted.
pub(crate) fn goes(kind: &Kind, old: &Value, new: &Value) -> bool {
    meta::deletion_timestamp(old).is_some()
        && tree::int(new, "metadata.deletionGracePeriodSeconds").unwrap_or_default() == 0
        && is_free(kind, new)
}

/// Whether nothing holds the object.
pub(crate) fn is_free(kind: &Kind, object: &Value) -> bool {
    meta::finalizers(object).is_empty()
        && match kind.strategy.deletion {
            Deletion::SpecFinalizers(_) => tree::items(object, "spec.finalizers").is_empty(),
            Deletion::Immediate | Deletion::Graceful(_) | Deletion::Marked(_) => true,
        }
}

/// What a client may send and the server does not keep.
pub(crate) fn clear_server_fields(object: &mut Value) {
    for field in ["resourceVersion", "selfLink"] {
        meta::remove(object, field);
    }
}

/// What the schema says when a field is absent, then what the kind says.
pub(crate) fn apply_defaults(server: &Shared, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    if kind.custom.is_none() {
        schema::apply_defaults(&server.schema, server.type_of(kind.definition)?, object);
    }
    kind.default_fields(object);
    Ok(())
}

/// Takes out what the schema does not know.
pub(crate) fn prune(server: &Shared, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    match kind.custom {
        Some(custom) => custom.prune(object),
        None => schema::prune(&server.schema, server.type_of(kind.definition)?, object),
    }
    Ok(())
}
