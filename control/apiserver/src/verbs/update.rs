//! PUT: the whole object replaced, or created where the kind allows that.

use kinds::meta;
use serde_json::Value;

use super::create::{Creation, create_object, settle_namespace};
use super::managing::Managing;
use super::write::{Part, Update, change_object};
use crate::decode::{Expected, decode};
use crate::object::Stored;
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::server::{Call, code_of};
use crate::status::Status;

pub(crate) async fn update(call: &Call<'_>) -> Result<Reply, Status> {
    put(call, Part::Object).await
}

/// PUT of the object or of one of its views.
pub(crate) async fn put(call: &Call<'_>, part: Part) -> Result<Reply, Status> {
    let options = WriteOptions::parse(call.query, "UpdateOptions")?;
    let mut object = decode(call, Expected::object(call.kind), options.field_validation)?;
    settle_namespace(call, &mut object)?;
    if meta::name(&object).is_empty() {
        return Err(Status::bad_request("name must be provided"));
    }
    let (stored, created) = put_object(call, part, object, options.dry_run).await?;
    Ok(Reply::ok(Content::Object(call.kind, stored)).with_code(code_of(created)))
}

async fn put_object(
    call: &Call<'_>,
    part: Part,
    object: Value,
    dry_run: bool,
) -> Result<(Stored, bool), Status> {
    let changed =
        change_object(call, &Update { part, dry_run, managing: Managing::Track }, |_| Ok(object.clone()))
            .await;
    match changed {
        Err(status)
            if status.reason() == "NotFound"
                && matches!(part, Part::Object)
                && call.kind.strategy.create_on_update =>
        {
            if meta::name(&object) != call.name() {
                return Err(Status::misnamed(meta::name(&object), call.name()));
            }
            call.authorize_creation().await?;
            let mut object = object;
            meta::remove(&mut object, "resourceVersion");
            create_object(call, object, Creation { dry_run, managing: Managing::Track })
                .await
                .map(|stored| (stored, true))
        }
        changed => changed.map(|stored| (stored, false)),
    }
}
