//! The metadata that goes with a write, `navarch-request-id` and `navarch-fence`, and with a range: `navarch-at`.
//!
//! ```text
//! navarch-request-id: 4b2f9c0e-…        any text of up to 128 bytes; better random
//! navarch-fence: 17 /election/leader    the epoch (the revision that created the key), a space, the key
//! navarch-at: 2026-11-21T05:00:00Z      reads what was current then; also milliseconds since 1970
//! ```
//! A key that is not plain ASCII goes percent-encoded; `%` itself is `%25`.

use base::{Revision, Timestamp};
use bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::super::error;
use super::Front;
use crate::{Fence, Range, Store, WriteOptions};

const REQUEST_ID: &str = "navarch-request-id";
const FENCE: &str = "navarch-fence";
const AT: &str = "navarch-at";
const REQUEST_ID_BYTES_MAX: usize = 128;

impl Front {
    /// The store as this request may write to it.
    pub(super) fn writer<T>(&self, request: &Request<T>) -> Result<Store, Status> {
        let store = self.store_of(request);
        let options = options(request.metadata())?;
        Ok(if options == WriteOptions::default() { store } else { store.with(options) })
    }

    /// The range as of the wall time that the request names, if it names one.
    pub(super) async fn pinned(&self, metadata: &MetadataMap, range: Range) -> Result<Range, Status> {
        let Some(value) = metadata.get(AT) else { return Ok(range) };
        let time = value.to_str().ok().and_then(time).ok_or_else(|| {
            Status::invalid_argument(format!("{AT} must be a time in RFC 3339, or milliseconds since 1970"))
        })?;
        if range.revision.is_some() {
            return Err(Status::invalid_argument(format!("a range has either a revision or {AT}")));
        }
        let at = self.store.revision_at(time).await.map_err(|refused| error::status(&refused))?;
        Ok(Range { revision: Some(at), ..range })
    }
}

fn time(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(ms) => Timestamp::from_millisecond(ms).ok(),
        Err(_) => text.parse().ok(),
    }
}

fn options(metadata: &MetadataMap) -> Result<WriteOptions, Status> {
    let request_id = metadata.get(REQUEST_ID).map(|value| {
        let id = value.as_bytes();
        let fits = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len());
        let refusal =
            || Status::invalid_argument(format!("{REQUEST_ID} must have 1 to {REQUEST_ID_BYTES_MAX} bytes"));
        fits.then(|| Bytes::copy_from_slice(id)).ok_or_else(refusal)
    });
    let fence = metadata.get(FENCE).map(|value| {
        let refusal =
            || Status::invalid_argument(format!("{FENCE} must read `<epoch> <percent-encoded key>`"));
        value.to_str().ok().and_then(fence).ok_or_else(refusal)
    });
    Ok(WriteOptions { request_id: request_id.transpose()?, fence: fence.transpose()? })
}

fn fence(text: &str) -> Option<Fence> {
    let (epoch, key) = text.split_once(' ')?;
    let epoch = epoch.parse().ok().filter(|epoch| *epoch > 0)?;
    let key = percent_decoded(key)?;
    (!key.is_empty()).then(|| Fence { key, epoch: Revision::new(epoch) })
}

fn percent_decoded(text: &str) -> Option<Bytes> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            out.push(first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        out.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_an_epoch_and_a_key() {
        let of = |key: &'static str, epoch| Some(Fence { key: key.into(), epoch: Revision::new(epoch) });
        assert_eq!(fence("17 /election/leader"), of("/election/leader", 17));
        assert_eq!(fence("2 a%20b%25"), of("a b%", 2));
        for broken in ["", "17", "17 ", "x key", "0 key", "-3 key", "3 a%2", "3 a%zz"] {
            assert_eq!(fence(broken), None, "{broken}");
        }
    }
}
