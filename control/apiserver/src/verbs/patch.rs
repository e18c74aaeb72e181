//! PATCH: JSON merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch; an apply is handed on.
//!
//! A patch is applied to the newest object and again when that object changed meanwhile, unless the patch itself
//! names a resourceVersion.

use http::header::CONTENT_TYPE;
use json_patch::PatchOperation;
use kinds::schema::{self, Decoded, merge};
use kinds::{FieldError, FieldErrors, meta};
use serde_json::Value;

use super::apply;
use super::managing::Managing;
use super::write::{Part, Update, change_object};
use crate::decode::Expected;
use crate::negotiation::media_type;
use crate::query::{FieldValidation, WriteOptions};
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;

const JSON_PATCH_OPS_MAX: usize = 10_000;
/// Merges lists by keys that only built-in kinds have.
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MEDIA_TYPES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", STRATEGIC, apply::MEDIA_TYPE];

/// A patch, parsed.
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

pub(crate) async fn patch(call: &Call<'_>) -> Result<Reply, Status> {
    patch_part(call, Part::Object).await
}

/// PATCH of the object or of one of its views.
pub(crate) async fn patch_part(call: &Call<'_>, part: Part) -> Result<Reply, Status> {
    if is_apply(call) {
        return apply::apply_part(call, part).await;
    }
    let patch = Patch::parse(call)?;
    let options = WriteOptions::parse(call.query, "PatchOptions")?;
    let update = Update { part, dry_run: options.dry_run, managing: Managing::Track };
    let stored = change_object(call, &update, |current| {
        let patched = patch.apply_as(call, call.kind.definition, current)?;
        checked(call, patched, options.field_validation)
    })
    .await?;
    Ok(Reply::ok(Content::Object(call.kind, stored)))
}

/// Whether the body is a configuration to apply.
pub(crate) fn is_apply(call: &Call<'_>) -> bool {
    body_type(call) == apply::MEDIA_TYPE
}

fn body_type(call: &Call<'_>) -> String {
    let header = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type(header.unwrap_or_default())
}

impl Patch {
    pub(crate) fn parse(call: &Call<'_>) -> Result<Self, Status> {
        match body_type(call).as_str() {
            "application/json-patch+json" => json_patch(&call.body).map(Self::Json),
            "application/merge-patch+json" => object_patch(&call.body).map(Self::Merge),
            STRATEGIC if call.kind.custom.is_none() => object_patch(&call.body).map(Self::Strategic),
            _ if call.kind.custom.is_some() => {
                let taken: Vec<&str> =
                    MEDIA_TYPES.iter().copied().filter(|media| *media != STRATEGIC).collect();
                Err(Status::unsupported_media_type(&taken))
            }
            _ => Err(Status::unsupported_media_type(MEDIA_TYPES)),
        }
    }

    /// What the patch makes of `current`, an object of the definition `definition`.
    pub(crate) fn apply_as(
        &self,
        call: &Call<'_>,
        definition: &str,
        current: &Value,
    ) -> Result<Value, Status> {
        let mut object = current.clone();
        match self {
            Self::Json(patch) => apply_json(&mut object, patch).map_err(|error| {
                tracing::debug!(%error, "a JSON patch does not apply");
                Status::patch_rejected()
            })?,
            Self::Merge(patch) => merge::merge_patch(&mut object, patch),
            Self::Strategic(patch) => {
                let ty = call.server.type_of(definition)?;
                object = merge::strategic(&call.server.schema, ty, current, patch)
                    .map_err(|error| Status::bad_request(error.to_string()))?;
            }
        }
        Ok(object)
    }
}

fn apply_json(object: &mut Value, patch: &json_patch::Patch) -> Result<(), json_patch::PatchError> {
    let mut steps = patch.0.iter();
    steps.try_for_each(|step| match finds_nothing(object, step) {
        true => Ok(()),
        false => json_patch::patch(object, std::slice::from_ref(step)),
    })
}

/// Whether a step tests that a field is null which is not there. To the RFC that is a failure; Kubernetes takes the two for
/// the same, and clients rely on it to add what nobody else has added meanwhile.
fn finds_nothing(object: &Value, step: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = step else { return false };
    let Some((parent, name)) = test.path.split_back().filter(|_| test.value.is_null()) else { return false };
    let fields = object.pointer(parent.as_str()).and_then(Value::as_object);
    fields.is_some_and(|fields| !fields.contains_key(&*name.decoded()))
}

fn json_patch(body: &[u8]) -> Result<json_patch::Patch, Status> {
    let undecodable =
        |why: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {why}"));
    let ops = schema::read_object(body, false).map_err(|error| undecodable(&error))?.value;
    let Value::Array(list) = &ops else {
        let word = go_word(&ops);
        return Err(undecodable(&format!(
            "json: cannot unmarshal {word} into Go value of type []handlers.jsonPatchOp"
        )));
    };
    if list.len() > JSON_PATCH_OPS_MAX {
        return Err(Status::body_too_large(JSON_PATCH_OPS_MAX));
    }
    for op in list {
        let known = ["add", "remove", "replace", "move", "copy", "test"];
        if !known.contains(&kinds::tree::text(op, "op")) {
            return Err(Status::bad_request(format!("invalid operation {op}: unsupported operation")));
        }
    }
    serde_json::from_value(ops).map_err(|error| {
        tracing::debug!(%error, "a JSON patch is malformed");
        Status::patch_rejected()
    })
}

fn object_patch(body: &[u8]) -> Result<Value, Status> {
    let undecodable =
        |why: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {why}"));
    let patch = schema::read_object(body, false).map_err(|error| undecodable(&error))?.value;
    if patch.is_object() {
        return Ok(patch);
    }
    let word = go_word(&patch);
    Err(undecodable(&format!(
        "json: cannot unmarshal {word} into Go value of type map[string]interface {{}}"
    )))
}

/// What Go's decoder calls a value.
pub(super) fn go_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The outcome of a patch must be an object of the kind; what the schema does not know is warned of.
fn checked(call: &Call<'_>, patched: Value, validation: FieldValidation) -> Result<Value, Status> {
    let expected = Expected::object(call.kind);
    let invalid = |why: String| {
        let mut errors = FieldErrors::new();
        errors.push(FieldError::invalid("patch", patched.to_string(), why));
        Status::invalid_patch(&errors)
    };
    let decoded = match call.kind.custom {
        Some(custom) => {
            let mut value = patched.clone();
            custom.settle(&mut value).map(|unknown| Decoded { value, unknown })
        }
        None => {
            schema::decode_value(&call.server.schema, call.server.type_of(expected.definition)?, &patched)
        }
    };
    let decoded = decoded.map_err(|error| invalid(error.to_string()))?;
    if meta::name(&decoded.value).is_empty() {
        return Err(Status::misnamed("", call.name()));
    }
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => call.warnings.say_all(decoded.unknown),
        FieldValidation::Strict if decoded.unknown.is_empty() => {}
        FieldValidation::Strict => {
            return Err(invalid(format!("strict decoding error: {}", decoded.unknown.join(", "))));
        }
    }
    Ok(decoded.value)
}
