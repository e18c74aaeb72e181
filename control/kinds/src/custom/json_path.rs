//! The JSONPath of columns, selectable fields and scales: fields, indices, wildcards, and filters by equality.
//!
//! `.spec.replicas`, `.metadata.annotations.a\.b/c`, `['a.b']`, `.list[0]`, `.list[*].name` and
//! `.status.conditions[?(@.type=="Ready")].status`. Of what kubectl knows beyond these nothing is taken, so a
//! definition that needs more is refused rather than misread.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// From the end when negative.
    Index(i64),
    All,
    /// Items whose value at the path is, or is not, this one.
    Filter {
        path: Vec<String>,
        equal: bool,
        value: Value,
    },
}

/// Why a text is no such path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(String);

impl JsonPath {
    /// Leads to nothing, whatever the object.
    pub(super) fn nowhere() -> Self {
        Self(vec![Step::Filter { path: Vec::new(), equal: true, value: Value::Null }])
    }

    /// # Errors
    /// The text is no path of the kind that is understood here.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = match rest.strip_prefix('.') {
                Some(after) if after.starts_with('[') => after,
                Some(after) => {
                    let (name, after) = field_name(after);
                    steps.push(match name.as_str() {
                        "" => return Err(JsonPathError(format!("{text:?} lacks a field name"))),
                        "*" => Step::All,
                        _ => Step::Field(name),
                    });
                    after
                }
                None => {
                    let Some((inside, after)) = brackets(rest) else {
                        return Err(JsonPathError(format!("{text:?} must be fields after dots")));
                    };
                    steps.push(bracketed(inside)?);
                    after
                }
            };
        }
        Ok(Self(steps))
    }

    /// The names, when the path is nothing but fields.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.0
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                Step::Index(_) | Step::All | Step::Filter { .. } => None,
            })
            .collect()
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        first(&self.0, object)
    }
}

fn first<'a>(steps: &[Step], at: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(at) };
    match step {
        Step::Field(name) => first(rest, at.get(name)?),
        Step::Index(index) => {
            let items = at.as_array()?;
            let place = if *index < 0 { i64::try_from(items.len()).ok()? + index } else { *index };
            first(rest, items.get(usize::try_from(place).ok()?)?)
        }
        Step::All => match at {
            Value::Array(items) => items.iter().find_map(|item| first(rest, item)),
            Value::Object(entries) => entries.values().find_map(|entry| first(rest, entry)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        },
        Step::Filter { path, equal, value } => {
            let found = |item: &&'a Value| {
                let at = path.iter().try_fold(*item, |at, name| at.get(name));
                at.is_some_and(|at| (at == value) == *equal)
            };
            at.as_array()?.iter().filter(found).find_map(|item| first(rest, item))
        }
    }
}

/// A name up to the next dot or bracket, and what follows; a backslash takes the next letter as it is.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
            letter => name.push(letter),
        }
    }
    (name, "")
}

/// What stands inside the first brackets, and what follows them.
fn brackets(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('[')?;
    let mut quote = None;
    for (at, letter) in inside.char_indices() {
        match (quote, letter) {
            (None, ']') => return Some((&inside[..at], &inside[at + 1..])),
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if letter == open => quote = None,
            (_, _) => {}
        }
    }
    None
}

fn bracketed(inside: &str) -> Result<Step, JsonPathError> {
    let inside = inside.trim();
    let unknown = || JsonPathError(format!("[{inside}] is not understood"));
    if inside == "*" {
        return Ok(Step::All);
    }
    if let Some(name) = quoted(inside) {
        return Ok(Step::Field(name.to_owned()));
    }
    if let Ok(index) = inside.parse() {
        return Ok(Step::Index(index));
    }
    let filter = inside.strip_prefix("?(").and_then(|text| text.strip_suffix(')')).ok_or_else(unknown)?;
    let (left, equal, right) = match (filter.split_once("=="), filter.split_once("!=")) {
        (Some((left, right)), _) => (left, true, right),
        (None, Some((left, right))) => (left, false, right),
        (None, None) => return Err(unknown()),
    };
    let path = left.trim().strip_prefix("@.").ok_or_else(unknown)?;
    let right = right.trim();
    let value = match quoted(right) {
        Some(text) => text.into(),
        None => serde_json::from_str(right).map_err(|_| unknown())?,
    };
    Ok(Step::Filter { path: path.split('.').map(str::to_owned).collect(), equal, value })
}

fn quoted(text: &str) -> Option<&str> {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(path: &str, expected: Value) {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "dotted"}},
            "list": [{"name": "a", "on": true}, {"name": "b", "port": 80}],
            "status": {"conditions": [{"type": "X", "status": "No"}, {"type": "Ready", "status": "True"}]},
        });
        let found = JsonPath::parse(path).map(|path| path.first(&object).cloned().unwrap_or_default());
        assert_eq!(found.unwrap_or_else(|error| json!(error.to_string())), expected, "{path}");
    }

    #[test]
    fn paths_lead_to_values() {
        check(".metadata.annotations.a\\.b/c", json!("dotted"));
        check(".metadata.annotations['a.b/c']", json!("dotted"));
        check("{.list[1].name}", json!("b"));
        check("$.list[-1].port", json!(80));
        check(".list[*].port", json!(80));
        check(".status.conditions[?(@.type==\"Ready\")].status", json!("True"));
        check(".status.conditions[?(@.type != 'Ready')].status", json!("No"));
        check(".list[?(@.on==true)].name", json!("a"));
        check(".list[7].name", Value::Null);
        check(".nothing.here", Value::Null);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        check("spec", json!("\"spec\" must be fields after dots"));
        check(".a..b", json!("\".a..b\" lacks a field name"));
        check(".a[0:2]", json!("[0:2] is not understood"));
        check(".a[?(@.b > 1)]", json!("[?(@.b > 1)] is not understood"));
        check(".a[", json!("\".a[\" must be fields after dots"));
    }

    proptest! {
        #[test]
        fn no_text_takes_the_server_down(
            noise in "\\PC{0,40}",
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    ".", "[", "]", "*", "list", "a\\.b", "'", "\"", "0", "-1", "?(@.", "==", ")", "{", "}", "$", "é",
                    "-9223372036854775808",
                ]),
                0..16,
            ),
        ) {
            let object = json!({"list": [{"a.b": 1}, [2, [3]]], "é": {"": null}});
            for text in [noise, parts.concat()] {
                if let Ok(path) = JsonPath::parse(&text) {
                    let _ = path.first(&object);
                }
            }
        }
    }
}
