//! The kinds of the group metrics.k8s.io: what pods and nodes use now. They are measured when asked for and never stored.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::{Column, Kind, Measured, Strategy, Verb, tree};

pub const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

pub static NODE_METRICS: Kind = Kind {
    kind: "NodeMetrics",
    plural: "nodes",
    namespaced: false,
    definition: "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
    columns: &[
        Column::NAME,
        Column::new("CPU", "What it uses.", |object, _| tree::get(object, "usage.cpu").clone()),
        Column::new("Memory", "What it uses.", |object, _| tree::get(object, "usage.memory").clone()),
        WINDOW,
    ],
    strategy: &Strategy { measured: Some(Measured::Nodes), ..Strategy::PLAIN },
    ..MEASURE
};

pub static POD_METRICS: Kind = Kind {
    kind: "PodMetrics",
    plural: "pods",
    definition: "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
    columns: &[
        Column::NAME,
        Column::new("CPU", "What its containers use.", |object, _| sum(object, "usage.cpu")),
        Column::new("Memory", "What its containers use.", |object, _| sum(object, "usage.memory")),
        WINDOW,
    ],
    strategy: &Strategy { measured: Some(Measured::Pods), ..Strategy::PLAIN },
    ..MEASURE
};

const MEASURE: Kind = Kind { group: GROUP, version: VERSION, verbs: &[Verb::Get, Verb::List], ..Kind::PLAIN };
const WINDOW: Column =
    Column::new("Window", "How long was measured.", |object, _| tree::get(object, "window").clone());

fn sum(object: &Value, path: &str) -> Value {
    let containers = tree::items(object, "containers").iter();
    let amounts = containers.filter_map(|container| Quantity::of(tree::get(container, path)));
    amounts.fold(Quantity::whole(0), |all, one| all + one).to_string().into()
}
