//! Label selectors and field selectors: parse, match, print.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Kind, meta, tree};

mod parse;

/// Why a selector is refused. The text is the `Status` message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    #[error("{0}")]
    Syntax(String),
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    FieldTerm { selector: String, term: String },
    #[error("{0:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    UnknownField(String),
    #[error("field label not supported: {0}")]
    UnsupportedField(String),
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
}

/// What a label must satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Exists,
    DoesNotExist,
    /// One of these; printed as `=` when written so.
    In(Vec<String>),
    NotIn(Vec<String>),
    Equals(String),
    NotEquals(String),
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub need: Need,
}

/// Requirements on labels that must all hold; without any it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// From the text of a query parameter: `app=web,tier in (a, b),!old`.
    ///
    /// # Errors
    /// The text is no selector; the error is worded as Kubernetes words it.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = parse::requirements(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// From a `LabelSelector` object (`matchLabels`, `matchExpressions`). An absent one matches nothing in
    /// Kubernetes; ask before.
    ///
    /// # Errors
    /// An operator is unknown.
    pub fn from_value(selector: &Value) -> Result<Self, SelectorError> {
        let mut requirements: Vec<Requirement> = tree::map(selector, "matchLabels")
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                need: Need::Equals(value.as_str().unwrap_or_default().to_owned()),
            })
            .collect();
        for expression in tree::items(selector, "matchExpressions") {
            let values = || -> Vec<String> {
                tree::items(expression, "values")
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            };
            let need = match tree::text(expression, "operator") {
                "In" => Need::In(values()),
                "NotIn" => Need::NotIn(values()),
                "Exists" => Need::Exists,
                "DoesNotExist" => Need::DoesNotExist,
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            requirements.push(Requirement { key: tree::text(expression, "key").to_owned(), need });
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// From a plain map, as Services select.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let mut requirements: Vec<Requirement> = labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                need: Need::Equals(value.as_str().unwrap_or_default().to_owned()),
            })
            .collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether labels, read by `label`, satisfy all requirements.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.need.holds(label(&requirement.key)))
    }

    /// Whether the labels of `object` satisfy all requirements.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches_labels(meta::labels(object))
    }

    /// Whether `labels` satisfy all requirements.
    pub fn matches_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches(|key| labels?.get(key)?.as_str())
    }
}

impl Need {
    fn holds(&self, label: Option<&str>) -> bool {
        let listed = |values: &[String]| label.is_some_and(|label| values.iter().any(|value| value == label));
        let number = || label.and_then(|label| label.parse::<i64>().ok());
        match self {
            Self::Exists => label.is_some(),
            Self::DoesNotExist => label.is_none(),
            Self::In(values) => listed(values),
            Self::NotIn(values) => !listed(values),
            Self::Equals(value) => label == Some(value),
            Self::NotEquals(value) => label != Some(value),
            Self::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Self::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let joined = |values: &[String]| {
            let mut values = values.to_vec();
            values.sort();
            values.join(",")
        };
        match &self.need {
            Need::Exists => write!(f, "{key}"),
            Need::DoesNotExist => write!(f, "!{key}"),
            Need::In(values) => write!(f, "{key} in ({})", joined(values)),
            Need::NotIn(values) => write!(f, "{key} notin ({})", joined(values)),
            Need::Equals(value) => write!(f, "{key}={value}"),
            Need::NotEquals(value) => write!(f, "{key}!={value}"),
            Need::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            Need::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.requirements.iter().map(Requirement::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

/// Terms on selectable fields that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// From the text of a query parameter: `status.phase!=Running,spec.nodeName=n1`.
    ///
    /// # Errors
    /// A term holds no operator.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let terms = parse::field_terms(text)?;
        Ok(Self { terms })
    }

    /// Refuses fields that `kind` cannot be selected by.
    ///
    /// # Errors
    /// The first such field; the text is the `Status` message.
    pub fn check(&self, kind: &Kind) -> Result<(), SelectorError> {
        self.terms.iter().try_for_each(|term| kind.check_field(&term.field))
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The name that every match must have, when the selector fixes it.
    pub fn name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// The value that every match must have in `field`, when the selector fixes it.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether `object`, of `kind`, satisfies all terms. Fields that the kind does not know match nothing.
    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        self.terms.iter().all(|term| {
            kind.field(object, &term.field).is_ok_and(|value| (value == term.value) == term.equal)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(selector: &str, expected: Expect) {
        let said = match LabelSelector::parse(selector) {
            Ok(selector) => selector.to_string(),
            Err(error) => format!("error: {error}"),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn label_selectors_parse_and_print() {
        check("", expect![""]);
        check("b=1, a==x", expect!["a=x,b=1"]);
        check("x in (c,a), y notin (b), !z, w", expect!["w,x in (a,c),y notin (b),!z"]);
        check("a!=b,c>5", expect!["a!=b,c>5"]);
        check("in in (in)", expect!["in in (in)"]);
        check("a=", expect!["a="]);
        check("a in ()", expect!["a in ()"]);
    }

    #[test]
    fn bad_label_selectors_say_what_was_expected() {
        check(
            "a b",
            expect!["error: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
        );
        check("a,,b", expect!["error: found ',', expected: identifier after ','"]);
        check("=a", expect!["error: found '=', expected: !, identifier, or 'end of string'"]);
        check("a in b", expect!["error: unable to parse requirement: found 'b' expected: '('"]);
        check("a in (b", expect!["error: unable to parse requirement: found '', expected: ',' or ')'"]);
        check("a=b c", expect!["error: found 'c', expected: ',' or 'end of string'"]);
        check(
            "-a",
            expect![[
                r#"error: unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#
            ]],
        );
    }

    #[test]
    fn selectors_match_objects() {
        let pod = json!({"metadata": {"name": "p", "labels": {"app": "web", "n": "7"}}});
        for (selector, matches) in [
            ("app=web", true),
            ("app!=web", false),
            ("x!=y", true),
            ("!app", false),
            ("n>6", true),
            ("n<7", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches_object(&pod), matches, "{selector}");
        }
        let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "n", "operator": "In", "values": ["7", "8"]}]});
        let selector = LabelSelector::from_value(&selector).unwrap();
        assert!(selector.matches_object(&pod));
        assert_eq!(selector.to_string(), "app=web,n in (7,8)");
    }

    #[test]
    fn field_selectors_know_their_kind() {
        let kind = &crate::core::config_map::CONFIG_MAP;
        let object = json!({"metadata": {"name": "a", "namespace": "n"}});
        let of = |text: &str| FieldSelector::parse(text).unwrap();
        assert!(of("metadata.name=a,metadata.namespace!=m").matches(kind, &object));
        assert!(!of("metadata.name==b").matches(kind, &object));
        let refused = of("spec.bogus=1").check(kind).unwrap_err();
        expect![[
            r#""spec.bogus" is not a known field selector: only "metadata.name", "metadata.namespace""#
        ]]
        .assert_eq(&refused.to_string());
    }
}
