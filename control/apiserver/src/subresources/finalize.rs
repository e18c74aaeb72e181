//! `finalize`: who holds a namespace takes its own name off `spec.finalizers` here, and only here.

use kinds::{meta, tree};

use crate::decode::{Expected, decode};
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::server::Call;
use crate::status::Status;
use crate::verbs::managing::Managing;
use crate::verbs::write::{Part, Update, change_object};

pub(super) async fn update(call: &Call<'_>) -> Result<Reply, Status> {
    let options = WriteOptions::parse(call.query, "UpdateOptions")?;
    let sent = decode(call, Expected::object(call.kind), options.field_validation)?;
    let update = Update { part: Part::Trusted, dry_run: options.dry_run, managing: Managing::Track };
    let stored = change_object(call, &update, |current| {
        let mut object = current.clone();
        for field in ["name", "uid", "resourceVersion"] {
            if let Some(value) = sent.get("metadata").and_then(|metadata| metadata.get(field)) {
                meta::set(&mut object, field, value.clone());
            }
        }
        tree::copy(&mut object, "spec.finalizers", &sent);
        Ok(object)
    })
    .await?;
    Ok(Reply::ok(Content::Object(call.kind, stored)))
}
