//! A watch: the response's body cut into lines, each one event.

use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use base::Revision;

use crate::error::ClientError;
use crate::transport::{Body, TransportError};

/// A longer line is no object: the API's own limit is far below.
const LINE_BYTES_MAX: usize = 32 << 20;

/// One change, in the order of the store's revisions.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    /// Added or modified.
    Applied(K),
    /// With the last state before the deletion, at the deletion's revision.
    Deleted(K),
    /// Everything up to this revision was delivered.
    Bookmark(Revision),
}

/// The events of one watch. Ends when the server closes it, which is no error.
pub struct WatchStream<K> {
    body: Body,
    pending: BytesMut,
    scanned: usize,
    kind: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> WatchStream<K> {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, pending: BytesMut::new(), scanned: 0, kind: PhantomData }
    }

    /// The next event; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// The server's Status (410 Expired when the revision is compacted), or a broken connection.
    pub async fn next(&mut self) -> Result<Option<WatchEvent<K>>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return decode(&line).map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.pending.extend_from_slice(&data);
                    }
                    if self.pending.len() > LINE_BYTES_MAX {
                        let error = std::io::Error::other("a watch event is longer than any object");
                        return Err(TransportError::Broken(Box::new(error)).into());
                    }
                }
                Some(Err(error)) => return Err(TransportError::Broken(error).into()),
                None => return Ok(None),
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let Some(end) = self.pending[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.pending.len();
            return None;
        };
        let line = self.pending.split_to(self.scanned + end);
        self.pending.advance(1);
        self.scanned = 0;
        Some(line)
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

fn decode<K: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<K>, ClientError> {
    let undecodable = |source| ClientError::Decode { what: "a watch event", source };
    let line: Line<'_> = serde_json::from_slice(line).map_err(undecodable)?;
    let object = line.object.get();
    match line.kind {
        "ADDED" | "MODIFIED" => Ok(WatchEvent::Applied(serde_json::from_str(object).map_err(undecodable)?)),
        "DELETED" => Ok(WatchEvent::Deleted(serde_json::from_str(object).map_err(undecodable)?)),
        "BOOKMARK" => {
            let bookmark: crate::object::Partial = serde_json::from_str(object).map_err(undecodable)?;
            Ok(WatchEvent::Bookmark(crate::object::HasMetadata::revision(&bookmark)))
        }
        _ => {
            let status: Status = serde_json::from_str(object).map_err(undecodable)?;
            Err(ClientError::Status(Box::new(status)))
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::object::HasMetadata;

    fn body(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks
            .iter()
            .map(|c| Ok(http_body::Frame::data(bytes::Bytes::from_static(c.as_bytes()))))
            .collect();
        http_body_util::StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn events_may_be_cut_anywhere() {
        let mut watch = WatchStream::<ConfigMap>::new(body(&[
            "{\"type\":\"ADDED\",\"obj",
            "ect\":{\"metadata\":{\"name\":\"a\"}}}\n{\"type\":\"BOOKMARK\",\"object\":",
            "{\"metadata\":{\"resourceVersion\":\"7\"}}}\n",
            "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"reason\":\"Expired\"}}\n",
        ]));
        let Ok(Some(WatchEvent::Applied(a))) = watch.next().await else { panic!("no first event") };
        assert_eq!(a.name(), "a");
        assert_eq!(watch.next().await.expect("a bookmark"), Some(WatchEvent::Bookmark(Revision::new(7))));
        assert!(watch.next().await.expect_err("expired").is_expired());
        assert_eq!(watch.next().await.expect("the end"), None);
    }
}
