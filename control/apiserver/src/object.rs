//! Objects as they lie in the store: JSON bytes, `kind`, `apiVersion` and `metadata` first, no resourceVersion.
//!
//! What is served is those bytes with the resourceVersion put in; nothing is parsed on the way out.

use base::Revision;
use bytes::{BufMut, Bytes, BytesMut};
use kinds::{Kind, tree};
use serde_json::{Map, Value, json};
use store::{Event, EventKind};

use crate::status::Status;

/// One object and the revision that wrote it; `None` for a dry run, which wrote nothing.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) json: Bytes,
    pub(crate) revision: Option<Revision>,
}

/// What an object is at that a draft has changed: no revision yet.
pub(crate) const DRAFTED: Revision = Revision::new(i64::MAX);
/// Where the metadata starts. The values before it are names without quotes, so the first match is the one.
const METADATA: &[u8] = b"\"metadata\":{";
const METADATA_WITHIN_BYTES: usize = 512;

impl Stored {
    /// What an event leaves behind; `None` of a deletion.
    pub(crate) fn after(event: &Event) -> Option<Self> {
        match event.kind {
            EventKind::Put => {
                Some(Self { json: event.kv.value.clone(), revision: Some(event.kv.mod_revision) })
            }
            EventKind::Delete => None,
        }
    }

    /// What a transaction compares to know that it is still this one; 0 of what was never written.
    pub(crate) fn written_at(&self) -> Revision {
        self.revision.unwrap_or(Revision::new(0))
    }

    /// The parsed object, without resourceVersion.
    pub(crate) fn parse(&self) -> Result<Value, Status> {
        serde_json::from_slice(&self.json).map_err(|error| {
            tracing::error!(%error, "a stored object is no JSON");
            Status::internal("a stored object cannot be read")
        })
    }

    /// The parsed object as clients see it.
    pub(crate) fn parse_served(&self) -> Result<Value, Status> {
        let mut object = self.parse()?;
        if let Some(revision) = self.revision {
            tree::set(&mut object, "metadata.resourceVersion", revision.to_string());
        }
        Ok(object)
    }

    /// What was drafted as it is once it is committed at `revision`; `None`: it was only tried.
    pub(crate) fn settled(self, revision: Option<Revision>) -> Self {
        match self.revision {
            Some(DRAFTED) => Self { revision, ..self },
            _ => self,
        }
    }

    /// The bytes as clients see them.
    pub(crate) fn served(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.json.len() + 48);
        self.serve_into(&mut out);
        out.freeze()
    }

    pub(crate) fn serve_into(&self, out: &mut BytesMut) {
        let window = &self.json[..self.json.len().min(METADATA_WITHIN_BYTES)];
        let metadata = window.windows(METADATA.len()).position(|part| part == METADATA);
        match (self.revision, metadata) {
            (Some(revision), Some(at)) => {
                let (head, tail) = self.json.split_at(at + METADATA.len());
                out.put_slice(head);
                out.put_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
                if tail.first() != Some(&b'}') {
                    out.put_u8(b',');
                }
                out.put_slice(tail);
            }
            (_, _) => out.put_slice(&self.json),
        }
    }
}

/// The bytes to store for `object`.
pub(crate) fn encode(kind: &Kind, mut object: Value) -> Bytes {
    let mut ordered = Map::new();
    ordered.insert("kind".to_owned(), json!(kind.kind));
    ordered.insert("apiVersion".to_owned(), json!(kind.api_version()));
    let mut metadata = object.get_mut("metadata").map(Value::take).unwrap_or_else(|| json!({}));
    if let Some(fields) = metadata.as_object_mut() {
        fields.shift_remove("resourceVersion");
    }
    ordered.insert("metadata".to_owned(), metadata);
    if let Value::Object(fields) = object {
        let rest = fields
            .into_iter()
            .filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion" | "metadata"));
        ordered.extend(rest);
    }
    Bytes::from(Value::Object(ordered).to_string())
}

/// `kind: PartialObjectMetadata` of an object.
pub(crate) fn partial_metadata(object: &mut Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get_mut("metadata").map(Value::take).unwrap_or_else(|| json!({})),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_revision_is_spliced_into_the_stored_bytes() {
        let kind = &kinds::core::config_map::CONFIG_MAP;
        let object = json!({
            "data": {"metadata": "{\"metadata\":{"}, "metadata": {"resourceVersion": "1", "name": "a"},
        });
        let stored = Stored { json: encode(kind, object), revision: Some(Revision::new(7)) };
        expect![[r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"metadata":"{\"metadata\":{"}}"#]]
            .assert_eq(std::str::from_utf8(&stored.json).unwrap());
        expect![[r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"a"},"data":{"metadata":"{\"metadata\":{"}}"#]]
            .assert_eq(std::str::from_utf8(&stored.served()).unwrap());
    }
}
