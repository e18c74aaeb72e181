//! From a request body to an object: JSON, YAML or protobuf, checked against the schema of its kind.

use bytes::Bytes;
use kinds::custom::Custom;
use kinds::schema::{self, DecodeError, Decoded};
use kinds::{Kind, tree};
use serde_json::Value;

use crate::negotiation::{BodyFormat, body_format};
use crate::query::FieldValidation;
use crate::server::{Call, Shared};
use crate::status::Status;

/// How custom objects may be sent: nobody has a protobuf message for them.
const CUSTOM_BODIES: &[&str] = &["application/json", "application/yaml"];

/// What a body must be: a definition of the schema, and the words for it.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) definition: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    /// Of a custom kind: what its definition says.
    pub(crate) custom: Option<&'static Custom>,
}

impl Expected<'_> {
    pub(crate) fn object(kind: &'static Kind) -> Expected<'static> {
        Expected {
            definition: kind.definition,
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            custom: kind.custom,
        }
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Decodes the call's body as `expected`; the caller is warned of what the schema does not know, unless that is refused.
pub(crate) fn decode(
    call: &Call<'_>,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let Call { server, headers, body, .. } = call;
    let format = body_format(headers)?;
    if let Some(custom) = expected.custom {
        return decode_custom(call, (expected, custom), format, validation);
    }
    let ty = server.type_of(expected.definition)?;
    let decoded = match format {
        BodyFormat::Json => schema::decode_json(&server.schema, ty, body),
        BodyFormat::Yaml => schema::decode_yaml(&server.schema, ty, body),
        BodyFormat::Protobuf => {
            let mut value = schema::protobuf::decode(&server.schema, body)
                .map_err(|error| unrecognized(expected, body, &error))?;
            check_type(server, expected, &mut value)?;
            return Ok(value);
        }
    };
    let decoded = decoded.map_err(|error| refused(server, expected, body, &error))?;
    let Decoded { mut value, unknown } = decoded;
    check_type(server, expected, &mut value)?;
    call.warnings.say_all(judge_unknown(expected, unknown, validation)?);
    Ok(value)
}

/// A custom object: of the wrong kind or with unknown fields like any other, while the types of its fields are left to
/// validation.
fn decode_custom(
    call: &Call<'_>,
    (expected, custom): (Expected<'_>, &Custom),
    format: BodyFormat,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let Call { server, body, .. } = call;
    let is_yaml = match format {
        BodyFormat::Json => false,
        BodyFormat::Yaml => true,
        BodyFormat::Protobuf => return Err(Status::unsupported_media_type(CUSTOM_BODIES)),
    };
    let document =
        schema::read_object(body, is_yaml).map_err(|error| refused(server, expected, body, &error))?;
    let mut value = document.value;
    if !value.is_object() {
        return Err(unrecognized(expected, body, &"the body is no object"));
    }
    for field in ["kind", "apiVersion"] {
        if tree::text(&value, field).is_empty() {
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object '{}' is missing in '{}' ({})",
                expected.kind,
                capital(field),
                String::from_utf8_lossy(&body[..body.len().min(QUOTED_BYTES_MAX)]),
                summary(body)
            )));
        }
    }
    check_type(server, expected, &mut value)?;
    let gone = custom.settle(&mut value).map_err(|error| refused(server, expected, body, &error))?;
    let mut unknown: Vec<String> =
        document.duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    unknown.extend(gone);
    call.warnings.say_all(judge_unknown(expected, unknown, validation)?);
    Ok(value)
}

fn capital(field: &str) -> &str {
    if field == "kind" { "Kind" } else { field }
}

/// What to do with fields that the schema does not know: gives back what to warn of.
pub(crate) fn judge_unknown(
    expected: Expected<'_>,
    unknown: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    if unknown.is_empty() {
        return Ok(unknown);
    }
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(unknown),
        FieldValidation::Strict => Err(cannot_handle(
            expected.kind,
            expected,
            &format!("strict decoding error: {}", unknown.join(", ")),
        )),
    }
}

/// The body's own `kind` and `apiVersion` may be missing, but not be others.
fn check_type(server: &Shared, expected: Expected<'_>, value: &mut Value) -> Result<(), Status> {
    let text = |value: &Value, field: &str| kinds::tree::text(value, field).to_owned();
    let (kind, api_version) = (text(value, "kind"), text(value, "apiVersion"));
    let wanted = expected.api_version();
    if !kind.is_empty() && kind != expected.kind {
        let version = if api_version.is_empty() { wanted.as_str() } else { api_version.as_str() };
        let why = match server.registry.of_type(version, &kind) {
            None => format!("no kind {kind:?} is registered for version {version:?} in scheme \"navarch\""),
            Some(_) => format!(
                "converting ({}.{kind}) to ({}.{}): unknown conversion",
                version.rsplit('/').next().unwrap_or_default(),
                expected.version,
                expected.kind
            ),
        };
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: {why}",
            expected.kind
        )));
    }
    // Two versions of Eviction mean the same, and old clients send the old one. DeleteOptions is part of every
    // group and version: clients name the one of what they delete.
    let same_group = api_version.rsplit_once('/').map(|(group, _)| group) == Some(expected.group);
    let versions_agree = (expected.kind == "Eviction" && same_group) || expected.kind == "DeleteOptions";
    if !api_version.is_empty() && api_version != wanted && !versions_agree {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    if let Some(fields) = value.as_object_mut() {
        fields.insert("kind".to_owned(), expected.kind.into());
        fields.insert("apiVersion".to_owned(), wanted.into());
    }
    Ok(())
}

fn refused(server: &Shared, expected: Expected<'_>, body: &Bytes, error: &DecodeError) -> Status {
    match error {
        DecodeError::Truncated
        | DecodeError::Syntax { .. }
        | DecodeError::Yaml { .. }
        | DecodeError::TooDeep => unrecognized(expected, body, error),
        DecodeError::Mismatch { .. }
        | DecodeError::Quantity { .. }
        | DecodeError::Time { .. }
        | DecodeError::Base64 { .. } => {
            // Of a body that is another kind altogether, that is the better complaint.
            let mut value = serde_json::from_slice(body).unwrap_or_default();
            match check_type(server, expected, &mut value) {
                Err(status) => status,
                Ok(()) => cannot_handle(expected.kind, expected, &error.to_string()),
            }
        }
    }
}

fn cannot_handle(kind: &str, expected: Expected<'_>, why: &str) -> Status {
    Status::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {}: {why}",
        expected.api_version().rsplit('/').next().unwrap_or_default(),
        expected.kind
    ))
}

fn unrecognized(expected: Expected<'_>, body: &Bytes, error: &dyn std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {error} ({})",
        expected.kind,
        summary(body)
    ))
}

/// How much of a body a message repeats.
const QUOTED_BYTES_MAX: usize = 4096;

/// The front of a body, for a message: text if it looks like JSON, hexadecimal otherwise.
fn summary(body: &[u8]) -> String {
    const SHOWN_BYTES: usize = 30;
    let front = &body[..body.len().min(SHOWN_BYTES)];
    let shown = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(front).into_owned(),
        Some(_) => front.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN_BYTES { format!("{shown} ...") } else { shown }
}
