//! `fieldPath`: `.spec.x`, `.labels['app']`; written in errors after the path of the value that the rule is about.

use crate::custom::Structural;
use crate::custom::structural::Additional;

/// The path as errors have it, empty for none.
///
/// # Errors
/// It is no path, or the schema has nothing there.
pub(super) fn normalized(path: &str, schema: &Structural) -> Result<String, String> {
    let mut out = String::new();
    let (mut rest, mut at) = (path, schema);
    while !rest.is_empty() {
        let (name, after) = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        } else if let Some(after) = rest.strip_prefix("['") {
            quoted(after)?
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        };
        at = match (at.properties.get(&name), &at.additional) {
            (Some(of), _) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&name);
                of
            }
            (None, Some(Additional::Of(of))) if at.properties.is_empty() => {
                out.push_str(&format!("[{name}]"));
                of
            }
            (None, _) => return Err("does not refer to a valid field".to_owned()),
        };
        rest = after;
    }
    Ok(out)
}

/// The text up to `']`, and what follows.
fn quoted(rest: &str) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => match rest[at..].strip_prefix("']") {
                Some(after) => return Ok((out, after)),
                None => return Err("expected ] after a quoted name".to_owned()),
            },
            '\\' => match letters.next() {
                Some((_, letter @ ('\'' | '\\'))) => out.push(letter),
                _ => return Err("invalid escape char".to_owned()),
            },
            letter => out.push(letter),
        }
    }
    Err("unexpected end of JSON path".to_owned())
}
