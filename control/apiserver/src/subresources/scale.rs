//! `scale`: the number of replicas of a kind, as an autoscaling/v1 Scale.

use kinds::{Scale, meta, schema, tree};
use serde_json::{Value, json};

use crate::decode::{Expected, decode};
use crate::object::Stored;
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::verbs::apply::{Apply, apply_config, read_config};
use crate::verbs::get::named;
use crate::verbs::managing::Managing;
use crate::verbs::patch::{Patch, is_apply};
use crate::verbs::write::{Part, Update, change_object};

const SCALE: Expected<'static> = Expected {
    definition: "io.k8s.api.autoscaling.v1.Scale",
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    custom: None,
};

pub(super) async fn get(call: &Call<'_>, scale: &Scale) -> Result<Reply, Status> {
    answer(&named(call).await?, scale)
}

pub(super) async fn update(call: &Call<'_>, scale: &Scale) -> Result<Reply, Status> {
    let options = WriteOptions::parse(call.query, "UpdateOptions")?;
    let sent = decode(call, SCALE, options.field_validation)?;
    let update = Update { part: Part::Object, dry_run: options.dry_run, managing: Managing::Track };
    let stored = change_object(call, &update, |current| Ok(scaled(current, &sent, scale))).await?;
    answer(&stored, scale)
}

pub(super) async fn patch(call: &Call<'_>, scale: &Scale) -> Result<Reply, Status> {
    if is_apply(call) {
        return apply(call, scale).await;
    }
    let patch = Patch::parse(call)?;
    let options = WriteOptions::parse(call.query, "PatchOptions")?;
    let update = Update { part: Part::Object, dry_run: options.dry_run, managing: Managing::Track };
    let stored = change_object(call, &update, |current| {
        let patched = patch.apply_as(call, SCALE.definition, &view(current, scale))?;
        let ty = call.server.type_of(SCALE.definition)?;
        let decoded = schema::decode_value(&call.server.schema, ty, &patched)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        Ok(scaled(current, &decoded.value, scale))
    })
    .await?;
    answer(&stored, scale)
}

/// Applies the number alone: the rest of a Scale is the object's.
async fn apply(call: &Call<'_>, scale: &Scale) -> Result<Reply, Status> {
    let (options, on_conflict) = WriteOptions::parse_apply(call.query)?;
    let sent = read_config(call, SCALE, options.field_validation)?;
    let mut config = json!({"apiVersion": call.kind.api_version(), "kind": call.kind.kind});
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        tree::copy(&mut config, &format!("metadata.{field}"), &sent);
    }
    if let Some(replicas) = tree::int(&sent, "spec.replicas") {
        tree::set(&mut config, scale.spec_replicas, replicas);
    }
    let apply = Apply { part: Part::Object, config, dry_run: options.dry_run, on_conflict };
    let (stored, _) = apply_config(call, &apply).await?;
    answer(&stored, scale)
}

fn answer(stored: &Stored, scale: &Scale) -> Result<Reply, Status> {
    Ok(Reply::ok(Content::Json(view(&stored.parse_served()?, scale))))
}

/// `object` with the number of `sent`, and with its identity, which is checked like any other.
fn scaled(object: &Value, sent: &Value, scale: &Scale) -> Value {
    let mut object = object.clone();
    for field in ["name", "uid", "resourceVersion"] {
        let value = tree::get(sent, &format!("metadata.{field}"));
        if value.as_str().is_some_and(|text| !text.is_empty()) {
            meta::set(&mut object, field, value.clone());
        }
    }
    let replicas = tree::int(sent, "spec.replicas").unwrap_or_default();
    tree::set(&mut object, scale.spec_replicas, replicas);
    object
}

fn view(object: &Value, scale: &Scale) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        match tree::get(object, &format!("metadata.{field}")) {
            Value::Null => {}
            value => metadata[field] = value.clone(),
        }
    }
    let mut status = json!({"replicas": tree::int(object, scale.status_replicas).unwrap_or_default()});
    let selector = scale.selector.of(object);
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": tree::int(object, scale.spec_replicas).unwrap_or_default()},
        "status": status,
    })
}
