//! PATCH with `application/apply-patch+yaml`: server-side apply.
//!
//! The configuration is laid over the newest object, and again when that object changed meanwhile; where there is
//! none, it is created. What is written goes through defaults, admission and validation like any update.

use kinds::schema::apply::{OnConflict, check_declared};
use kinds::schema::{self, Document};
use kinds::{meta, tree};
use serde_json::Value;

use super::ATTEMPTS_MAX;
use super::create::{Creation, create_object};
use super::managing::{Managing, writer};
use super::write::{Part, Update, change_object};
use crate::decode::Expected;
use crate::object::Stored;
use crate::query::{FieldValidation, WriteOptions};
use crate::reply::{Content, Reply};
use crate::server::{Call, code_of};
use crate::status::Status;

pub(crate) const MEDIA_TYPE: &str = "application/apply-patch+yaml";

/// What is applied, and how.
pub(crate) struct Apply {
    pub(crate) part: Part,
    pub(crate) config: Value,
    pub(crate) dry_run: bool,
    pub(crate) on_conflict: OnConflict,
}

/// Applies the body to the object or to one of its views.
pub(crate) async fn apply_part(call: &Call<'_>, part: Part) -> Result<Reply, Status> {
    let (options, on_conflict) = WriteOptions::parse_apply(call.query)?;
    let config = read_config(call, Expected::object(call.kind), options.field_validation)?;
    let apply = Apply { part, config, dry_run: options.dry_run, on_conflict };
    let (stored, created) = apply_config(call, &apply).await?;
    Ok(Reply::ok(Content::Object(call.kind, stored)).with_code(code_of(created)))
}

/// The body as a configuration of the type `expected`.
pub(crate) fn read_config(
    call: &Call<'_>,
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let undecodable = |why: &str| Status::bad_request(format!("error decoding YAML: {why}"));
    let Document { value: config, duplicates } =
        schema::read_document(&call.body).map_err(|error| undecodable(&error.to_string()))?;
    if !config.is_object() {
        let word = super::patch::go_word(&config);
        return Err(undecodable(&format!(
            "json: cannot unmarshal {word} into Go value of type map[string]interface {{}}"
        )));
    }
    let warnings: Vec<String> = duplicates
        .iter()
        .map(|key| format!("error converting YAML to JSON: key {key:?} already set in map"))
        .collect();
    if let (FieldValidation::Strict, [first, ..]) = (validation, &warnings[..]) {
        return Err(undecodable(first));
    }
    check_type(call, expected, &config)?;
    if validation == FieldValidation::Warn {
        call.warnings.say_all(warnings);
    }
    Ok(config)
}

fn check_type(call: &Call<'_>, expected: Expected<'_>, config: &Value) -> Result<(), Status> {
    let api_version = tree::text(config, "apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let shown = format!("{group}/{version}, Kind={}", tree::text(config, "kind"));
    if shown != format!("{}/{}, Kind={}", expected.group, expected.version, expected.kind) {
        return Err(Status::bad_request(format!("invalid object type: {shown}")));
    }
    if !tree::get(config, "metadata.managedFields").is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let (schema, ty) = match expected.custom {
        Some(custom) => (&custom.graph, custom.ty),
        None => (&*call.server.schema, call.server.type_of(expected.definition)?),
    };
    check_declared(schema, ty, config).map_err(|why| {
        let (namespace, name) = (meta::namespace(config), meta::name(config));
        Status::untyped(format!("failed to create typed patch object ({namespace}/{name}; {shown}): {why}"))
    })
}

/// The object as it then is, and whether it is new.
pub(crate) async fn apply_config(call: &Call<'_>, apply: &Apply) -> Result<(Stored, bool), Status> {
    let update = Update { part: apply.part, dry_run: apply.dry_run, managing: Managing::Applied };
    for _ in 0..ATTEMPTS_MAX {
        match change_object(call, &update, |current| applied(call, Some(current), apply)).await {
            Err(status) if status.reason() == "NotFound" && matches!(apply.part, Part::Object) => {}
            changed => return changed.map(|stored| (stored, false)),
        }
        if call.path.subresource.is_some() {
            return Err(Status::not_found(call.kind, call.name()));
        }
        call.authorize_creation().await?;
        match create(call, apply).await {
            // Someone else made it meanwhile, so there is something to apply to.
            Err(status) if status.reason() == "AlreadyExists" => {}
            created => return created.map(|stored| (stored, true)),
        }
    }
    Err(Status::contended(call.kind, call.name()))
}

async fn create(call: &Call<'_>, apply: &Apply) -> Result<Stored, Status> {
    let (kind, name) = (call.kind, call.name());
    let uid = meta::uid(&apply.config);
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(kind, name, &why));
    }
    if !matches!(meta::resource_version(&apply.config), "" | "0") {
        return Err(Status::modified(kind, name));
    }
    match meta::name(&apply.config) {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        own if own != name => Err(Status::misnamed(own, name)),
        _ => {
            let object = applied(call, None, apply)?;
            let creation = Creation { dry_run: apply.dry_run, managing: Managing::Applied };
            create_object(call, object, creation).await
        }
    }
}

/// What the configuration makes of `live`, as an object of the kind.
fn applied(call: &Call<'_>, live: Option<&Value>, apply: &Apply) -> Result<Value, Status> {
    let (schema, ty) = call.server.type_of_kind(call.kind)?;
    let how = (&writer(call, apply.part), apply.on_conflict);
    let mut object = schema::apply::apply(schema, ty, live, &apply.config, how)
        .map_err(|conflicts| Status::apply_conflict(&conflicts))?;
    if let Some(custom) = call.kind.custom {
        custom.settle(&mut object).map_err(|error| Status::bad_request(error.to_string()))?;
        return Ok(object);
    }
    let decoded = schema::decode_value(schema, ty, &object);
    Ok(decoded.map_err(|error| Status::bad_request(error.to_string()))?.value)
}
