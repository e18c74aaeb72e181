//! CronJob: a Job at certain times.

use serde_json::Value;

use super::{schedule, spec};
use crate::columns::{none_if_empty, template_containers};
use crate::core::pod;
use crate::kind::selector_cell;
use crate::{
    CellContext, Column, Field, FieldError, FieldErrors, Generation, Kind, Strategy, Subresource, duration,
    meta, tree,
};

pub static CRON_JOB: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    definition: "io.k8s.api.batch.v1.CronJob",
    subresources: &[Subresource::status("batch", "CronJob")],
    columns: &[
        Column::NAME,
        Column::new("Schedule", "When, in Cron format.", |object, _| {
            tree::text(object, "spec.schedule").into()
        }),
        Column::new("Timezone", "Whose time.", |object, _| {
            none_if_empty(tree::text(object, "spec.timeZone").to_owned()).into()
        }),
        Column::new("Suspend", "Whether it rests.", |object, _| suspended(object).into()).boolean(),
        Column::new("Active", "Jobs that run.", |object, _| {
            tree::items(object, "status.active").len().into()
        })
        .integer(),
        Column::new("Last Schedule", "Since the last Job.", |object, cx| last(object, cx).into()),
        Column::AGE,
        Column::new("Containers", "Names of the containers.", |object, _| {
            template_containers(object, JOB_TEMPLATE, "name")
        })
        .wide(),
        Column::new("Images", "Images of the containers.", |object, _| {
            template_containers(object, JOB_TEMPLATE, "image")
        })
        .wide(),
        Column::new("Selector", "Which pods.", |object, _| {
            selector_cell(tree::get(object, "spec.jobTemplate.spec.selector"))
        })
        .wide(),
    ],
    strategy: &Strategy {
        defaults,
        validate_create: validate,
        validate_update: |object, _| validate(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

/// Where the pods of its Jobs are described.
const JOB_TEMPLATE: &str = "spec.jobTemplate.spec.template";
/// A Job's name adds a time to it, and must still be a label.
const NAME_BYTES_MAX: usize = 52;

fn suspended(object: &Value) -> String {
    match tree::get(object, "spec.suspend") {
        Value::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
        _ => "<unset>".to_owned(),
    }
}

fn last(object: &Value, cx: &CellContext) -> String {
    match tree::text(object, "status.lastScheduleTime") {
        "" => "<none>".to_owned(),
        time => duration::since(time, cx.now),
    }
}

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "spec.concurrencyPolicy", "Allow");
    tree::set_default(object, "spec.suspend", false);
    tree::set_default(object, "spec.successfulJobsHistoryLimit", 3);
    tree::set_default(object, "spec.failedJobsHistoryLimit", 1);
    pod::template_defaults(object, JOB_TEMPLATE);
}

fn validate(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let when = spec.get("schedule");
    match when.text() {
        "" => errors.push(when.required("")),
        text if text.contains("TZ=") => {
            errors.push(when.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
        }
        text => errors.extend(schedule::check(text).err().map(|wrong| when.invalid(wrong.to_string()))),
    }
    let zone = spec.get("timeZone");
    if zone.is_set() && zone.text().is_empty() {
        errors.push(zone.invalid("timeZone must be nil or non-empty string"));
    }
    errors.extend(spec.get("concurrencyPolicy").one_of(&["Allow", "Forbid", "Replace"]));
    errors.extend(spec.negatives(&[
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ]));
    let job = spec.get("jobTemplate").get("spec");
    errors.extend(spec::validate(&job));
    if job.get("manualSelector").is_set() && job.get("manualSelector").flag() {
        errors.push(job.get("manualSelector").not_supported(&["nil", "false"]));
    }
    if meta::name(object).len() > NAME_BYTES_MAX {
        let detail = format!("must be no more than {NAME_BYTES_MAX} characters");
        errors.push(FieldError::invalid("metadata.name", meta::name(object), detail));
    }
    errors
}
