//! What a client may add to its writes: an id, so that a retry is applied once, and a fence.

use std::sync::atomic::Ordering;

use base::LeaseId;
use bytes::Bytes;

use super::Store;
use crate::disk::codec;
use crate::mvcc::fence::Fence;
use crate::mvcc::machine::Action;
use crate::mvcc::retries::RequestId;

/// What goes with the writes of one handle. Reads are not touched by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Names the request, whichever member it is sent to and how often. The same request under the same name is applied
    /// once, and answered alike for five minutes. Another request under the same name is another request.
    pub request_id: Option<Bytes>,
    /// The write lands only while this holds.
    pub fence: Option<Fence>,
}

impl Store {
    /// The same store, through a handle whose writes carry these options.
    #[must_use]
    pub fn with(&self, options: WriteOptions) -> Self {
        Self { options, ..self.clone() }
    }

    pub(super) fn request_id(&self, action: &Action) -> RequestId {
        match &self.options.request_id {
            // Not the user: auth may be turned on or off before it is asked again. Whose the answer is, is kept with it.
            Some(name) => RequestId::of_client(name, &codec::encode(action)),
            None => {
                let serial = self.inner.serial.fetch_add(1, Ordering::Relaxed);
                RequestId::of_node(self.inner.origin, serial)
            }
        }
    }

    /// Drawn by chance, but the same again for the same request: a retry must be the same command.
    pub(super) fn fresh_lease_id(&self) -> LeaseId {
        let drawn = match &self.options.request_id {
            Some(name) => RequestId::of_client(name, b"lease id").origin,
            None => self.inner.entropy.u64(),
        };
        LeaseId::new((drawn >> 1).max(1).cast_signed())
    }
}
