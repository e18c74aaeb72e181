//! ComponentStatus: what Kubernetes once said of its own parts. Nothing writes any, so there are none.

use crate::{Column, Kind, NameRule, Verb, tree};

pub static COMPONENT_STATUS: Kind = Kind {
    kind: "ComponentStatus",
    plural: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    namespaced: false,
    definition: "io.k8s.api.core.v1.ComponentStatus",
    verbs: &[Verb::Get, Verb::List],
    columns: &[
        Column::NAME,
        Column::new("Status", "Whether it is healthy.", |object, _| {
            tree::items(object, "conditions").first().map_or("", |it| tree::text(it, "status")).into()
        }),
        Column::new("Message", "What it says.", |object, _| {
            tree::items(object, "conditions").first().map_or("", |it| tree::text(it, "message")).into()
        }),
        Column::new("Error", "What is wrong.", |object, _| {
            tree::items(object, "conditions").first().map_or("", |it| tree::text(it, "error")).into()
        }),
    ],
    name_rule: NameRule::PathSegment,
    ..Kind::PLAIN
};
