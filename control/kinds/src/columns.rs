//! Columns of `kubectl get`: their definitions and the cells that kinds share.

use base::Timestamp;
use serde_json::{Map, Value};

use crate::custom::JsonPath;
use crate::{duration, meta, tree};

/// One column of a Table.
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, …: the OpenAPI type.
    pub value_type: &'static str,
    /// `name` marks the object's name.
    pub format: &'static str,
    pub description: &'static str,
    /// Zero is shown always, one only in `-o wide`.
    pub priority: i32,
    pub cell: Cell,
}

/// How a cell is made.
#[derive(Clone, Copy)]
pub enum Cell {
    By(fn(&Value, &CellContext) -> Value),
    /// The first value at a path, shown as the column's type wants it.
    At(&'static JsonPath),
}

/// What a cell may know beyond the object.
pub struct CellContext {
    pub now: Timestamp,
}

impl Column {
    /// What the column shows of `object`.
    pub fn cell_of(&self, object: &Value, cx: &CellContext) -> Value {
        match self.cell {
            Cell::By(make) => make(object, cx),
            Cell::At(path) => path.first(object).map_or(Value::Null, |found| self.shown(found, cx)),
        }
    }

    /// A value of a custom object as a cell; what is not of the column's type is left out.
    fn shown(&self, found: &Value, cx: &CellContext) -> Value {
        match (self.value_type, found) {
            (_, Value::Null) => Value::Null,
            ("integer", Value::Number(number)) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64().map_or(Value::Null, |number| (number.trunc() as i64).into()),
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => found.clone(),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(_) => duration::since(text, cx.now).into(),
                Err(_) => "<invalid>".into(),
            },
            ("string", Value::String(_)) => found.clone(),
            ("string", other) => other.to_string().into(),
            (_, _) => Value::Null,
        }
    }

    /// Shown always.
    pub const fn new(
        name: &'static str,
        description: &'static str,
        cell: fn(&Value, &CellContext) -> Value,
    ) -> Self {
        Self { name, value_type: "string", format: "", description, priority: 0, cell: Cell::By(cell) }
    }

    /// Shown in `-o wide`.
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The cells are numbers.
    pub const fn integer(self) -> Self {
        Self { value_type: "integer", ..self }
    }

    /// The cells are true or false.
    pub const fn boolean(self) -> Self {
        Self { value_type: "boolean", ..self }
    }

    pub const NAME: Self = Self {
        name: "Name",
        value_type: "string",
        format: "name",
        description: "The object's name, unique among the kind in its namespace.",
        priority: 0,
        cell: Cell::By(|object, _| meta::name(object).into()),
    };

    pub const CREATED_AT: Self = Self {
        value_type: "date",
        ..Self::new("Created At", "When the object was created.", |object, _| {
            tree::text(object, "metadata.creationTimestamp").into()
        })
    };

    /// Of what keeps a number of pods.
    pub const DESIRED: Self =
        Self::new("Desired", "Pods wanted.", |object, _| number(object, "spec.replicas")).integer();

    /// Of what keeps a number of pods.
    pub const CURRENT: Self =
        Self::new("Current", "Pods made.", |object, _| number(object, "status.replicas")).integer();

    /// Of what keeps a number of pods.
    pub const READY: Self =
        Self::new("Ready", "Pods ready.", |object, _| number(object, "status.readyReplicas")).integer();

    /// Of everything that has a pod template.
    pub const CONTAINERS: Self = Self::new("Containers", "Names of the containers.", |object, _| {
        template_containers(object, "spec.template", "name")
    })
    .wide();

    /// Of everything that has a pod template.
    pub const IMAGES: Self = Self::new("Images", "Images of the containers.", |object, _| {
        template_containers(object, "spec.template", "image")
    })
    .wide();

    pub const AGE: Self =
        Self::new("Age", "Time since the object was created.", |object, cx| age(object, cx).into());
}

fn number(object: &Value, path: &str) -> Value {
    tree::int(object, path).unwrap_or_default().into()
}

/// Time since the object was created.
pub fn age(object: &Value, cx: &CellContext) -> String {
    duration::since(tree::text(object, "metadata.creationTimestamp"), cx.now)
}

/// `a=b,c=d` in the order of keys, `<none>` when empty.
pub(crate) fn labels_text(labels: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    none_if_empty(pairs.join(","))
}

pub(crate) fn none_if_empty(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// A field of each container of the pod template at `template`.
pub(crate) fn template_containers(object: &Value, template: &str, field: &str) -> Value {
    let containers = tree::items(tree::get(object, template), "spec.containers");
    containers.iter().map(|container| tree::text(container, field)).collect::<Vec<_>>().join(",").into()
}
