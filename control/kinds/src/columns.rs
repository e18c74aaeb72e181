//! Columns of `kubectl get`: their definitions and the cells that kinds share.

use base::Timestamp;
use serde_json::{Map, Value};

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
    pub cell: fn(&Value, &CellContext) -> Value,
}

/// What a cell may know beyond the object.
pub struct CellContext {
    pub now: Timestamp,
}

impl Column {
    /// Shown always.
    pub const fn new(
        name: &'static str,
        description: &'static str,
        cell: fn(&Value, &CellContext) -> Value,
    ) -> Self {
        Self { name, value_type: "string", format: "", description, priority: 0, cell }
    }

    /// Shown in `-o wide`.
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The cells are numbers.
    pub const fn integer(self) -> Self {
        Self { value_type: "integer", ..self }
    }

    pub const NAME: Self = Self {
        name: "Name",
        value_type: "string",
        format: "name",
        description: "The object's name, unique among the kind in its namespace.",
        priority: 0,
        cell: |object, _| meta::name(object).into(),
    };

    pub const AGE: Self =
        Self::new("Age", "Time since the object was created.", |object, cx| age(object, cx).into());
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

/// The column Containers of everything that has a pod template.
pub(crate) fn template_containers(object: &Value, field: &str) -> Value {
    let texts: Vec<&str> = tree::items(object, "spec.template.spec.containers")
        .iter()
        .map(|container| tree::text(container, field))
        .collect();
    texts.join(",").into()
}
