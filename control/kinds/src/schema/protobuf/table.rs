//! The table of messages, joined with the schema graph.

use std::collections::{HashMap, HashSet};

use super::super::build::rows;
use super::super::{Name, Scalar, Schema, Struct, Type, TypeId};

/// Every message that a definition of the schema corresponds to, and how to find one.
#[derive(Default)]
pub(in super::super) struct Messages {
    messages: Vec<Message>,
    by_type: HashMap<TypeId, u32>,
    /// By the name of their definition, those that OpenAPI does not define.
    others: HashMap<String, u32>,
}

pub(super) struct Message {
    pub(super) shape: Shape,
    /// Sorted by number.
    fields: Box<[MessageField]>,
}

/// How a message becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    /// A wrapper of one repeated field: `ExtraValue`, `Verbs`.
    BareList,
    /// A type with a JSON of its own; what `special` knows.
    Special(Scalar),
    JsonSchemaOrBool,
    JsonSchemaOrList,
    JsonSchemaOrStrings,
}

pub(super) struct MessageField {
    pub(super) number: u32,
    pub(super) name: Name,
    pub(super) label: Label,
    pub(super) kind: FieldKind,
    /// Go inlines the struct: its fields stand in the parent.
    pub(super) inline: bool,
    /// A zero on the wire is written out, since it may have been meant.
    pub(super) keeps_zero: bool,
    /// A pointer in Go: what is not there is not written. Anything else is written as zero.
    pub(super) may_be_absent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Optional,
    Repeated,
    /// Keys are always strings.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    Message(u32),
}

struct Row {
    package: &'static str,
    field: &'static str,
    number: u32,
    label: &'static str,
    ty: &'static str,
    may_be_absent: bool,
}

impl Messages {
    pub(in super::super) fn compile(
        tables: &'static [&'static str],
        absences: &'static [&'static str],
        schema: &Schema,
    ) -> Messages {
        let absences: HashSet<[&str; 3]> = rows(absences).filter_map(|row| row.try_into().ok()).collect();
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut grouped: Vec<Vec<Row>> = Vec::new();
        for row in rows(tables) {
            let [package, message, field, number, label, ty] = row[..] else { continue };
            let full = format!("{package}.{message}");
            let id = *ids.entry(full.clone()).or_insert_with(|| {
                names.push(full);
                grouped.push(Vec::new());
                u32::try_from(grouped.len() - 1).unwrap_or(u32::MAX)
            });
            if let Ok(number) = number.parse() {
                let may_be_absent = absences.contains(&[package, message, field]);
                grouped[id as usize].push(Row { package, field, number, label, ty, may_be_absent });
            }
        }
        let mut messages = Vec::with_capacity(names.len());
        let (mut by_type, mut others) = (HashMap::new(), HashMap::new());
        for (id, (name, rows)) in names.iter().zip(&grouped).enumerate() {
            let definition = definition(name);
            let ty = schema.type_of(&definition);
            match (ty, u32::try_from(id)) {
                (Some(ty), Ok(id)) => {
                    by_type.insert(ty, id);
                }
                (None, Ok(id)) => {
                    others.insert(definition, id);
                }
                (_, Err(_)) => {}
            }
            messages.push(compile(name, rows, &ids, ty.map(|ty| schema.get(ty))));
        }
        Messages { messages, by_type, others }
    }

    pub(super) fn of_type(&self, ty: TypeId) -> Option<u32> {
        self.by_type.get(&ty).copied()
    }

    pub(super) fn of_definition(&self, definition: &str) -> Option<u32> {
        self.others.get(definition).copied()
    }

    pub(super) fn get(&self, id: u32) -> &Message {
        &self.messages[id as usize]
    }
}

impl Message {
    pub(super) fn fields(&self) -> &[MessageField] {
        &self.fields
    }

    pub(super) fn field(&self, number: u32) -> Option<&MessageField> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok().map(|at| &self.fields[at])
    }
}

/// The schema's name of a message: `k8s.io.api.core.v1.Pod` is `io.k8s.api.core.v1.Pod`.
fn definition(message: &str) -> String {
    let rest = message.strip_prefix("k8s.io.").unwrap_or(message);
    let rest = rest.replacen("apiextensions_apiserver", "apiextensions-apiserver", 1);
    format!("io.k8s.{}", rest.replacen("kube_aggregator", "kube-aggregator", 1))
}

fn compile(name: &str, rows: &[Row], ids: &HashMap<String, u32>, ty: Option<&Type>) -> Message {
    let known = match ty {
        Some(Type::Struct(known)) => Some(known),
        Some(Type::List(_) | Type::Map(_) | Type::Scalar(_)) | None => None,
    };
    let mut fields: Vec<MessageField> =
        rows.iter().filter_map(|row| compile_field(row, ids, known)).collect();
    fields.sort_unstable_by_key(|field| field.number);
    Message { shape: shape(name, ty, &fields), fields: fields.into() }
}

fn shape(name: &str, ty: Option<&Type>, fields: &[MessageField]) -> Shape {
    match name.rsplit('.').next() {
        Some("JSONSchemaPropsOrBool") => return Shape::JsonSchemaOrBool,
        Some("JSONSchemaPropsOrArray") => return Shape::JsonSchemaOrList,
        Some("JSONSchemaPropsOrStringArray") => return Shape::JsonSchemaOrStrings,
        Some(_) | None => {}
    }
    if let Some(Type::Scalar(scalar)) = ty {
        return Shape::Special(*scalar);
    }
    match fields {
        [only] if ty.is_none() && &*only.name == "items" && only.label == Label::Repeated => Shape::BareList,
        _ => Shape::Object,
    }
}

fn compile_field(row: &Row, ids: &HashMap<String, u32>, known: Option<&Struct>) -> Option<MessageField> {
    let (label, ty) = match (row.label, row.ty.strip_prefix("map<string,")) {
        ("map", Some(values)) => (Label::Map, values.trim_end_matches('>').trim_start_matches('.')),
        ("repeated", _) => (Label::Repeated, row.ty),
        _ => (Label::Optional, row.ty),
    };
    let kind = match ty {
        "string" => FieldKind::String,
        "bool" => FieldKind::Bool,
        "int32" => FieldKind::Int32,
        "int64" => FieldKind::Int64,
        "double" => FieldKind::Double,
        "bytes" => FieldKind::Bytes,
        named => {
            let id = ids.get(&format!("{}.{named}", row.package)).or_else(|| ids.get(named));
            FieldKind::Message(*id?)
        }
    };
    let written = known.and_then(|known| {
        let exact = known.field(row.field).or_else(|| known.field(renamed(row.field)));
        exact.or_else(|| known.fields.iter().find(|field| field.name.eq_ignore_ascii_case(row.field)))
    });
    let is_message = matches!(kind, FieldKind::Message(_)) && label == Label::Optional;
    Some(MessageField {
        number: row.number,
        name: written.map_or_else(|| row.field.into(), |field| Name::clone(&field.name)),
        label,
        kind,
        inline: known.is_some() && written.is_none() && is_message,
        keeps_zero: written.is_none_or(|field| field.keeps_zero || field.required),
        may_be_absent: row.may_be_absent,
    })
}

/// Fields of CustomResourceDefinition schemas, whose JSON names no message could bear.
fn renamed(field: &str) -> &str {
    match field {
        "schema" => "$schema",
        "ref" => "$ref",
        "xKubernetesPreserveUnknownFields" => "x-kubernetes-preserve-unknown-fields",
        "xKubernetesEmbeddedResource" => "x-kubernetes-embedded-resource",
        "xKubernetesIntOrString" => "x-kubernetes-int-or-string",
        "xKubernetesListMapKeys" => "x-kubernetes-list-map-keys",
        "xKubernetesListType" => "x-kubernetes-list-type",
        "xKubernetesMapType" => "x-kubernetes-map-type",
        "xKubernetesValidations" => "x-kubernetes-validations",
        plain => plain,
    }
}
