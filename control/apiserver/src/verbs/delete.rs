//! DELETE of one object: at once, after a grace, or when its finalizers are gone.

use base::Revision;
use kinds::{Deletion, meta, tree};
use serde_json::{Value, json};

use super::ATTEMPTS_MAX;
use super::create::seconds;
use super::write::{is_free, let_go};
use crate::allocation;
use crate::chain::admission::{namespace_lifecycle, node_restriction};
use crate::chain::fence::Fence;
use crate::custom::{as_served, as_stored};
use crate::decode::{Expected, decode};
use crate::object::{Stored, encode};
use crate::query::{DeleteOptions, FieldValidation, Propagation};
use crate::reply::{Content, Reply};
use crate::server::{Call, success};
use crate::status::Status;
use crate::storage::{Change, Freshness, Written};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

const OPTIONS: Expected<'static> = Expected {
    definition: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    group: "meta.k8s.io",
    version: "v1",
    kind: "DeleteOptions",
    custom: None,
};

/// What became of an object that was to be deleted.
pub(crate) enum Deleted {
    Gone(Stored),
    /// It is marked and stays for now.
    Lingers(Stored),
}

pub(crate) async fn delete(call: &Call<'_>) -> Result<Reply, Status> {
    let options = options(call)?;
    let reply = match delete_object(call, call.name(), &options).await? {
        Deleted::Lingers(stored) => Content::Object(call.kind, stored),
        Deleted::Gone(stored) => match call.kind.strategy.deletion {
            Deletion::Graceful(_) | Deletion::SpecFinalizers(_) => Content::Object(call.kind, stored),
            Deletion::Immediate | Deletion::Marked(_) => {
                Content::Json(success(call.kind, call.name(), meta::uid(&stored.parse()?)))
            }
        },
    };
    Ok(Reply::ok(reply))
}

/// The options of a delete: the body's, or the query's when there is no body.
pub(crate) fn options(call: &Call<'_>) -> Result<DeleteOptions, Status> {
    if call.body.is_empty() {
        return DeleteOptions::parse(call.query, None);
    }
    let body = decode(call, OPTIONS, FieldValidation::Ignore)?;
    DeleteOptions::parse(call.query, Some(&body))
}

pub(crate) async fn delete_object(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let kind = call.kind;
    namespace_lifecycle::check_delete(kind, name)?;
    let key = call.scope().key(name);
    let storage = call.storage;
    let fence = Fence::of(call.headers)?;
    let mut freshness = Freshness::Any;
    let served = |stored: Option<Stored>| stored.map(|stored| as_served(kind, stored)).transpose();
    let mut current = served(storage.get(&key, Freshness::Newest).await?)?;
    for _ in 0..ATTEMPTS_MAX {
        let Some(stored) = current.clone() else { return Err(Status::not_found(kind, name)) };
        let mut guards = Vec::new();
        if let Some(fence) = &fence {
            guards.push(fence.guard(storage, freshness).await?);
        }
        let old = stored.parse()?;
        let evicts = call.path.subresource.as_deref() == Some("eviction");
        node_restriction::check_delete(call.who, kind, (&old, evicts))?;
        check_preconditions(call, name, options, &old, stored.revision)?;
        allocation::check_delete(call, &old).await?;
        let marked = mark(call, &old, options);
        let goes = tree::int(&marked, "metadata.deletionGracePeriodSeconds").unwrap_or_default() == 0
            && is_free(kind, &marked);
        if options.dry_run {
            return Ok(if goes { Deleted::Gone(stored) } else { Deleted::Lingers(stored) });
        }
        if !goes && marked == old {
            return Ok(Deleted::Lingers(stored));
        }
        if goes {
            let_go(call, name, &old, freshness, &mut guards).await?;
        }
        let json = if goes { stored.json.clone() } else { encode(kind, marked) };
        let change = if goes { Change::Delete } else { Change::Put(as_stored(kind, &json)) };
        let expected = stored.written_at();
        match storage.write(&key, expected, change, &guards).await? {
            Written::At(revision) => {
                fence.iter().for_each(|fence| fence.landed(revision));
                let stored = Stored { json, revision: Some(revision) };
                return Ok(if goes { Deleted::Gone(stored) } else { Deleted::Lingers(stored) });
            }
            Written::Lost(now) => current = served(now)?,
            Written::GuardMoved => freshness = Freshness::Newest,
        }
    }
    Err(Status::contended(kind, name))
}

fn check_preconditions(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
    old: &Value,
    revision: Option<Revision>,
) -> Result<(), Status> {
    if let Some(uid) = &options.uid
        && uid != meta::uid(old)
    {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            meta::uid(old)
        );
        return Err(Status::precondition(call.kind, name, &why));
    }
    let at = revision.map(|revision| revision.to_string()).unwrap_or_default();
    if let Some(version) = &options.resource_version
        && *version != at
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({at}). The object might have been modified"
        );
        return Err(Status::precondition(call.kind, name, &why));
    }
    Ok(())
}

/// The object as it is once it is being deleted. Marking twice changes nothing, but a grace may shrink.
fn mark(call: &Call<'_>, old: &Value, options: &DeleteOptions) -> Value {
    let mut object = old.clone();
    set_finalizers(&mut object, options.propagation);
    let asked = match call.kind.strategy.deletion {
        Deletion::Immediate | Deletion::Marked(_) | Deletion::SpecFinalizers(_) => 0,
        Deletion::Graceful(grace) => grace(old, options.grace_seconds).max(0),
    };
    let now = call.server.clock.now();
    let mut set_deadline = |from: base::Timestamp, grace_seconds: i64| {
        let deadline = from + jiff::SignedDuration::from_secs(grace_seconds);
        meta::set(&mut object, "deletionTimestamp", seconds(deadline));
        meta::set(&mut object, "deletionGracePeriodSeconds", grace_seconds);
    };
    match meta::deletion_timestamp(old) {
        None => {
            set_deadline(now, asked);
            let generation = meta::generation(old);
            if generation > 0 {
                meta::set(&mut object, "generation", generation + 1);
            }
            if let Deletion::SpecFinalizers(begin) | Deletion::Marked(begin) = call.kind.strategy.deletion {
                begin(&mut object);
            }
        }
        Some(deadline) => {
            let granted = tree::int(old, "metadata.deletionGracePeriodSeconds").unwrap_or_default();
            if options.grace_seconds.is_some() && asked < granted {
                let began = deadline
                    .parse::<base::Timestamp>()
                    .map_or(now, |at| at - jiff::SignedDuration::from_secs(granted));
                set_deadline(began, asked);
            }
        }
    }
    object
}

/// Orphaning and foreground deletion are finalizers that the garbage collector takes off.
fn set_finalizers(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|finalizer| !matches!(*finalizer, ORPHAN | FOREGROUND))
        .map(str::to_owned)
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
    }
    match finalizers.is_empty() {
        true => drop(meta::remove(object, "finalizers")),
        false => meta::set(object, "finalizers", json!(finalizers)),
    }
}
