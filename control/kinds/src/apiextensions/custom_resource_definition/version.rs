//! The versions of a definition: their names, schemas, subresources and columns.

use serde_json::Value;

use super::structural;
use crate::custom::JsonPath;
use crate::{Field, FieldError, FieldErrors, names, tree};

const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];

pub(super) fn validate_all(spec: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let versions = spec.get("versions");
    let flagged = |flag: &str| versions.list().iter().filter(|version| tree::flag(version, flag)).count();
    let mut seen = Vec::new();
    for version in versions.items() {
        let name = version.get("name");
        errors.extend(names::label_1035(name.text()).map(|problem| name.invalid(problem)));
        if seen.contains(&name.text()) {
            errors.push(versions.invalid("must contain unique version names"));
        }
        seen.push(name.text());
        errors.extend(validate(spec, &version));
    }
    if flagged("storage") != 1 {
        errors.push(versions.invalid("must have exactly one version marked as storage version"));
    }
    // Objects of a version that nobody can ask for could not be deleted with their definition.
    if flagged("served") == 0 {
        errors.push(versions.invalid("must have at least one version marked as served"));
    }
    errors
}

fn validate(spec: &Field<'_>, version: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let schema = version.get("schema").get("openAPIV3Schema");
    let path = schema_path(spec, version);
    if schema.value.is_object() {
        errors.extend(structural::validate(schema.value, &path));
    } else {
        errors.push(schema.required("schemas are required"));
    }
    if version.get("deprecationWarning").is_set() && !version.get("deprecated").flag() {
        let warning = version.get("deprecationWarning");
        errors.push(warning.invalid("can only be set for deprecated versions"));
    }
    errors.extend(validate_scale(&version.get("subresources").get("scale")));
    for column in version.get("additionalPrinterColumns").items() {
        errors.extend(validate_column(&column));
    }
    let mut paths = Vec::new();
    for field in version.get("selectableFields").items() {
        let path = field.get("jsonPath");
        if paths.contains(&path.text()) {
            errors.push(path.duplicate());
        }
        paths.push(path.text());
        errors.extend(validate_selectable(&path, schema.value));
    }
    errors
}

/// Kubernetes speaks of one schema, in its old place, when all versions have the same.
fn schema_path(spec: &Field<'_>, version: &Field<'_>) -> String {
    let schema = |version: &Value| version.get("schema").cloned();
    let mine = schema(version.value);
    match spec.get("versions").list().iter().all(|other| schema(other) == mine) {
        true => "spec.validation.openAPIV3Schema".to_owned(),
        false => format!("{}.schema.openAPIV3Schema", version.path),
    }
}

fn validate_scale(scale: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !scale.is_set() {
        return errors;
    }
    for (name, roots) in [
        ("specReplicasPath", &["spec"][..]),
        ("statusReplicasPath", &["status"]),
        ("labelSelectorPath", &["spec", "status"]),
    ] {
        let path = scale.get(name);
        if path.text().is_empty() {
            if name != "labelSelectorPath" {
                errors.push(path.required(""));
            }
            continue;
        }
        match fields_of(path.text()) {
            None => errors.push(path.invalid("should be a simple json path starting with .")),
            Some(fields) if fields.len() < 2 || !roots.contains(&fields[0].as_str()) => {
                let roots: Vec<String> = roots.iter().map(|root| format!(".{root}")).collect();
                errors.push(path.invalid(format!("should be a json path under {}", roots.join(" or "))));
            }
            Some(_) => {}
        }
    }
    errors
}

fn validate_column(column: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (name, path) = (column.get("name"), column.get("jsonPath"));
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
    errors.extend(column.get("type").one_of(COLUMN_TYPES));
    match path.text() {
        "" => errors.push(path.required("")),
        text => errors.extend(JsonPath::parse(text).err().map(|error| path.invalid(error.to_string()))),
    }
    errors
}

/// A field outside metadata that is a text, a number or a flag.
fn validate_selectable(path: &Field<'_>, schema: &Value) -> Option<FieldError> {
    let Some(fields) = fields_of(path.text()) else {
        return Some(path.invalid("must be a simple json path starting with ."));
    };
    if fields.first().is_some_and(|first| first == "metadata") {
        return Some(path.invalid("must not point to fields in metadata"));
    }
    let target = fields.iter().try_fold(schema, |at, name| at.get("properties")?.get(name));
    match target.map(|target| tree::text(target, "type")) {
        Some("string" | "integer" | "boolean") => None,
        Some(_) => Some(path.invalid("must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.")),
        None => Some(path.invalid("does not refer to a valid field")),
    }
}

/// The names in a path that is nothing but names.
fn fields_of(path: &str) -> Option<Vec<String>> {
    let parsed = Some(path).filter(|path| path.starts_with('.')).map(JsonPath::parse)?.ok()?;
    Some(parsed.fields()?.into_iter().map(str::to_owned).collect())
}
