//! Job: pods until so many have succeeded.

use serde_json::{Value, json};

use super::spec;
use crate::core::pod;
use crate::kind::selector_cell;
use crate::{
    CellContext, Column, Field, FieldErrors, Generation, Kind, Strategy, Subresource, duration, meta, tree,
};

pub static JOB: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    definition: "io.k8s.api.batch.v1.Job",
    subresources: &[Subresource::status("batch", "Job")],
    columns: &[
        Column::NAME,
        Column::new("Status", "What became of it.", |object, _| state(object).into()),
        Column::new("Completions", "Pods that succeeded, of those wanted.", |object, _| {
            completions(object).into()
        }),
        Column::new("Duration", "How long it has run.", |object, cx| run_time(object, cx).into()),
        Column::AGE,
        Column::CONTAINERS,
        Column::IMAGES,
        Column::new("Selector", "Which pods.", |object, _| selector_cell(tree::get(object, "spec.selector")))
            .wide(),
    ],
    selectable: crate::kind::selectable![; "status.successful" => |object| {
        tree::int(object, "status.succeeded").unwrap_or_default().to_string()
    }],
    strategy: &Strategy {
        defaults,
        prepare_create,
        validate_create: validate,
        validate_update,
        validate_status_update: validate_status,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// What the two were called before.
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

/// Whether a condition of the Job is true.
fn is(object: &Value, condition: &str) -> bool {
    tree::items(object, "status.conditions")
        .iter()
        .any(|each| tree::text(each, "type") == condition && tree::text(each, "status") == "True")
}

fn state(object: &Value) -> &'static str {
    match () {
        () if is(object, "Complete") => "Complete",
        () if is(object, "Failed") => "Failed",
        () if meta::deletion_timestamp(object).is_some() => "Terminating",
        () if is(object, "Suspended") => "Suspended",
        () if is(object, "FailureTarget") => "FailureTarget",
        () if is(object, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(object: &Value) -> String {
    let succeeded = tree::int(object, "status.succeeded").unwrap_or_default();
    match (tree::int(object, "spec.completions"), tree::int(object, "spec.parallelism").unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn run_time(object: &Value, cx: &CellContext) -> String {
    let start = tree::text(object, "status.startTime");
    if start.is_empty() {
        return String::new();
    }
    match tree::text(object, "status.completionTime").parse() {
        Ok(end) => duration::since(start, end),
        Err(_) => duration::since(start, cx.now),
    }
}

fn defaults(object: &mut Value) {
    pod::template_defaults(object, "spec.template");
    if tree::get(object, "spec.completions").is_null() && tree::get(object, "spec.parallelism").is_null() {
        tree::set(object, "spec.completions", 1);
    }
    tree::set_default(object, "spec.parallelism", 1);
    let backoff_limit = match tree::get(object, "spec.backoffLimitPerIndex") {
        Value::Null => 6,
        _ => i32::MAX,
    };
    tree::set_default(object, "spec.backoffLimit", backoff_limit);
    tree::set_default_text(object, "spec.completionMode", "NonIndexed");
    tree::set_default(object, "spec.suspend", false);
    tree::set_default(object, "spec.manualSelector", false);
    let replacement = match tree::get(object, "spec.podFailurePolicy") {
        Value::Null => "TerminatingOrFailed",
        _ => "Failed",
    };
    tree::set_default_text(object, "spec.podReplacementPolicy", replacement);
    if tree::same(tree::get(object, "metadata.labels"), &Value::Null) {
        let labels = tree::get(object, "spec.template.metadata.labels").clone();
        if !labels.is_null() {
            tree::set(object, "metadata.labels", labels);
        }
    }
}

/// Pods of a Job are told apart by its uid, unless the user has said otherwise.
fn prepare_create(object: &mut Value) {
    tree::set(object, "status", json!({}));
    if tree::flag(object, "spec.manualSelector") {
        return;
    }
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    if tree::get(object, "spec.template.metadata.labels").is_null() {
        tree::set(object, "spec.template.metadata.labels", json!({}));
    }
    if let Some(Value::Object(labels)) = tree::get_mut(object, "spec.template.metadata.labels") {
        for (label, value) in
            [(OLD_UID_LABEL, &uid), (UID_LABEL, &uid), (OLD_NAME_LABEL, &name), (NAME_LABEL, &name)]
        {
            labels.insert(label.to_owned(), value.clone().into());
        }
    }
    if tree::same(tree::get(object, "spec.selector"), &Value::Null) {
        tree::set(object, "spec.selector", json!({"matchLabels": {UID_LABEL: uid}}));
    }
}

fn validate(object: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = spec::validate_selected(&spec);
    let manual = tree::flag(object, "spec.manualSelector");
    let is_own = tree::get(object, "spec.selector.matchLabels").get(UID_LABEL).and_then(Value::as_str)
        == Some(meta::uid(object));
    if !manual && !is_own && spec.get("selector").is_set() {
        errors.push(spec.get("selector").invalid("`selector` not auto-generated"));
    }
    errors.extend(spec::validate(&spec));
    errors
}

fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    let spec = Field::of(object, "spec");
    let mut errors = spec::validate(&spec);
    let old_spec = tree::get(old, "spec");
    if !may_resize(spec.value, old_spec) {
        errors.extend(spec.get("completions").immutable(tree::get(old_spec, "completions")));
    }
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "successPolicy",
        "managedBy",
    ] {
        errors.extend(spec.get(field).immutable(tree::get(old_spec, field)));
    }
    let mut allowed = tree::get(old_spec, "template").clone();
    if tree::flag(old_spec, "suspend") && tree::get(old, "status.startTime").is_null() {
        for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            tree::copy(&mut allowed, &format!("spec.{field}"), spec.get("template").value);
        }
        for field in ["annotations", "labels"] {
            tree::copy(&mut allowed, &format!("metadata.{field}"), spec.get("template").value);
        }
    }
    errors.extend(spec.get("template").immutable(&allowed));
    errors
}

/// An indexed Job may grow and shrink, if parallelism does so with it.
fn may_resize(spec: &Value, old: &Value) -> bool {
    let equal = |spec: &Value| tree::get(spec, "completions") == tree::get(spec, "parallelism");
    spec::is_indexed(spec) && equal(spec) && equal(old)
}

fn validate_status(object: &Value, _: &Value) -> FieldErrors {
    let status = Field::of(object, "status");
    let mut errors = FieldErrors::new();
    let counts = ["active", "succeeded", "failed", "ready", "terminating"];
    errors.extend(status.negatives(&counts));
    if is(object, "Complete") && is(object, "Failed") {
        errors.push(
            status.get("conditions").invalid("cannot set both Complete=True and Failed=True conditions"),
        );
    }
    errors
}
