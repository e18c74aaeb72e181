//! The kinds of the group events.k8s.io. Event, which is an Event of the core group under newer names.

use serde_json::Value;

use crate::core::event::EVENT;
use crate::kind::selectable;
use crate::{Conversion, Field, FieldError, FieldErrors, Kind, tree};

pub const GROUP: &str = "events.k8s.io";

pub static EVENT_V1: Kind = Kind {
    group: GROUP,
    definition: "io.k8s.api.events.v1.Event",
    selectable: selectable![
        "reason",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reportingController",
        "type"
    ],
    conversion: Some(&Conversion {
        moves: &[
            ("regarding", "involvedObject"),
            ("note", "message"),
            ("reportingController", "reportingComponent"),
            ("deprecatedSource", "source"),
            ("deprecatedFirstTimestamp", "firstTimestamp"),
            ("deprecatedLastTimestamp", "lastTimestamp"),
            ("deprecatedCount", "count"),
        ],
        validate_create,
        validate_update,
        ..Conversion::same(&EVENT)
    }),
    ..EVENT
};

/// What an event of this group cannot change: it tells what happened.
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingInstance",
];
const UNSET: &str = "needs to be unset";

fn validate_create(event: &Value) -> FieldErrors {
    let mut errors = validate_series(event);
    if tree::text(event, "eventTime").is_empty() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = tree::text(event, "type");
    if !["Normal", "Warning"].contains(&kind) {
        errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
    }
    for old in ["firstTimestamp", "lastTimestamp", "count"] {
        if !tree::same(tree::get(event, old), &Value::Null) && tree::int(event, old) != Some(0) {
            errors.push(FieldError::invalid(old, "", UNSET));
        }
    }
    if ["source.component", "source.host"].iter().any(|part| !tree::text(event, part).is_empty()) {
        errors.push(FieldError::invalid("source", "", UNSET));
    }
    errors
}

fn validate_update(event: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !tree::same(tree::get(event, "series"), tree::get(old, "series")) {
        errors.extend(validate_series(event));
    }
    errors.extend(FIXED.iter().filter_map(|name| Field::of(event, name).immutable(tree::get(old, name))));
    let reporter = Field { path: "reportingController".to_owned(), ..Field::of(event, "reportingComponent") };
    errors.extend(reporter.immutable(tree::get(old, "reportingComponent")));
    errors
}

fn validate_series(event: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !tree::get(event, "series").is_null() {
        if tree::int(event, "series.count").unwrap_or_default() < 2 {
            errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
        }
        if tree::text(event, "series.lastObservedTime").is_empty() {
            errors.push(FieldError::required("series.lastObservedTime", ""));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
