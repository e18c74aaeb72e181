//! Event: something that happened to an object, for people to read.

use serde_json::Value;

use crate::kind::selectable;
use crate::{
    CellContext, Column, Field, FieldError, FieldErrors, Kind, NameRule, Strategy, Verb, duration, meta,
    names, tree,
};

pub static EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    definition: "io.k8s.api.core.v1.Event",
    verbs: Verb::ALL,
    subresources: &[],
    columns: &[
        Column::new("Last Seen", "Time since it last happened.", |object, cx| last_seen(object, cx).into()),
        Column::new("Type", "Normal or Warning.", |object, _| tree::text(object, "type").into()),
        Column::new("Reason", "What happened, in one word.", |object, _| tree::text(object, "reason").into()),
        Column::new("Object", "What it happened to.", |object, _| target(object).into()),
        Column::new("Subobject", "The part of the object.", |object, _| {
            tree::text(object, "involvedObject.fieldPath").into()
        })
        .wide(),
        Column::new("Source", "Who says so.", |object, _| source(object).into()).wide(),
        Column::new("Message", "What happened, for people.", |object, _| {
            tree::text(object, "message").trim().into()
        }),
        Column::new("First Seen", "Time since it first happened.", |object, cx| {
            first_seen(object, cx).into()
        })
        .wide(),
        Column::new("Count", "How often it happened.", |object, _| count(object).into()).wide(),
        Column { priority: 1, ..Column::NAME },
    ],
    selectable: selectable![
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "type";
        "source" => |object| reporter(object).to_owned(),
    ],
    name_rule: NameRule::Subdomain,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        validate_create: validate,
        validate_update: |object, _| validate(object),
        create_on_update: true,
        ..Strategy::PLAIN
    },
};

fn first_seen(object: &Value, cx: &CellContext) -> String {
    let times = ["firstTimestamp", "eventTime"].map(|field| tree::text(object, field));
    duration::since(times.into_iter().find(|time| !time.is_empty()).unwrap_or_default(), cx.now)
}

fn last_seen(object: &Value, cx: &CellContext) -> String {
    let times = ["series.lastObservedTime", "lastTimestamp"].map(|field| tree::text(object, field));
    match times.into_iter().find(|time| !time.is_empty()) {
        Some(time) => duration::since(time, cx.now),
        None => first_seen(object, cx),
    }
}

fn count(object: &Value) -> i64 {
    let counts = ["series.count", "count"].map(|field| tree::int(object, field));
    counts.into_iter().flatten().find(|count| *count != 0).unwrap_or(1)
}

fn target(object: &Value) -> String {
    let kind = tree::text(object, "involvedObject.kind").to_lowercase();
    match tree::text(object, "involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn reporter(object: &Value) -> &str {
    match tree::text(object, "source.component") {
        "" => tree::text(object, "reportingComponent"),
        component => component,
    }
}

fn source(object: &Value) -> String {
    let instance = match tree::text(object, "source.host") {
        "" => tree::text(object, "reportingInstance"),
        host => host,
    };
    match (reporter(object), instance) {
        (component, "") => component.to_owned(),
        (component, instance) => format!("{component}, {instance}"),
    }
}

const WORD_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;

/// An event lives in its object's namespace; one about an object outside namespaces lives in `default`. One that says
/// when it happened to the microsecond says also by whom it was seen, and what was done.
fn validate(object: &Value) -> FieldErrors {
    if !tree::text(object, "eventTime").is_empty() {
        return validate_exact(object);
    }
    let mut errors = FieldErrors::new();
    let about = Field::of(object, "involvedObject").get("namespace");
    let agrees = match about.text() {
        "" => matches!(meta::namespace(object), "" | "default"),
        namespace => namespace == meta::namespace(object),
    };
    if !agrees {
        errors.push(FieldError::invalid(&about.path, about.text(), "does not match event.namespace"));
    }
    errors
}

fn validate_exact(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let about = Field::of(object, "involvedObject").get("namespace");
    if about.text().is_empty() && !["default", "kube-system"].contains(&meta::namespace(object)) {
        errors.push(FieldError::invalid(&about.path, "", "does not match event.namespace"));
    }
    let controller = tree::text(object, "reportingComponent");
    if controller.is_empty() {
        errors.push(FieldError::required("reportingController", ""));
    }
    let wrong = names::qualified(controller).into_iter();
    errors.extend(wrong.map(|wrong| FieldError::invalid("reportingController", controller, wrong)));
    let too_long = |most: usize| format!("can have at most {most} characters");
    for field in ["reportingInstance", "action", "reason"] {
        match tree::text(object, field).len() {
            0 => errors.push(FieldError::required(field, "")),
            bytes if bytes > WORD_BYTES_MAX => {
                errors.push(FieldError::invalid(field, "", too_long(WORD_BYTES_MAX)));
            }
            _ => {}
        }
    }
    if tree::text(object, "message").len() > MESSAGE_BYTES_MAX {
        errors.push(FieldError::invalid("message", "", too_long(MESSAGE_BYTES_MAX)));
    }
    errors
}
