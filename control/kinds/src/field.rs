//! Errors of a field, worded as Kubernetes words them, and a cursor that knows its own path.

use std::fmt;

use serde_json::Value;

/// Why a field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl Reason {
    /// The reason as a `Status` cause names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One refused field. `Display` gives `spec.replicas: Invalid value: -1: must be …`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub field: String,
    pub reason: Reason,
    pub value: Value,
    /// The value is too large to be shown.
    pub hides_value: bool,
    pub detail: String,
}

impl FieldError {
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::without_value(field, Reason::Required, detail.to_owned())
    }

    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::without_value(field, Reason::Forbidden, detail.into())
    }

    pub fn too_long(field: impl Into<String>, bytes_max: usize) -> Self {
        Self::without_value(field, Reason::TooLong, format!("may not be more than {bytes_max} bytes"))
    }

    /// More items, `count`, than the `most` that there may be.
    pub fn too_many(field: impl Into<String>, count: usize, most: usize) -> Self {
        let detail = format!("must have at most {most} {}", if most == 1 { "item" } else { "items" });
        Self { field: field.into(), reason: Reason::TooMany, value: count.into(), detail, hides_value: false }
    }

    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::with_value(field, Reason::Invalid, value, detail.into())
    }

    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::with_value(field, Reason::Duplicate, value, String::new())
    }

    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::with_value(field, Reason::NotFound, value, String::new())
    }

    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|text| format!("{text:?}")).collect();
        let detail = match quoted.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", quoted.join(", ")),
        };
        Self::with_value(field, Reason::NotSupported, value, detail)
    }

    fn without_value(field: impl Into<String>, reason: Reason, detail: String) -> Self {
        Self::with_value(field, reason, Value::Null, detail)
    }

    pub(crate) fn with_value(
        field: impl Into<String>,
        reason: Reason,
        value: impl Into<Value>,
        detail: String,
    ) -> Self {
        Self { field: field.into(), reason, value: value.into(), hides_value: false, detail }
    }

    /// The same, of a value that is too large to be shown.
    pub(crate) fn without_value_shown(self) -> Self {
        Self { hides_value: true, ..self }
    }

    /// The error without its field: the `message` of a `Status` cause.
    pub fn body(&self) -> String {
        let mut body = self.reason.words().to_owned();
        if self.shows_value() {
            body.push_str(": ");
            body.push_str(&shown(&self.value));
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }

    fn shows_value(&self) -> bool {
        !self.hides_value
            && !matches!(
                self.reason,
                Reason::Required | Reason::Forbidden | Reason::TooLong | Reason::Internal
            )
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// A value in an error: text in quotes, everything else as JSON, with what could end a tag escaped as Go does.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
    }
}

/// All refused fields of one object, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }

    /// `Ok` when nothing was refused.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl Extend<FieldError> for FieldErrors {
    fn extend<I: IntoIterator<Item = FieldError>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl IntoIterator for FieldErrors {
    type Item = FieldError;
    type IntoIter = std::vec::IntoIter<FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a FieldErrors {
    type Item = &'a FieldError;
    type IntoIter = std::slice::Iter<'a, FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What follows `… is invalid: `: brackets around more than one, equal texts once.
impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<String> = Vec::with_capacity(self.0.len());
        for text in self.0.iter().map(FieldError::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

static NULL: Value = Value::Null;

/// A place in an object that knows its own path.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub value: &'a Value,
    pub path: String,
}

impl<'a> Field<'a> {
    /// The field `name` at the top of `object`.
    pub fn of(object: &'a Value, name: &str) -> Self {
        Self { value: object.get(name).unwrap_or(&NULL), path: name.to_owned() }
    }

    /// The field `name` in here; absent when this is no object.
    pub fn get(&self, name: &str) -> Field<'a> {
        Field { value: self.value.get(name).unwrap_or(&NULL), path: format!("{}.{name}", self.path) }
    }

    /// The items of this list.
    pub fn items(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let path = self.path.clone();
        self.list()
            .iter()
            .enumerate()
            .map(move |(index, value)| Field { value, path: format!("{path}[{index}]") })
    }

    /// The entries of this map.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + use<'a> {
        let path = self.path.clone();
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(key, value)| (key.as_str(), Field { value, path: format!("{path}[{key}]") }))
    }

    pub fn list(&self) -> &'a [Value] {
        self.value.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// The text here, empty when absent.
    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    pub fn required(&self, detail: &str) -> FieldError {
        FieldError::required(&self.path, detail)
    }

    pub fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(&self.path, detail)
    }

    pub fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, self.value.clone(), detail)
    }

    /// Refuses what `rule` finds wrong with the text here; nothing is [`Reason::Required`].
    pub fn named(&self, rule: fn(&str) -> Option<String>) -> Option<FieldError> {
        match self.text() {
            "" => Some(self.required("")),
            text => rule(text).map(|wrong| self.invalid(wrong)),
        }
    }

    /// Refuses items that were there before.
    pub fn duplicates(&self) -> impl Iterator<Item = FieldError> {
        let before = |at: usize, item: &Value| self.list()[..at].contains(item);
        let again = self.items().enumerate().filter(move |(at, item)| before(*at, item.value));
        again.map(|(_, item)| item.duplicate())
    }

    /// Refuses more items than `most`.
    pub fn at_most(&self, most: usize) -> Option<FieldError> {
        let count = self.list().len();
        (count > most).then(|| FieldError::too_many(&self.path, count, most))
    }

    /// Refuses anything but one of `supported`, if there is anything.
    pub fn one_of_if_set(&self, supported: &[&str]) -> Option<FieldError> {
        (self.is_set() && !supported.contains(&self.text())).then(|| self.not_supported(supported))
    }

    pub fn duplicate(&self) -> FieldError {
        FieldError::duplicate(&self.path, self.value.clone())
    }

    pub fn not_supported(&self, supported: &[&str]) -> FieldError {
        FieldError::not_supported(&self.path, self.text(), supported)
    }

    /// Refuses anything but one of `supported`; empty text is [`Reason::Required`].
    pub fn one_of(&self, supported: &[&str]) -> Option<FieldError> {
        match self.text() {
            "" => Some(self.required("")),
            text if supported.contains(&text) => None,
            _ => Some(self.not_supported(supported)),
        }
    }

    /// Refuses a number below zero.
    pub fn not_negative(&self) -> Option<FieldError> {
        let negative = self.int().is_some_and(|number| number < 0);
        negative.then(|| self.invalid("must be greater than or equal to 0"))
    }

    /// Refuses each of the fields `names` in here that is a number below zero.
    pub fn negatives(&self, names: &[&str]) -> impl Iterator<Item = FieldError> {
        names.iter().filter_map(|name| self.get(name).not_negative())
    }

    /// Refuses any difference from `old`.
    pub fn immutable(&self, old: &Value) -> Option<FieldError> {
        (!crate::tree::same(self.value, old)).then(|| self.invalid("field is immutable"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn errors_read_as_kubernetes_writes_them() {
        let object = json!({"spec": {"replicas": -1, "ports": [{"name": "A\"b"}], "selector": {"a": "b"}}});
        let spec = Field::of(&object, "spec");
        let port = spec.get("ports").items().next().expect("one port");
        let mut errors = FieldErrors::new();
        errors.extend(spec.get("replicas").not_negative());
        expect!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
            .assert_eq(&errors.to_string());
        errors.push(port.get("name").duplicate());
        errors.push(port.get("protocol").required(""));
        errors.push(port.get("protocol").required(""));
        errors.push(spec.get("selector").invalid("field is immutable"));
        errors.push(FieldError::not_supported("spec.type", "X", &["A", "B"]));
        errors.push(FieldError::too_long("metadata.annotations", 262_144));
        expect![[r#"[spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec.ports[0].name: Duplicate value: "A\"b", spec.ports[0].protocol: Required value, spec.selector: Invalid value: {"a":"b"}: field is immutable, spec.type: Unsupported value: "X": supported values: "A", "B", metadata.annotations: Too long: may not be more than 262144 bytes]"#]].assert_eq(&errors.to_string());
    }
}
