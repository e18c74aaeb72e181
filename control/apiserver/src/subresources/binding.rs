//! `pods/binding`: the scheduler's decision. A pod is bound once, and only the very pod that was looked at.

use kinds::core::pod::bind;
use kinds::{meta, tree};
use serde_json::{Value, json};

use crate::decode::{Expected, decode};
use crate::query::{FieldValidation, WriteOptions};
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::verbs::managing::Managing;
use crate::verbs::write::{Part, Update, change_object};

const BINDING: Expected<'static> = Expected {
    definition: "io.k8s.api.core.v1.Binding",
    group: "",
    version: "v1",
    kind: "Binding",
    custom: None,
};

pub(super) async fn create(call: &Call<'_>) -> Result<Reply, Status> {
    let options = WriteOptions::parse(call.query, "CreateOptions")?;
    let binding = decode(call, BINDING, FieldValidation::Ignore)?;
    if tree::text(&binding, "target.name").is_empty() {
        return Err(Status::bad_request("target.name: Required value"));
    }
    let update = Update { part: Part::Trusted, dry_run: options.dry_run, managing: Managing::Track };
    change_object(call, &update, |pod| bound(call, pod, &binding)).await?;
    let success = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Ok(Reply::created(Content::Json(success)))
}

fn bound(call: &Call<'_>, pod: &Value, binding: &Value) -> Result<Value, Status> {
    let mut pod = pod.clone();
    bind(&mut pod, binding, call.server.clock.now())
        .map_err(|error| Status::conflict_on(call.kind, "pods/binding", call.name(), &error.to_string()))?;
    // The uid that the scheduler saw is checked like that of any update.
    let uid = meta::uid(binding);
    if !uid.is_empty() {
        meta::set(&mut pod, "uid", uid);
    }
    Ok(pod)
}
