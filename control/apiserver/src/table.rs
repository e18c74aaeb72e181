//! `meta.k8s.io` Tables: what `kubectl get` shows, one row per object.

use kinds::{CellContext, Kind};
use serde_json::{Value, json};

use crate::object::partial_metadata;
use crate::request::Query;
use crate::status::Status;

/// What a row carries besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        match query.get("includeObject") {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::Nothing),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!(
                "unrecognized includeObject value: {other:?}, must be one of None, Metadata, Object"
            ))),
        }
    }
}

pub(crate) fn table(version: &str, metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

pub(crate) fn columns(kind: &Kind) -> Value {
    kind.columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.value_type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect()
}

pub(crate) fn row(
    kind: &Kind,
    mut object: Value,
    include: Include,
    cells: &CellContext,
    version: &str,
) -> Value {
    let cells = kind.cells(&object, cells);
    let object = match include {
        Include::Nothing => Value::Null,
        Include::Metadata => partial_metadata(&mut object, version),
        Include::Object => object,
    };
    json!({"cells": cells, "object": object})
}
