//! Volumes of a pod and their mounts.

use crate::{Field, FieldError, FieldErrors, names};

/// Volume sources that this program serves, or at least names; others are unknown fields to the schema.
const FILE_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The names of `volumes`, which mounts refer to.
pub(super) fn names<'a>(volumes: &Field<'a>) -> Vec<&'a str> {
    volumes.items().map(|volume| volume.get("name").text()).collect()
}

pub(super) fn validate(volumes: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for volume in volumes.items() {
        let name = volume.get("name");
        match name.text() {
            "" => errors.push(name.required("")),
            text => {
                errors.extend(names::label(text).map(|wrong| name.invalid(wrong)));
                if seen.contains(&text) {
                    errors.push(name.duplicate());
                }
                seen.push(text);
            }
        }
        errors.extend(validate_source(&volume));
    }
    errors
}

fn validate_source(volume: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let set = |field: &&String| field.as_str() != "name" && volume.get(field).is_set();
    let sources: Vec<&String> =
        volume.value.as_object().into_iter().flat_map(|fields| fields.keys()).filter(set).collect();
    if sources.is_empty() {
        errors.push(volume.required("must specify a volume type"));
    }
    for extra in sources.iter().skip(1) {
        errors.push(volume.get(extra).forbidden("may not specify more than 1 volume type"));
    }
    let Some(source) = sources.first() else { return errors };
    let at = volume.get(source);
    let required = match source.as_str() {
        "secret" => "secretName",
        "configMap" => "name",
        "hostPath" | "nfs" => "path",
        "persistentVolumeClaim" => "claimName",
        "csi" => "driver",
        "image" => "reference",
        _ => "",
    };
    if !required.is_empty() && at.get(required).text().is_empty() {
        errors.push(at.get(required).required(""));
    }
    match source.as_str() {
        "hostPath" => errors.extend(validate_host_path(&at)),
        "secret" | "configMap" | "downwardAPI" => errors.extend(validate_files(&at)),
        "projected" => {
            errors.extend(validate_mode(&at.get("defaultMode")));
            for source in at.get("sources").items() {
                for inner in ["secret", "configMap", "downwardAPI"] {
                    errors.extend(validate_files(&source.get(inner)));
                }
            }
        }
        "emptyDir" => errors.extend(validate_size(&at.get("sizeLimit"))),
        "image" => errors.extend(at.get("pullPolicy").one_of(&["Always", "IfNotPresent", "Never"])),
        _ => {}
    }
    errors
}

fn validate_host_path(source: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (path, kind) = (source.get("path"), source.get("type"));
    if path.text().split('/').any(|part| part == "..") {
        errors.push(path.invalid("must not contain '..'"));
    }
    if kind.is_set() && !FILE_TYPES.contains(&kind.text()) {
        errors.push(kind.not_supported(FILE_TYPES));
    }
    errors
}

fn validate_files(source: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(validate_mode(&source.get("defaultMode")));
    for item in source.get("items").items() {
        let (key, path) = (item.get("key"), item.get("path"));
        let from_object = item.get("fieldRef").is_set() || item.get("resourceFieldRef").is_set();
        if key.text().is_empty() && !from_object && !source.path.ends_with("downwardAPI") {
            errors.push(key.required(""));
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        } else {
            errors.extend(inside(&path));
        }
        errors.extend(validate_mode(&item.get("mode")));
    }
    errors
}

fn validate_mode(mode: &Field<'_>) -> Option<FieldError> {
    let bad = mode.int().is_some_and(|mode| !(0..=0o777).contains(&mode));
    bad.then(|| mode.invalid("must be a number between 0 and 0777 (octal), both inclusive"))
}

fn validate_size(size: &Field<'_>) -> Option<FieldError> {
    let quantity = crate::quantity::Quantity::of(size.value)?;
    quantity
        .is_negative()
        .then(|| FieldError::forbidden(&size.path, "SizeLimit field must be a valid resource quantity"))
}

/// Refuses paths that leave the place they are relative to.
fn inside(path: &Field<'_>) -> Option<FieldError> {
    if path.text().starts_with('/') {
        return Some(path.invalid("must be a relative path"));
    }
    path.text().split('/').any(|part| part == "..").then(|| path.invalid("must not contain '..'"))
}

pub(super) fn validate_mounts(mounts: &Field<'_>, volumes: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else if !volumes.contains(&name.text()) {
            errors.push(FieldError::not_found(&name.path, name.text()));
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        } else if seen.contains(&path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        seen.push(path.text());
        for sub_path in ["subPath", "subPathExpr"] {
            errors.extend(inside(&mount.get(sub_path)));
        }
        if !mount.get("subPath").text().is_empty() && !mount.get("subPathExpr").text().is_empty() {
            let both = mount.get("subPathExpr");
            errors.push(both.invalid("subPathExpr and subPath are mutually exclusive"));
        }
    }
    errors
}

/// Mounts of whole volumes only; `why` is said of a part of one.
pub(super) fn without_sub_paths(mounts: &Field<'_>, why: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for mount in mounts.items() {
        for name in ["subPath", "subPathExpr"] {
            let part = mount.get(name);
            if !part.text().is_empty() {
                errors.push(part.forbidden(why));
            }
        }
    }
    errors
}
