//! From a CustomResourceDefinition to the kinds that it defines, one for each version that is served.
//!
//! Kinds live as long as the program: everything points at `&'static Kind`. So what is compiled is leaked, and who
//! compiles keeps the outcome by [`Definition::digest`]: a definition costs its memory once for each different text
//! that it ever has in one process, and nothing for changes of its status, labels or order of events.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::rules::Rules;
use super::{Custom, JsonPath, Structural};
use crate::apiextensions::condition;
use crate::schema::Schema;
use crate::{
    Cell, Column, Generation, Kind, NameRule, Read, Scale, Selectable, Serves, Strategy, Subresource, Verb,
    meta, tree,
};

/// While a definition goes, nothing is made.
const GOING: &[Verb] =
    &[Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

static STRATEGY: Strategy =
    Strategy { generation: Generation::Spec, unconditional_update: false, ..Strategy::PLAIN };

/// Of a definition that is established: what its kinds follow from.
pub struct Definition(Value);

impl Definition {
    /// None while the names are not accepted yet.
    pub fn of(object: &Value) -> Option<Self> {
        condition(object, "Established").then(|| {
            Self(json!({
                "spec": tree::get(object, "spec"),
                "names": tree::get(object, "status.acceptedNames"),
                "going": meta::deletion_timestamp(object).is_some(),
            }))
        })
    }

    /// Equal for definitions that mean the same kinds.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.to_string()).into()
    }

    /// A kind for each served version, for as long as the program runs.
    pub fn compile(&self) -> Vec<&'static Kind> {
        let versions = tree::items(&self.0, "spec.versions");
        let stored = versions.iter().find(|version| tree::flag(version, "storage"));
        let storage = stored.map(|version| tree::text(version, "name")).unwrap_or_default();
        let served = versions.iter().filter(|version| tree::flag(version, "served"));
        served.map(|version| self.kind(version, storage)).collect()
    }

    fn kind(&self, of: &Value, storage: &str) -> &'static Kind {
        let group = text(tree::text(&self.0, "spec.group"));
        let version = text(tree::text(of, "name"));
        let names = tree::get(&self.0, "names");
        let kind = text(tree::text(names, "kind"));
        let published = tree::get(of, "schema.openAPIV3Schema").clone();
        let schema = Structural::parse(&published);
        let definition = text(&definition_name(group, version, kind));
        let (graph, ty) = Schema::of_custom(definition, &schema);
        let scale = scale_of(of);
        let custom = Custom {
            rules: Rules::compile(&schema, true),
            schema,
            graph,
            ty,
            published,
            list_kind: tree::text(names, "listKind").to_owned(),
            storage_api_version: format!("{group}/{storage}"),
            scale: scale.as_ref().map(|scale| (scale.spec_replicas, scale.status_replicas)),
            deprecation: deprecation(of, &format!("{group}/{version} {kind}")),
        };
        let mut subresources = Vec::new();
        subresources.extend(scale.map(Subresource::scale));
        if of.get("subresources").is_some_and(|them| them.get("status").is_some()) {
            let serves = Serves::Status;
            subresources.push(Subresource {
                name: "status",
                verbs: Verb::VIEW,
                group,
                version,
                kind,
                serves,
            });
        }
        Box::leak(Box::new(Kind {
            group,
            version,
            kind,
            plural: text(tree::text(names, "plural")),
            singular: text(tree::text(names, "singular")),
            short_names: texts(tree::items(names, "shortNames")),
            categories: texts(tree::items(names, "categories")),
            namespaced: tree::text(&self.0, "spec.scope") == "Namespaced",
            definition,
            verbs: if tree::flag(&self.0, "going") { GOING } else { Verb::ALL },
            subresources: subresources.leak(),
            columns: columns(of),
            selectable: selectable(of),
            name_rule: NameRule::Subdomain,
            strategy: &STRATEGY,
            custom: Some(Box::leak(Box::new(custom))),
            conversion: None,
        }))
    }
}

/// `com.example.stable.v1.CronTab` of `stable.example.com`.
fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.rsplit('.').collect();
    parts.extend([version, kind]);
    parts.join(".")
}

fn scale_of(version: &Value) -> Option<Scale> {
    let scale = version.get("subresources")?.get("scale")?;
    let path = |name: &str| text(tree::text(scale, name).trim_start_matches('.'));
    let selector = tree::text(scale, "labelSelectorPath");
    Some(Scale {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: match selector {
            "" => Read::By(|_| String::new()),
            path => Read::At(json_path(path)),
        },
    })
}

fn columns(version: &Value) -> &'static [Column] {
    let wanted = tree::items(version, "additionalPrinterColumns");
    let mut columns = vec![Column::NAME];
    if wanted.is_empty() {
        columns.push(Column::AGE);
    }
    columns.extend(wanted.iter().map(|column| Column {
        name: text(tree::text(column, "name")),
        value_type: text(tree::text(column, "type")),
        format: text(tree::text(column, "format")),
        description: text(&match tree::text(column, "description") {
            "" => format!("Custom resource definition column (in JSONPath format): {}", json_path_of(column)),
            description => description.to_owned(),
        }),
        priority: tree::int(column, "priority").and_then(|it| i32::try_from(it).ok()).unwrap_or_default(),
        cell: Cell::At(json_path(json_path_of(column))),
    }));
    columns.leak()
}

fn json_path_of(value: &Value) -> &str {
    tree::text(value, "jsonPath")
}

fn selectable(version: &Value) -> &'static [Selectable] {
    let fields = tree::items(version, "selectableFields").iter().map(json_path_of);
    let fields = fields.map(|path| (text(path.trim_start_matches('.')), Read::At(json_path(path))));
    fields.collect::<Vec<_>>().leak()
}

/// A definition's paths were checked when it was written; one that is none leads nowhere.
fn json_path(path: &str) -> &'static JsonPath {
    Box::leak(Box::new(JsonPath::parse(path).unwrap_or_else(|_| JsonPath::nowhere())))
}

fn deprecation(version: &Value, what: &str) -> Option<String> {
    tree::flag(version, "deprecated").then(|| match tree::text(version, "deprecationWarning") {
        "" => format!("{what} is deprecated"),
        warning => warning.to_owned(),
    })
}

fn text(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn texts(values: &[Value]) -> &'static [&'static str] {
    values.iter().filter_map(Value::as_str).map(text).collect::<Vec<_>>().leak()
}
