//! PodTemplate: a pod to be made later.

use serde_json::Value;

use super::pod;
use crate::columns::{labels_text, template_containers};
use crate::{Column, Field, FieldErrors, Generation, Kind, Strategy, tree};

pub static POD_TEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    definition: "io.k8s.api.core.v1.PodTemplate",
    columns: &[
        Column::NAME,
        Column::new("Containers", "Names of the containers.", |object, _| {
            template_containers(object, "template", "name")
        }),
        Column::new("Images", "Images of the containers.", |object, _| {
            template_containers(object, "template", "image")
        }),
        Column::new("Pod Labels", "Labels of the pods.", |object, _| {
            labels_text(tree::map(object, "template.metadata.labels")).into()
        }),
    ],
    strategy: &Strategy {
        defaults: |object| pod::template_defaults(object, "template"),
        validate_create: validate,
        validate_update: |object, _| validate(object),
        generation: Generation::Spec,
        ..Strategy::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(object: &Value) -> FieldErrors {
    pod::validate_template(&Field::of(object, "template"))
}
