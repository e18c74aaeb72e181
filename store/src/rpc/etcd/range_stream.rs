//! RangeStream: one range at one revision, in chunks that grow towards the size limit of a message.
//!
//! Only key order and no revision filters, as in etcd; clients fall back to pages when refused.

use std::pin::Pin;

use bytes::{BufMut as _, BytesMut};
use futures::Stream;
use proto::etcdserverpb as pb;
use tonic::Status;

use super::super::error;
use super::{Front, convert};
use crate::{KeyValue, Range, RangeResult};
use base::Revision;

const FIRST_CHUNK_KEYS: usize = 10;
const CHUNK_KEYS_MAX: usize = 10_000;
const CHUNK_BYTES: usize = 512 * 1024;

pub(super) type RangeChunks = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

pub(super) fn start(front: Front, range: Range) -> Result<RangeChunks, Status> {
    let filtered = range.min_mod_revision.is_some()
        || range.max_mod_revision.is_some()
        || range.min_create_revision.is_some()
        || range.max_create_revision.is_some();
    if range.sort.is_some() || filtered {
        return Err(Status::unimplemented("RangeStream serves neither sorted nor filtered ranges"));
    }
    let reading = Reading { left: range.limit, range, front, first: None, keys: FIRST_CHUNK_KEYS };
    Ok(Box::pin(futures::stream::try_unfold(Some(reading), |reading| async move {
        match reading {
            None => Ok(None),
            Some(reading) => reading.next().await.map(Some),
        }
    })))
}

struct Reading {
    front: Front,
    /// What is still to be read.
    range: Range,
    /// Keys that may still be sent; 0: no limit.
    left: usize,
    /// What the first chunk told about the whole.
    first: Option<Whole>,
    /// How many keys the next chunk asks for.
    keys: usize,
}

#[derive(Clone, Copy)]
struct Whole {
    revision: Revision,
    count: u64,
}

impl Reading {
    async fn next(mut self) -> Result<(pb::RangeStreamResponse, Option<Self>), Status> {
        let limit = if self.left == 0 { self.keys } else { self.keys.min(self.left) };
        let asked = Range { limit, ..self.range.clone() };
        let result = self.front.store.range(asked).await.map_err(|refused| error::status(&refused))?;
        let whole = *self.first.get_or_insert(Whole { revision: result.revision, count: result.count });
        let cut = self.left != 0 && self.left <= result.kvs.len();
        let last = match result.kvs.last() {
            Some(last) if result.more && !cut => last.key.clone(),
            _ => return Ok((self.finish(whole, result), None)),
        };
        self.advance(whole, last.as_ref(), &result.kvs);
        let chunk = pb::RangeResponse {
            kvs: result.kvs.into_iter().map(convert::key_value).collect(),
            ..pb::RangeResponse::default()
        };
        Ok((pb::RangeStreamResponse { range_response: Some(chunk) }, Some(self)))
    }

    /// The next chunk starts right after the last key, at the same revision, which needs no quorum any more.
    fn advance(&mut self, whole: Whole, last: &[u8], kvs: &[KeyValue]) {
        let mut after = BytesMut::with_capacity(last.len() + 1);
        after.put_slice(last);
        after.put_u8(0);
        self.range.span.start = after.freeze();
        self.range.revision.get_or_insert(whole.revision);
        self.range.serializable = true;
        self.left -= if self.left == 0 { 0 } else { kvs.len() };
        let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        let mean = (bytes / kvs.len().max(1)).max(1);
        self.keys = (CHUNK_BYTES / mean).clamp(1, self.keys * 4).min(CHUNK_KEYS_MAX);
    }

    fn finish(&self, whole: Whole, result: RangeResult) -> pb::RangeStreamResponse {
        let range_response = Some(pb::RangeResponse {
            header: Some(self.front.header(whole.revision)),
            more: result.more,
            count: i64::try_from(whole.count).unwrap_or(i64::MAX),
            kvs: result.kvs.into_iter().map(convert::key_value).collect(),
        });
        pb::RangeStreamResponse { range_response }
    }
}
