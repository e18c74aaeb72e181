//! Answers in Kubernetes' protobuf, made from the JSON that is stored or would be answered.

use bytes::Bytes;
use kinds::Kind;
use kinds::schema::Schema;
use kinds::schema::protobuf::{EncodeError, MessageId, TypeMeta, encode, encode_list};
use serde_json::Value;

use crate::negotiation::Shape;
use crate::object::{Stored, partial_metadata};
use crate::reply::{Listing, Rendering};
use crate::status::Status;

/// One object in the shape that the client asked for.
pub(crate) fn object(kind: &Kind, object: &Stored, rendering: &Rendering<'_>) -> Result<Bytes, Status> {
    match &rendering.accepted.shape {
        Shape::PartialMetadata { version } => {
            value(rendering.schema, &partial_metadata(&mut object.parse_served()?, version))
        }
        Shape::Object | Shape::AggregatedDiscovery { .. } => bare_object(rendering.schema, kind, object),
        Shape::Table { .. } => Err(Status::not_acceptable()),
    }
}

/// One object as it is.
pub(crate) fn bare_object(schema: &Schema, kind: &Kind, object: &Stored) -> Result<Bytes, Status> {
    let of = TypeMeta { api_version: &kind.api_version(), kind: kind.kind };
    let message = known(schema.message_of(kind.definition))?;
    Ok(encode(schema, (of, message), &object.served()).map_err(unwritable)?.into())
}

/// Many objects. Each is read, written and forgotten before the next.
pub(crate) fn list(kind: &Kind, listing: &Listing, rendering: &Rendering<'_>) -> Result<Bytes, Status> {
    let schema = rendering.schema;
    let metadata = listing.metadata().to_string();
    let items = listing.items.iter().rev();
    let bytes = match &rendering.accepted.shape {
        Shape::PartialMetadata { version } => {
            let api_version = &format!("meta.k8s.io/{version}");
            let of = TypeMeta { api_version, kind: "PartialObjectMetadataList" };
            let partial = |item: &Stored| {
                let mut object = item.parse_served()?;
                Ok(partial_metadata(&mut object, version).to_string())
            };
            let items = items.map(partial).collect::<Result<Vec<String>, Status>>()?;
            let message = known(schema.message_of_object(of))?;
            encode_list(schema, (of, message), metadata.as_bytes(), items.into_iter())
        }
        Shape::Object | Shape::AggregatedDiscovery { .. } => {
            let list_kind = kind.list_kind();
            let of = TypeMeta { api_version: &kind.api_version(), kind: &list_kind };
            let package = kind.definition.rsplit_once('.').map(|(package, _)| package).unwrap_or_default();
            let message = known(schema.message_of(&format!("{package}.{list_kind}")))?;
            encode_list(schema, (of, message), metadata.as_bytes(), items.map(Stored::served))
        }
        Shape::Table { .. } => return Err(Status::not_acceptable()),
    };
    Ok(bytes.map_err(unwritable)?.into())
}

/// What says itself which type it is.
pub(crate) fn value(schema: &Schema, value: &Value) -> Result<Bytes, Status> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let of = TypeMeta { api_version: text("apiVersion"), kind: text("kind") };
    let message = known(schema.message_of_object(of))?;
    Ok(encode(schema, (of, message), value.to_string().as_bytes()).map_err(unwritable)?.into())
}

fn known(message: Option<MessageId>) -> Result<MessageId, Status> {
    message.ok_or_else(Status::not_acceptable)
}

fn unwritable(error: EncodeError) -> Status {
    tracing::error!(%error, "an answer cannot be written as protobuf");
    Status::internal("the answer cannot be written as protobuf")
}
