//! Names of fields that are no names in CEL: `x-y` is written `x__dash__y`, `namespace` is `__namespace__`.
//!
//! As "Field names" in Kubernetes' page on CEL says. A name that cannot be written so is not seen by rules.

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const SIGNS: &[(&str, &str)] =
    &[("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// How a rule writes the field; none when it cannot.
pub(super) fn escape(field: &str) -> Option<String> {
    if field.is_empty() || field.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if is_reserved(field) {
        return Some(format!("__{field}__"));
    }
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(letter) = rest.chars().next() {
        if let Some((sign, word)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            out.push_str(word);
            rest = &rest[sign.len()..];
        } else if letter.is_ascii_alphanumeric() || letter == '_' {
            out.push(letter);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

/// The field that a rule means.
pub(super) fn unescape(name: &str) -> String {
    let word = name.strip_prefix("__").and_then(|name| name.strip_suffix("__"));
    if let Some(word) = word.filter(|word| is_reserved(word)) {
        return word.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(letter) = rest.chars().next() {
        if let Some((sign, word)) = SIGNS.iter().find(|(_, word)| rest.starts_with(word)) {
            out.push_str(sign);
            rest = &rest[word.len()..];
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_from_their_names() {
        for (field, name) in [
            ("plain", Some("plain")),
            ("x-prop", Some("x__dash__prop")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("redact__d", Some("redact__underscores__d")),
            ("namespace", Some("__namespace__")),
            ("$ref", None),
            ("1st", None),
            ("", None),
        ] {
            assert_eq!(escape(field).as_deref(), name, "{field}");
            if let Some(name) = name {
                assert_eq!(unescape(name), field);
            }
        }
    }
}
