//! DELETE of many objects: those that the selectors mean, one by one.

use kinds::meta;

use super::delete::{delete_object, options};
use super::list::read;
use super::selection::Selection;
use crate::query::{ListOptions, ListUse};
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;

/// Answers with the objects as they were.
pub(crate) async fn delete_collection(call: &Call<'_>) -> Result<Reply, Status> {
    let list_options = ListOptions::parse(call.query, ListUse::Delete)?;
    let options = options(call)?;
    let selection = Selection::parse(call, &list_options)?;
    let listing = read(call, &list_options, &selection).await?;
    for item in &listing.items {
        let object = item.parse()?;
        match delete_object(call, meta::name(&object), &options).await {
            Ok(_) => {}
            // Somebody else was quicker.
            Err(status) if status.reason() == "NotFound" => {}
            Err(status) => return Err(status),
        }
    }
    Ok(Reply::ok(Content::List(call.kind, listing)))
}
