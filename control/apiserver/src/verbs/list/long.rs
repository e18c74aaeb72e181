//! Very long lists: a piece is read, written and forgotten before the next, all at one revision.
//!
//! A client that reads slowly holds one piece, and a reader of the past: should what it reads be compacted meanwhile, its
//! connection breaks, since its status has long been sent.

use base::Revision;
use bytes::{BufMut as _, BytesMut};
use serde_json::json;

use super::super::selection::Selection;
use crate::body::{BoxError, stream};
use crate::custom::as_served;
use crate::negotiation::{Encoding, Shape};
use crate::object::Stored;
use crate::query::ListOptions;
use crate::reply::{Content, Listing, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Freshness, Page, Storage};

/// A list of as many keys, or fewer, is answered at once.
const FIRST_KEYS: usize = 2_000;
const KEYS_MAX: usize = 50_000;
/// What a piece should weigh.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Whether the answer may come in pieces: all of it, and as it is stored.
pub(super) fn is_possible(call: &Call<'_>, options: &ListOptions) -> bool {
    options.limit == 0
        && options.continue_token.is_empty()
        && call.accepted.encoding == Encoding::Json
        && call.accepted.shape == Shape::Object
        && !call.storage.is_drafting()
}

/// All of what `selection` means.
pub(super) async fn list(
    call: &Call<'_>,
    freshness: Freshness,
    selection: Selection,
) -> Result<Reply, Status> {
    let prefix = selection.prefix(call);
    let page = call.storage.page(&prefix, "", FIRST_KEYS, freshness).await?;
    let mut rest = Rest {
        storage: call.storage.clone(),
        revision: page.revision,
        start: String::new(),
        keys: FIRST_KEYS,
        any: false,
        prefix,
        selection,
    };
    if !page.more {
        let items = rest.meant(page)?;
        let listing = Listing { items, revision: rest.revision.get(), ..Listing::default() };
        return Ok(Reply::ok(Content::List(call.kind, listing)));
    }
    let head = json!({
        "kind": call.kind.list_kind(),
        "apiVersion": call.kind.api_version(),
        "metadata": {"resourceVersion": rest.revision.get().to_string()},
    });
    let head = head.to_string();
    let mut first = BytesMut::from(&head.as_bytes()[..head.len() - 1]);
    first.put_slice(b",\"items\":[");
    rest.write(page, &mut first)?;
    let pieces = futures::stream::try_unfold((Some(first), Some(rest)), |(ready, rest)| async move {
        if let Some(ready) = ready {
            return Ok(Some((ready.freeze(), (None, rest))));
        }
        let Some(mut rest) = rest else { return Ok(None) };
        let mut piece = BytesMut::new();
        let more = rest.next(&mut piece).await.map_err(|status| {
            tracing::warn!(message = status.message(), "a list broke off");
            BoxError::from(status.message().to_owned())
        })?;
        Ok(Some((piece.freeze(), (None, more.then_some(rest)))))
    });
    Ok(Reply::ok(Content::Long(stream(pieces))))
}

/// What is still to be listed.
struct Rest {
    storage: Storage,
    selection: Selection,
    prefix: String,
    /// After the prefix.
    start: String,
    revision: Revision,
    /// How many keys the next piece has.
    keys: usize,
    /// Whether an item has been written.
    any: bool,
}

impl Rest {
    /// Writes the next piece; whether there is another.
    async fn next(&mut self, into: &mut BytesMut) -> Result<bool, Status> {
        let page =
            self.storage.page(&self.prefix, &self.start, self.keys, Freshness::At(self.revision)).await?;
        let more = page.more;
        self.write(page, into)?;
        if !more {
            into.put_slice(b"]}");
        }
        Ok(more)
    }

    fn write(&mut self, page: Page, into: &mut BytesMut) -> Result<(), Status> {
        let weight: usize = page.items.iter().map(|(_, item)| item.json.len() + 48).sum();
        let mean = (weight / page.items.len().max(1)).max(1);
        self.keys = (PIECE_BYTES / mean).clamp(1, KEYS_MAX);
        if let Some((last, _)) = page.items.last() {
            self.start = format!("{}\0", String::from_utf8_lossy(&last[self.prefix.len()..]));
        }
        into.reserve(weight);
        for item in self.meant(page)? {
            if std::mem::replace(&mut self.any, true) {
                into.put_u8(b',');
            }
            item.serve_into(into);
        }
        Ok(())
    }

    fn meant(&self, page: Page) -> Result<Vec<Stored>, Status> {
        let served = page.items.into_iter().map(|(_, item)| as_served(self.selection.kind(), item));
        let matching = |item: Result<Stored, Status>| match item {
            Ok(item) => {
                self.selection.matches_stored(&item).map(|matches| matches.then_some(item)).transpose()
            }
            Err(status) => Some(Err(status)),
        };
        served.filter_map(matching).collect()
    }
}
