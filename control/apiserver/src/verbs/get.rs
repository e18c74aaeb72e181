//! GET of one object.

use base::Revision;

use crate::custom::as_served;
use crate::object::Stored;
use crate::query::{GetOptions, parse_version};
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::Freshness;

pub(crate) async fn get(call: &Call<'_>) -> Result<Reply, Status> {
    Ok(Reply::ok(Content::Object(call.kind, named(call).await?)))
}

/// The object of the path, as the options want it.
pub(crate) async fn named(call: &Call<'_>) -> Result<Stored, Status> {
    let options = GetOptions::parse(call.query)?;
    let storage = call.storage;
    let freshness = match options.moment {
        Some(moment) => Freshness::At(moment.revision(storage).await?),
        None => freshness(&options.resource_version)?,
    };
    let found = storage.get(&call.scope().key(call.name()), freshness).await?;
    let found = found.ok_or_else(|| Status::not_found(call.kind, call.name()))?;
    as_served(call.kind, found)
}

/// What a resourceVersion asks for: absent the newest, `0` anything, else nothing older.
pub(crate) fn freshness(resource_version: &str) -> Result<Freshness, Status> {
    Ok(match parse_version(resource_version)? {
        None => Freshness::Newest,
        Some(0) => Freshness::Any,
        Some(revision) => Freshness::NotOlderThan(Revision::new(revision)),
    })
}
