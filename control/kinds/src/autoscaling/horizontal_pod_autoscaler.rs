//! HorizontalPodAutoscaler: between which counts, and by which metrics, something is scaled. Stored as v2.

use serde_json::{Value, json};

use super::{GROUP, validate};
use crate::{Column, Generation, Kind, Strategy, Subresource, tree};

pub static HORIZONTAL_POD_AUTOSCALER: Kind = Kind {
    group: GROUP,
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    definition: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    subresources: &[Subresource::status(GROUP, "HorizontalPodAutoscaler").at("v2")],
    columns: &[
        Column::NAME,
        Column::new("Reference", "What it scales.", |object, _| {
            let target = tree::get(object, "spec.scaleTargetRef");
            format!("{}/{}", tree::text(target, "kind"), tree::text(target, "name")).into()
        }),
        Column::new("Targets", "What is measured, and what is wanted.", |object, _| targets(object).into()),
        Column::new("MinPods", "The smallest count.", |object, _| {
            tree::int(object, "spec.minReplicas")
                .map_or_else(|| "<unset>".into(), |count| count.to_string().into())
        }),
        Column::new("MaxPods", "The largest count.", |object, _| count(object, "spec.maxReplicas")),
        Column::new("Replicas", "The present count.", |object, _| count(object, "status.currentReplicas")),
        Column::AGE,
    ],
    strategy: &Strategy {
        defaults,
        validate_create: |object| validate::validate(object, &Value::Null),
        validate_update: validate::validate,
        validate_status_update: validate::validate_status,
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

const SHOWN_MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";
/// What is wanted of the processor when nothing else is.
pub(super) const CPU_PERCENT: i64 = 80;

fn count(object: &Value, path: &str) -> Value {
    tree::int(object, path).unwrap_or_default().into()
}

fn targets(object: &Value) -> String {
    let metrics = tree::items(object, "spec.metrics");
    let measured = tree::items(object, "status.currentMetrics");
    let now = |at: usize| measured.get(at).unwrap_or(&Value::Null);
    let texts: Vec<String> =
        metrics.iter().enumerate().map(|(at, metric)| target(metric, now(at))).take(SHOWN_MAX).collect();
    match metrics.len() {
        0 => "<none>".to_owned(),
        few if few <= SHOWN_MAX => texts.join(", "),
        many => format!("{} + {} more...", texts.join(", "), many - SHOWN_MAX),
    }
}

/// `cpu: 10%/80%`, `1k/2k (avg)`.
fn target(metric: &Value, measured: &Value) -> String {
    let Some(source) = source(tree::text(metric, "type")) else { return "<unknown type>".to_owned() };
    let spec = tree::get(metric, source);
    let wanted = tree::get(spec, "target");
    let now = tree::get(tree::get(measured, source), "current");
    let averages = !tree::get(wanted, "averageValue").is_null();
    let of = |field: &str| (shown(tree::get(now, field)), shown(tree::get(wanted, field)));
    let known = |text: String| if text.is_empty() { UNKNOWN.to_owned() } else { text };
    match source {
        "resource" | "containerResource" => {
            let name = tree::text(spec, "name");
            if averages {
                let (now, wanted) = of("averageValue");
                return format!("{name}: {}/{wanted}", known(now));
            }
            let percent = |text: String, none: &str| match text.as_str() {
                "" => none.to_owned(),
                text => format!("{text}%"),
            };
            let (now, wanted) = of("averageUtilization");
            format!("{name}: {}/{}", percent(now, UNKNOWN), percent(wanted, "<auto>"))
        }
        "external" | "object" if averages => {
            let (now, wanted) = of("averageValue");
            format!("{}/{wanted} (avg)", known(now))
        }
        "pods" => {
            let (now, wanted) = of("averageValue");
            format!("{}/{wanted}", known(now))
        }
        _ => {
            let (now, wanted) = of("value");
            format!("{}/{wanted}", known(now))
        }
    }
}

/// The field that describes a metric of a type.
pub(super) fn source(of_type: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(name, _)| *name == of_type).map(|(_, field)| *field)
}

/// Types of metrics, and the field of each.
pub(super) const SOURCES: &[(&str, &str)] = &[
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn defaults(object: &mut Value) {
    tree::set_default(object, "spec.minReplicas", 1);
    if tree::items(object, "spec.metrics").is_empty() {
        tree::set(object, "spec.metrics", json!([cpu(CPU_PERCENT)]));
    }
    if let Some(behavior) = tree::get_mut(object, "spec.behavior") {
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        tree::set_default(behavior, "scaleUp.stabilizationWindowSeconds", 0);
        for (rules, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
            tree::set_default(behavior, &format!("{rules}.selectPolicy"), "Max");
            tree::set_default(behavior, &format!("{rules}.policies"), policies);
        }
    }
}

/// The metric that asks for a share of the processor.
pub(super) fn cpu(percent: i64) -> Value {
    json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    })
}
