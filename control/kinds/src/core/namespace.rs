//! Namespace: a room for names. It goes only when it is empty: its `spec.finalizers` hold it until then.

use serde_json::{Value, json};

use crate::kind::selectable;
use crate::{Column, Deletion, Kind, NameRule, Serves, Strategy, Subresource, Verb, meta, tree};

pub static NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    definition: "io.k8s.api.core.v1.Namespace",
    verbs: Verb::NO_COLLECTION_DELETE,
    subresources: &[
        Subresource {
            name: "finalize",
            verbs: &[Verb::Update],
            group: "",
            version: "v1",
            kind: "Namespace",
            serves: Serves::Finalize,
        },
        Subresource::status("", "Namespace"),
    ],
    columns: &[
        Column::NAME,
        Column::new("Status", "Active, or Terminating.", |object, _| {
            tree::text(object, "status.phase").into()
        }),
        Column::AGE,
    ],
    selectable: selectable!["status.phase"],
    name_rule: NameRule::Label,
    custom: None,
    conversion: None,
    strategy: &Strategy {
        defaults,
        prepare_create,
        prepare_update: |object, old| tree::copy(object, "spec.finalizers", old),
        deletion: Deletion::SpecFinalizers(|object| tree::set(object, "status.phase", "Terminating")),
        ..Strategy::PLAIN
    },
};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

fn defaults(object: &mut Value) {
    tree::set_default_text(object, "status.phase", "Active");
    let name = meta::name(object).to_owned();
    if !name.is_empty() {
        tree::set_default(object, "metadata.labels", json!({}));
        if let Some(labels) = tree::get_mut(object, "metadata.labels").and_then(Value::as_object_mut) {
            labels.insert(NAME_LABEL.to_owned(), name.into());
        }
    }
}

fn prepare_create(object: &mut Value) {
    tree::set(object, "status", json!({"phase": "Active"}));
    let mut finalizers = tree::items(object, "spec.finalizers").to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    tree::set(object, "spec.finalizers", finalizers);
}
