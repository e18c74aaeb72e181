//! LIST: pages of one revision, filtered by selectors.

mod long;

use base::Revision;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kinds::schema;
use serde::{Deserialize, Serialize};

use super::get::freshness;
use super::selection::Selection;
use crate::custom::as_served;
use crate::query::{ListOptions, ListUse, VersionMatch, parse_version};
use crate::reply::{Content, Listing, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Freshness, Page};

/// How many keys a filtered, limited list looks at in one step.
const STEP_KEYS: usize = 500;
const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// In a continue token: go on without consistency.
const INCONSISTENT: i64 = -1;

/// Where a list goes on.
#[derive(Debug, Serialize, Deserialize)]
struct ContinueToken {
    v: String,
    rv: i64,
    start: String,
    /// How many objects follow, where that is told.
    #[serde(default)]
    left: Option<u64>,
}

pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, Status> {
    let options = ListOptions::parse(call.query, ListUse::List)?;
    let selection = Selection::parse(call, &options)?;
    if long::is_possible(call, &options) {
        return long::list(call, first_freshness(call, &options).await?, selection).await;
    }
    let listing = read(call, &options, &selection).await?;
    Ok(Reply::ok(Content::List(call.kind, listing)))
}

/// One page (without a limit: everything) of what `selection` means.
pub(crate) async fn read(
    call: &Call<'_>,
    options: &ListOptions,
    selection: &Selection,
) -> Result<Listing, Status> {
    let token = ContinueToken::parse(&options.continue_token)?;
    let mut freshness = match &token {
        Some(_) if !matches!(options.resource_version.as_str(), "" | "0") => {
            let message = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(message));
        }
        Some(token) if token.rv == INCONSISTENT => Freshness::Newest,
        Some(token) => Freshness::At(Revision::new(token.rv)),
        None => first_freshness(call, options).await?,
    };
    let prefix = selection.prefix(call);
    let (mut start, left) = token.map(|token| (token.start, token.left)).unwrap_or_default();
    let mut listing = Listing::default();
    let everything = selection.is_everything();
    loop {
        let step = match options.limit {
            0 => 0,
            limit if everything => limit,
            limit => limit.max(STEP_KEYS),
        };
        let page = call.storage.page(&prefix, &start, step, freshness).await;
        let page = page.map_err(|status| expired(status, &options.continue_token, &start))?;
        freshness = Freshness::At(page.revision);
        listing.revision = page.revision.get();
        let (taken, last) = take(&mut listing, selection, &page, options.limit)?;
        if let Some(last) = last {
            start = format!("{}\0", String::from_utf8_lossy(&last[prefix.len()..]));
        }
        let more = page.more || taken < page.items.len();
        if !more {
            return Ok(listing);
        }
        if options.limit > 0 && listing.items.len() >= options.limit {
            listing.remaining = match (everything, left) {
                (false, _) => None,
                // All pages are of one revision.
                (true, Some(left)) => Some(left.saturating_sub(taken as u64)),
                (true, None) => Some(call.storage.count(&prefix, &start, freshness).await?),
            };
            let (v, rv, left) = (TOKEN_VERSION.to_owned(), listing.revision, listing.remaining);
            listing.continue_token = ContinueToken { v, rv, start, left }.print();
            return Ok(listing);
        }
    }
}

/// Moves matching items of `page` into `listing`, up to `limit`; tells how many were looked at, and the last key.
fn take(
    listing: &mut Listing,
    selection: &Selection,
    page: &Page,
    limit: usize,
) -> Result<(usize, Option<bytes::Bytes>), Status> {
    let mut last = None;
    for (looked_at, (key, item)) in page.items.iter().enumerate() {
        if limit > 0 && listing.items.len() >= limit {
            return Ok((looked_at, last));
        }
        let item = as_served(selection.kind(), item.clone())?;
        if selection.matches_stored(&item)? {
            listing.items.push(item);
        }
        last = Some(key.clone());
    }
    Ok((page.items.len(), last))
}

/// Where a list without a continue token is read.
async fn first_freshness(call: &Call<'_>, options: &ListOptions) -> Result<Freshness, Status> {
    match options.moment {
        Some(moment) => Ok(Freshness::At(moment.revision(call.storage).await?)),
        None => list_freshness(options),
    }
}

/// The rules of resourceVersion, resourceVersionMatch and limit together.
fn list_freshness(options: &ListOptions) -> Result<Freshness, Status> {
    let revision = parse_version(&options.resource_version)?;
    Ok(match (options.version_match, revision) {
        (Some(VersionMatch::Exact), Some(revision)) => Freshness::At(Revision::new(revision)),
        // Before resourceVersionMatch existed, a limited list of a revision meant that revision.
        (None, Some(revision)) if revision > 0 && options.limit > 0 => Freshness::At(Revision::new(revision)),
        (_, _) => freshness(&options.resource_version)?,
    })
}

fn expired(status: Status, asked_token: &str, start: &str) -> Status {
    if status.reason() != "Expired" || asked_token.is_empty() {
        return status;
    }
    let token =
        ContinueToken { v: TOKEN_VERSION.to_owned(), rv: INCONSISTENT, start: start.to_owned(), left: None };
    Status::continue_expired(token.print())
}

impl ContinueToken {
    fn parse(text: &str) -> Result<Option<Self>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        let refused = |why: &dyn std::fmt::Display| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let json = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| refused(&error))?;
        let token = schema::read_object(&json, false).map_err(|error| refused(&error))?.value;
        let token: Self = serde_json::from_value(token).map_err(|error| refused(&error))?;
        if token.v != TOKEN_VERSION {
            return Err(refused(&format!("server does not recognize this encoded version {:?}", token.v)));
        }
        if token.rv == 0 || token.rv < INCONSISTENT {
            return Err(refused(&"incorrect encoded start resourceVersion"));
        }
        // A token is a client's to change: it must not lead out of the list.
        if token.start.starts_with('/') || token.start.contains("..") {
            return Err(refused(&"incorrect encoded start key"));
        }
        Ok(Some(token))
    }

    fn print(&self) -> String {
        let (rv, left) = (self.rv, self.left);
        let token = serde_json::json!({"v": self.v, "rv": rv, "start": self.start, "left": left});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }
}
