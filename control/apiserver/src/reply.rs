//! What a verb answers, and how that becomes an HTTP response in the representation that the client asked for.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING};
use http::{HeaderMap, Response, StatusCode};
use kinds::schema::Schema;
use kinds::{CellContext, Kind};
use serde_json::{Value, json};

use crate::body::{Body, BoxError, full, stream};
use crate::negotiation::{Accepted, Encoding, PROTOBUF, Shape, encoding_of_errors};
use crate::object::{Stored, partial_metadata};
use crate::protobuf;
use crate::status::Status;
use crate::table;

/// What a handler gives back.
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) content: Content,
    pub(crate) warnings: Vec<String>,
}

pub(crate) enum Content {
    /// One object of a kind.
    Object(&'static Kind, Stored),
    /// Many objects of a kind.
    List(&'static Kind, Listing),
    /// The JSON of a list, in pieces.
    Long(Body),
    /// Something that is no stored object: a Status, a Scale, discovery.
    Json(Value),
    /// Ready bytes of some content type.
    Raw { content_type: &'static str, body: Body },
}

/// Objects and where they were found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) items: Vec<Stored>,
    pub(crate) revision: i64,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<u64>,
}

impl Listing {
    /// A `ListMeta`.
    pub(crate) fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            metadata["continue"] = json!(self.continue_token);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

/// What rendering may look at.
pub(crate) struct Rendering<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) accepted: &'a Accepted,
    pub(crate) include: table::Include,
    pub(crate) cells: CellContext,
}

impl Reply {
    pub(crate) fn ok(content: Content) -> Self {
        Self { code: StatusCode::OK, content, warnings: Vec::new() }
    }

    pub(crate) fn created(content: Content) -> Self {
        Self { code: StatusCode::CREATED, ..Self::ok(content) }
    }

    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::ok(Content::Raw { content_type: "text/plain; charset=utf-8", body: full(text.into()) })
    }

    pub(crate) fn with_code(mut self, code: StatusCode) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn render(self, rendering: &Rendering<'_>) -> Result<Response<Body>, Status> {
        let is_long = matches!(self.content, Content::Long(_));
        let (content_type, body) = match self.content {
            Content::Long(body) => ("application/json", body),
            Content::Raw { content_type, body } => (content_type, body),
            Content::Json(value) => encoded(rendering.schema, rendering.accepted.encoding, &value)?,
            Content::Object(kind, object) => match rendering.accepted.encoding {
                Encoding::Json => ("application/json", full(object_bytes(kind, &object, rendering)?)),
                Encoding::Yaml => yaml(&object_bytes(kind, &object, rendering)?)?,
                Encoding::Protobuf => (PROTOBUF, full(protobuf::object(kind, &object, rendering)?)),
            },
            Content::List(kind, listing) => match rendering.accepted.encoding {
                Encoding::Json => ("application/json", full(list_bytes(kind, listing, rendering)?)),
                Encoding::Yaml => yaml(&list_bytes(kind, listing, rendering)?)?,
                Encoding::Protobuf => (PROTOBUF, full(protobuf::list(kind, &listing, rendering)?)),
            },
        };
        let mut response = respond(self.code, content_type, body);
        if is_long {
            response.extensions_mut().insert(InPieces);
        }
        for warning in &self.warnings {
            // RFC 7234: code 299, agent "-", and the text quoted.
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", Value::from(warning.as_str()))) {
                response.headers_mut().append(WARNING, value);
            }
        }
        Ok(response)
    }
}

/// A `Status` as a response; in JSON, should it not be possible to write it in any other way.
pub(crate) fn failure(schema: &Schema, headers: &HeaderMap, status: &Status) -> Response<Body> {
    let value = status.to_json();
    let written = encoded(schema, encoding_of_errors(headers), &value);
    let (content_type, body) = written.unwrap_or_else(|_| ("application/json", full(value.to_string())));
    let mut response = respond(status.code(), content_type, body);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(crate) fn respond(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn object_bytes(kind: &Kind, object: &Stored, rendering: &Rendering<'_>) -> Result<Bytes, Status> {
    Ok(match &rendering.accepted.shape {
        Shape::Object | Shape::AggregatedDiscovery { .. } => object.served(),
        Shape::PartialMetadata { version } => {
            Bytes::from(partial_metadata(&mut object.parse_served()?, version).to_string())
        }
        Shape::Table { version } => {
            let metadata = match object.revision {
                Some(revision) => json!({"resourceVersion": revision.to_string()}),
                None => json!({}),
            };
            let row = table::row(kind, object.parse_served()?, rendering.include, &rendering.cells, version);
            Bytes::from(table::table(version, metadata, table::columns(kind), vec![row]).to_string())
        }
    })
}

fn list_bytes(kind: &Kind, listing: Listing, rendering: &Rendering<'_>) -> Result<Bytes, Status> {
    let metadata = listing.metadata();
    let (list_kind, api_version) = match &rendering.accepted.shape {
        Shape::Object | Shape::AggregatedDiscovery { .. } => (kind.list_kind(), kind.api_version()),
        Shape::PartialMetadata { version } => {
            ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"))
        }
        Shape::Table { version } => {
            let rows = listing
                .items
                .iter()
                .map(|item| {
                    let object = item.parse_served()?;
                    Ok(table::row(kind, object, rendering.include, &rendering.cells, version))
                })
                .collect::<Result<Vec<Value>, Status>>()?;
            let table = table::table(version, metadata, table::columns(kind), rows);
            return Ok(Bytes::from(table.to_string()));
        }
    };
    let head = json!({"kind": list_kind, "apiVersion": api_version, "metadata": metadata}).to_string();
    let weight: usize = listing.items.iter().map(|item| item.json.len() + 48).sum();
    let mut out = BytesMut::with_capacity(head.len() + weight + 16);
    out.put_slice(&head.as_bytes()[..head.len() - 1]);
    out.put_slice(b",\"items\":[");
    for (index, item) in listing.items.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        match &rendering.accepted.shape {
            Shape::PartialMetadata { version } => {
                let partial = partial_metadata(&mut item.parse_served()?, version);
                out.put_slice(partial.to_string().as_bytes());
            }
            Shape::Object | Shape::Table { .. } | Shape::AggregatedDiscovery { .. } => {
                item.serve_into(&mut out);
            }
        }
    }
    out.put_slice(b"]}");
    Ok(out.freeze())
}

/// What is no stored object, in some encoding.
pub(crate) fn encoded(
    schema: &Schema,
    encoding: Encoding,
    value: &Value,
) -> Result<(&'static str, Body), Status> {
    match encoding {
        Encoding::Json => Ok(("application/json", full(value.to_string()))),
        Encoding::Yaml => yaml(value.to_string().as_bytes()),
        Encoding::Protobuf => Ok((PROTOBUF, full(protobuf::value(schema, value)?))),
    }
}

fn yaml(json: &[u8]) -> Result<(&'static str, Body), Status> {
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "an answer cannot be written as YAML");
        Status::internal("the answer cannot be written as YAML")
    };
    let value: Value = serde_json::from_slice(json).map_err(|error| unreadable(&error))?;
    let yaml = serde_saphyr::to_string(&value).map_err(|error| unreadable(&error))?;
    Ok(("application/yaml", full(yaml)))
}

/// Answers above this size are compressed for clients that take gzip.
const GZIP_ABOVE_BYTES: u64 = 128 * 1024;

/// Marks an answer whose size nobody knows yet, but which is large, and has an end.
#[derive(Clone, Copy)]
struct InPieces;

/// Compresses a large answer if the client takes gzip.
pub(crate) async fn compressed(
    schema: &Schema,
    request: &HeaderMap,
    response: Response<Body>,
) -> Response<Body> {
    use http_body::Body as _;
    use std::io::Write as _;

    let takes_gzip = request
        .get_all(http::header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().split(';').next() == Some("gzip"));
    if takes_gzip && response.extensions().get::<InPieces>().is_some() {
        let (mut parts, body) = response.into_parts();
        mark_compressed(&mut parts.headers);
        return Response::from_parts(parts, compressed_pieces(body));
    }
    let large = response.body().size_hint().exact().is_some_and(|size| size > GZIP_ABOVE_BYTES);
    if !takes_gzip || !large {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = http_body_util::BodyExt::collect(body).await else {
        return failure(schema, request, &Status::internal("the answer could not be compressed"));
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    match gzip.write_all(&whole.to_bytes()).and_then(|()| gzip.finish()) {
        Ok(bytes) => {
            mark_compressed(&mut parts.headers);
            Response::from_parts(parts, full(bytes))
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be compressed");
            failure(schema, request, &Status::internal("the answer could not be compressed"))
        }
    }
}

fn mark_compressed(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Each piece as soon as it is there.
fn compressed_pieces(body: Body) -> Body {
    use http_body_util::BodyExt as _;
    use std::io::Write as _;

    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let pieces = futures::stream::try_unfold(Some((body, gzip)), |state| async move {
        let Some((mut body, mut gzip)) = state else { return Ok::<_, BoxError>(None) };
        match body.frame().await {
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    gzip.write_all(&data)?;
                }
                let ready = std::mem::take(gzip.get_mut());
                Ok(Some((Bytes::from(ready), Some((body, gzip)))))
            }
            None => Ok(Some((Bytes::from(gzip.finish()?), None))),
        }
    });
    stream(pieces)
}
