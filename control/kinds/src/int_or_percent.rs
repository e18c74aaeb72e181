//! A number of things, or a share of all of them: `3` or `"25%"`.

use serde_json::Value;

use crate::{Field, FieldError};

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                       '93%', regex used for validation is '[0-9]+%')";

/// Refuses what is neither, and what is below zero.
pub(crate) fn validate(field: &Field<'_>) -> Option<FieldError> {
    match field.value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            let good = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            (!good).then(|| field.invalid(PERCENT))
        }
        Value::Number(_) => field.not_negative(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Refuses a share of more than everything.
pub(crate) fn not_above_all(field: &Field<'_>) -> Option<FieldError> {
    let above = percent(field).is_some_and(|percent| percent > 100);
    above.then(|| field.invalid("must not be greater than 100%"))
}

pub(crate) fn is_zero(field: &Field<'_>) -> bool {
    field.int() == Some(0) || percent(field) == Some(0)
}

fn percent(field: &Field<'_>) -> Option<i64> {
    field.text().strip_suffix('%')?.parse().ok()
}
