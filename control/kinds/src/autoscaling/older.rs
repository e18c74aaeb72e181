//! HorizontalPodAutoscaler in v1, which knows the processor's load alone, and in v2beta2, which is v2.
//!
//! What v1 has no field for stands in annotations, in the shapes that v1 gave it, so nothing is lost on the way.

use serde_json::{Map, Value, json};

use super::GROUP;
use super::horizontal_pod_autoscaler::{CPU_PERCENT, HORIZONTAL_POD_AUTOSCALER, cpu, source};
use crate::conversion::relocate;
use crate::{Conversion, Kind, Subresource, tree};

pub static HORIZONTAL_POD_AUTOSCALER_V1: Kind = Kind {
    version: "v1",
    definition: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    subresources: &[Subresource::status(GROUP, "HorizontalPodAutoscaler")],
    conversion: Some(&Conversion { to_stored, from_stored, ..Conversion::same(&HORIZONTAL_POD_AUTOSCALER) }),
    ..HORIZONTAL_POD_AUTOSCALER
};

pub static HORIZONTAL_POD_AUTOSCALER_V2BETA2: Kind = Kind {
    version: "v2beta2",
    definition: "io.k8s.api.autoscaling.v2beta2.HorizontalPodAutoscaler",
    subresources: &[Subresource::status(GROUP, "HorizontalPodAutoscaler").at("v2beta2")],
    conversion: Some(&Conversion::same(&HORIZONTAL_POD_AUTOSCALER)),
    ..HORIZONTAL_POD_AUTOSCALER
};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Where v1 and v2 have the fields of a metric, by source.
const WANTED: &[(&str, &[(&str, &str)])] = &[
    ("resource", RESOURCE),
    ("containerResource", RESOURCE),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
    (
        "object",
        &[
            ("averageValue", "target.averageValue"),
            ("targetValue", "target.value"),
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("targetValue", "target.value"),
            ("targetAverageValue", "target.averageValue"),
        ],
    ),
];
const RESOURCE: &[(&str, &str)] = &[
    ("targetAverageUtilization", "target.averageUtilization"),
    ("targetAverageValue", "target.averageValue"),
];
/// The same of what was measured.
const MEASURED: &[(&str, &[(&str, &str)])] = &[
    ("resource", RESOURCE_MEASURED),
    ("containerResource", RESOURCE_MEASURED),
    (
        "pods",
        &[
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
    (
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("selector", "metric.selector"),
            ("currentValue", "current.value"),
            ("averageValue", "current.averageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("currentValue", "current.value"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
];
const RESOURCE_MEASURED: &[(&str, &str)] = &[
    ("currentAverageUtilization", "current.averageUtilization"),
    ("currentAverageValue", "current.averageValue"),
];

/// To which of the two shapes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    V1,
    V2,
}

fn from_stored(object: &mut Value) {
    let metrics = taken_list(object, "spec.metrics");
    let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_percent);
    let percent = cpu.first().and_then(|metric| tree::int(metric, CPU_WANTED));
    if let Some(percent) = percent {
        tree::set(object, "spec.targetCPUUtilizationPercentage", percent);
    }
    let measured = taken_list(object, "status.currentMetrics");
    let is_cpu = |metric: &&Value| tree::text(metric, "resource.name") == "cpu";
    let now = measured.iter().filter(is_cpu).find_map(|metric| tree::int(metric, CPU_MEASURED));
    if let Some(now) = now {
        tree::set(object, "status.currentCPUUtilizationPercentage", now);
    }
    let shaped = |metrics: Vec<Value>, table| -> Vec<Value> {
        metrics.into_iter().map(|metric| shaped(metric, table, Shape::V1)).collect()
    };
    let conditions = taken_list(object, "status.conditions");
    let behavior = tree::remove(object, "spec.behavior");
    for (annotation, list) in [
        (METRICS, shaped(others, WANTED)),
        (CURRENT_METRICS, shaped(measured, MEASURED)),
        (CONDITIONS, conditions),
    ] {
        annotate(object, annotation, (!list.is_empty()).then_some(Value::Array(list)));
    }
    annotate(object, BEHAVIOR, behavior);
}

fn to_stored(object: &mut Value) {
    let mut metrics = Vec::new();
    let percent = tree::remove(object, "spec.targetCPUUtilizationPercentage");
    metrics.extend(percent.as_ref().and_then(Value::as_i64).map(cpu));
    let shaped = |list: Option<Value>, table| -> Vec<Value> {
        let list = match list {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        list.into_iter().map(|metric| shaped(metric, table, Shape::V2)).collect()
    };
    metrics.extend(shaped(annotated(object, METRICS), WANTED).into_iter().map(sorted));
    if metrics.is_empty() {
        metrics.push(cpu(CPU_PERCENT));
    }
    tree::set(object, "spec.metrics", metrics);
    let now = tree::remove(object, "status.currentCPUUtilizationPercentage");
    let mut measured = shaped(annotated(object, CURRENT_METRICS), MEASURED);
    if let Some(now) = now.filter(|_| measured.is_empty()) {
        measured.push(
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}),
        );
    }
    if !measured.is_empty() {
        tree::set(object, "status.currentMetrics", measured);
    }
    if let Some(conditions) = annotated(object, CONDITIONS) {
        tree::set(object, "status.conditions", conditions);
    }
    if let Some(behavior) = annotated(object, BEHAVIOR) {
        tree::set(object, "spec.behavior", behavior);
    }
}

const CPU_WANTED: &str = "resource.target.averageUtilization";
const CPU_MEASURED: &str = "resource.current.averageUtilization";

fn is_cpu_percent(metric: &Value) -> bool {
    tree::text(metric, "type") == "Resource"
        && tree::text(metric, "resource.name") == "cpu"
        && tree::int(metric, CPU_WANTED).is_some()
}

/// A metric in the other shape.
fn shaped(mut metric: Value, table: &[(&str, &[(&str, &str)])], to: Shape) -> Value {
    let Some(source) = source(tree::text(&metric, "type")) else { return metric };
    let moves = table.iter().find(|(name, _)| *name == source).map_or(&[][..], |(_, moves)| *moves);
    let Some(of) = tree::get_mut(&mut metric, source) else { return metric };
    match to {
        Shape::V1 => moves.iter().for_each(|(v1, v2)| relocate(of, v2, v1)),
        // What v1 has at a place that v2 uses for something else goes first.
        Shape::V2 => moves.iter().rev().for_each(|(v1, v2)| relocate(of, v1, v2)),
    }
    if to == Shape::V1 {
        for emptied in ["metric", "target", "current"] {
            let left = tree::map(of, emptied);
            if left.is_some_and(|left| left.keys().all(|field| field == "type")) {
                drop(tree::remove(of, emptied));
            }
        }
    }
    metric
}

/// A metric whose target says of which sort it is, which v1 leaves to be seen.
fn sorted(mut metric: Value) -> Value {
    let source = source(tree::text(&metric, "type"));
    if let Some(of) = source.and_then(|source| tree::get_mut(&mut metric, source)) {
        let has = |field: &str| !tree::get(of, field).is_null();
        let sort = match (has("target.averageUtilization"), has("target.averageValue"), has("target.value")) {
            (true, _, _) => "Utilization",
            (false, false, true) => "Value",
            (false, _, _) => "AverageValue",
        };
        tree::set(of, "target.type", sort);
    }
    metric
}

fn taken_list(object: &mut Value, path: &str) -> Vec<Value> {
    match tree::remove(object, path) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn annotate(object: &mut Value, annotation: &str, value: Option<Value>) {
    let Some(value) = value.filter(|value| !value.is_null()) else { return };
    tree::set_default(object, "metadata.annotations", Value::Object(Map::new()));
    if let Some(annotations) = tree::get_mut(object, "metadata.annotations").and_then(Value::as_object_mut) {
        annotations.insert(annotation.to_owned(), value.to_string().into());
    }
}

/// Takes an annotation; nothing of one that is no JSON.
fn annotated(object: &mut Value, annotation: &str) -> Option<Value> {
    let annotations = tree::get_mut(object, "metadata.annotations")?.as_object_mut()?;
    let text = annotations.shift_remove(annotation)?;
    if annotations.is_empty() {
        drop(tree::remove(object, "metadata.annotations"));
    }
    serde_json::from_str(text.as_str()?).ok()
}
