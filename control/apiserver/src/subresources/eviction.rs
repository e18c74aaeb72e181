//! `pods/eviction`: a polite delete. Disruption budgets are not served yet, so none can refuse it.

use serde_json::json;

use crate::decode::{Expected, decode};
use crate::query::{DeleteOptions, FieldValidation, WriteOptions};
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::verbs::delete::delete_object;

const EVICTION: Expected<'static> = Expected {
    definition: "io.k8s.api.policy.v1.Eviction",
    group: "policy",
    version: "v1",
    kind: "Eviction",
    custom: None,
};

pub(super) async fn create(call: &Call<'_>) -> Result<Reply, Status> {
    let write = WriteOptions::parse(call.query, "CreateOptions")?;
    let eviction = decode(call, EVICTION, FieldValidation::Ignore)?;
    let mut options = DeleteOptions::parse(call.query, eviction.get("deleteOptions"))?;
    options.dry_run |= write.dry_run;
    delete_object(call, call.name(), &options).await?;
    let success = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Ok(Reply::created(Content::Json(success)))
}
