//! GET of one object.

use base::Revision;

use crate::query::parse_version;
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::Freshness;

pub(crate) async fn get(call: &Call<'_>) -> Result<Reply, Status> {
    let freshness = freshness(call.query.get("resourceVersion"))?;
    let key = call.scope().key(call.name());
    let found = call.server.storage.get(&key, freshness).await?;
    let found = found.ok_or_else(|| Status::not_found(call.kind, call.name()))?;
    Ok(Reply::ok(Content::Object(call.kind, found)))
}

/// What a resourceVersion asks for: absent the newest, `0` anything, else nothing older.
pub(crate) fn freshness(resource_version: &str) -> Result<Freshness, Status> {
    Ok(match parse_version(resource_version)? {
        None => Freshness::Newest,
        Some(0) => Freshness::Any,
        Some(revision) => Freshness::NotOlderThan(Revision::new(revision)),
    })
}
