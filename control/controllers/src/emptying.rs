//! Deleting everything of a resource, page by page.

use client::{ApiResource, ClientError, Delete, HasMetadata, ListOptions, Partial};

use crate::context::Context;

const PAGE_LIMIT: u32 = 500;

/// Deletes all objects of a resource, in one namespace or, when `namespace` is empty, everywhere. How many may still be
/// there afterwards.
pub(crate) async fn empty(
    cx: &Context,
    resource: &ApiResource,
    namespace: &str,
) -> Result<usize, ClientError> {
    let mut options = ListOptions {
        namespace: namespace.to_owned(),
        limit: PAGE_LIMIT,
        partial: true,
        ..ListOptions::default()
    };
    let mut remaining = 0;
    loop {
        let page = cx.client.list_of::<Partial>(resource, &options).await?;
        for object in &page.items {
            remaining += 1;
            if object.is_terminating() {
                continue;
            }
            let key = object.key();
            let delete = Delete::exactly(object).propagate("Background");
            match cx.client.delete_of(resource, &key, &delete).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        if page.continuation.is_empty() {
            break;
        }
        options.continuation = page.continuation;
    }
    // What was deleted at once is gone: no need to wait for the next look.
    if remaining > 0 {
        options.continuation = String::new();
        remaining = cx.client.list_of::<Partial>(resource, &options).await?.items.len();
    }
    Ok(remaining)
}
