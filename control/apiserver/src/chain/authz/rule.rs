//! One rule of a role: what it allows, which other rules it covers, and how it reads in a message.
//!
//! Pure. Behaviour and words follow Kubernetes' RBAC: only `*`, `*/<subresource>` and a trailing `*` of a path match
//! more than themselves.

use std::collections::BTreeSet;
use std::fmt;

use kinds::tree;
use serde_json::{Value, json};

use super::{Asked, Attributes, Resource};

/// A PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    /// Empty: any name.
    pub(crate) names: Vec<String>,
    /// Paths that are no resources.
    pub(crate) paths: Vec<String>,
}

impl Rule {
    /// What lets its holder do everything.
    pub(crate) fn full_authority() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        [
            Self { verbs: all(), groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), paths: all(), ..Self::default() },
        ]
    }

    pub(crate) fn of(rule: &Value) -> Self {
        let texts = |field: &str| {
            tree::items(rule, field).iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        tree::items(role, "rules").iter().map(Self::of).collect()
    }

    /// The rule as objects write it.
    pub(crate) fn to_json(&self) -> Value {
        let mut rule = json!({"verbs": self.verbs});
        let fields = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        for (field, values) in fields.into_iter().filter(|(_, values)| !values.is_empty()) {
            rule[field] = json!(values);
        }
        rule
    }

    pub(crate) fn allows(&self, asked: &Attributes<'_>) -> bool {
        has_or_all(&self.verbs, asked.verb)
            && match &asked.asked {
                Asked::Resource(resource) => {
                    has_or_all(&self.groups, resource.group)
                        && self.names_resource(resource)
                        && (self.names.is_empty() || has(&self.names, resource.name))
                }
                Asked::Path(path) => self.paths.iter().any(|own| path_covers(own, path)),
            }
    }

    fn names_resource(&self, asked: &Resource<'_>) -> bool {
        self.resources.iter().any(|own| match own.split_once('/') {
            None => own == "*" || (asked.subresource.is_empty() && own == asked.resource),
            Some((resource, subresource)) => {
                !asked.subresource.is_empty()
                    && subresource == asked.subresource
                    && (resource == "*" || resource == asked.resource)
            }
        })
    }

    /// Whether everything that `other` allows is allowed by this one too.
    fn covers(&self, other: &Self) -> bool {
        let all_of = |own: &[String], others: &[String]| others.iter().all(|value| has_or_all(own, value));
        let names = self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|name| has(&self.names, name)));
        all_of(&self.verbs, &other.verbs)
            && all_of(&self.groups, &other.groups)
            && other.resources.iter().all(|resource| self.covers_resource(resource))
            && names
            && other.paths.iter().all(|path| self.paths.iter().any(|own| path_covers(own, path)))
    }

    fn covers_resource(&self, resource: &str) -> bool {
        has_or_all(&self.resources, resource)
            || resource.split_once('/').is_some_and(|(_, subresource)| {
                self.resources.iter().any(|own| own.strip_prefix("*/") == Some(subresource))
            })
    }

    /// The same as rules of one verb on one thing each.
    fn broken_down(&self) -> Vec<Self> {
        let names: Vec<Vec<String>> = match self.names.is_empty() {
            true => vec![Vec::new()],
            false => self.names.iter().map(|name| vec![name.clone()]).collect(),
        };
        let mut parts = Vec::new();
        for (group, resource) in pairs(&self.groups, &self.resources) {
            for verb in &self.verbs {
                parts.extend(names.iter().map(|names| Self {
                    verbs: vec![verb.clone()],
                    groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    names: names.clone(),
                    paths: Vec::new(),
                }));
            }
        }
        parts.extend(pairs(&self.paths, &self.verbs).map(|(path, verb)| Self {
            verbs: vec![verb.clone()],
            paths: vec![path.clone()],
            ..Self::default()
        }));
        parts
    }
}

/// What of `wanted` no rule of `held` covers; rules on the same thing are one.
pub(crate) fn missing(held: &[&Rule], wanted: &[Rule]) -> Vec<Rule> {
    let parts = wanted.iter().flat_map(Rule::broken_down);
    let mut compact: Vec<Rule> = Vec::new();
    for part in parts.filter(|part| !held.iter().any(|rule| rule.covers(part))) {
        let on_the_same = compact.iter_mut().find(|rule| {
            part.paths.is_empty()
                && (&rule.groups, &rule.resources, &rule.names, &rule.paths)
                    == (&part.groups, &part.resources, &part.names, &part.paths)
        });
        match on_the_same {
            Some(rule) => rule.verbs.extend(part.verbs),
            None => compact.push(part),
        }
    }
    for rule in &mut compact {
        let mut seen = BTreeSet::new();
        rule.verbs.retain(|verb| seen.insert(verb.clone()));
    }
    compact
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let parts = fields.iter().filter(|(_, values)| !values.is_empty());
        let parts: Vec<String> = parts.map(|(name, values)| format!("{name}:{}", listed(values))).collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// A list as Go prints one with quotes: `["a" "b"]`.
pub(crate) fn listed(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn pairs<'a>(first: &'a [String], second: &'a [String]) -> impl Iterator<Item = (&'a String, &'a String)> {
    first.iter().flat_map(move |one| second.iter().map(move |other| (one, other)))
}

fn has(values: &[String], value: &str) -> bool {
    values.iter().any(|own| own == value)
}

fn has_or_all(values: &[String], value: &str) -> bool {
    values.iter().any(|own| own == "*" || own == value)
}

fn path_covers(own: &str, path: &str) -> bool {
    own == path || own.strip_suffix('*').is_some_and(|front| path.starts_with(front.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        let fields: Vec<Vec<String>> = text
            .split('|')
            .map(|field| field.split_whitespace().map(|word| word.replace("core", "")).collect())
            .collect();
        let field = |at: usize| fields.get(at).cloned().unwrap_or_default();
        if field(1).first().is_some_and(|word| word.starts_with(['/', '*']) && fields.len() == 2) {
            return Rule { verbs: field(0), paths: field(1), ..Rule::default() };
        }
        Rule { verbs: field(0), groups: field(1), resources: field(2), names: field(3), paths: Vec::new() }
    }

    fn asks<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb,
            asked: Asked::Resource(Resource { group, resource, subresource, namespace: "", name, node: "" }),
        }
    }

    #[test]
    fn resources_match() {
        let table = [
            ("get list|core|pods", ("get", "", "pods", "p"), true),
            ("get list|core|pods", ("watch", "", "pods", ""), false),
            ("get|core|pods", ("get", "apps", "pods", ""), false),
            ("get|core|pods", ("get", "", "pods/log", ""), false),
            ("get|core|pods/log", ("get", "", "pods/log", ""), true),
            ("get|core|pods/log", ("get", "", "pods", ""), false),
            ("get|core|pods/*", ("get", "", "pods/log", ""), false),
            ("get|*|*/scale", ("get", "apps", "deployments/scale", "d"), true),
            ("get|*|*/scale", ("get", "apps", "deployments", "d"), false),
            ("get|*|*", ("get", "apps", "deployments/scale", "d"), true),
            ("*|core|pods", ("impersonate", "", "pods", ""), true),
            ("get|core|secrets|a b", ("get", "", "secrets", "b"), true),
            ("get|core|secrets|a b", ("get", "", "secrets", "c"), false),
            ("list|core|secrets|a b", ("list", "", "secrets", ""), false),
            ("get|/healthz", ("get", "", "pods", ""), false),
        ];
        for (text, (verb, group, resource, name), expected) in table {
            let asked = asks(verb, group, resource, name);
            assert_eq!(rule(text).allows(&asked), expected, "{text} for {asked:?}");
        }
    }

    #[test]
    fn paths_match() {
        let table = [
            ("get|/healthz", "get", "/healthz", true),
            ("get|/healthz", "post", "/healthz", false),
            ("get|/healthz", "get", "/healthz/", false),
            ("get|/api/*", "get", "/api/v1", true),
            ("get|/api/*", "get", "/api", false),
            ("get|/apis*", "get", "/apis", true),
            ("*|*", "delete", "/anything", true),
            ("get|/a/*/b", "get", "/a/x/b", false),
            ("get|core|pods", "get", "/pods", false),
        ];
        for (text, verb, path, expected) in table {
            let asked = Attributes { verb, asked: Asked::Path(path) };
            assert_eq!(rule(text).allows(&asked), expected, "{text} for {verb} {path}");
        }
    }

    #[test]
    fn what_is_missing_is_told_briefly() {
        let check = |held: &[&str], wanted: &[&str], expected: &str| {
            let held: Vec<Rule> = held.iter().map(|text| rule(text)).collect();
            let wanted: Vec<Rule> = wanted.iter().map(|text| rule(text)).collect();
            let lacking = missing(&held.iter().collect::<Vec<_>>(), &wanted);
            let lines: Vec<String> = lacking.iter().map(Rule::to_string).collect();
            assert_eq!(lines.join("\n"), expected, "{held:?} against {wanted:?}");
        };
        check(&["get list|core|pods"], &["get|core|pods"], "");
        check(&["*|*|*"], &["get|apps|deployments/scale|x", "list|core|pods"], "");
        check(&["get|*|*/scale"], &["get|apps|deployments/scale"], "");
        check(
            &["get|core|pods"],
            &["get list watch|core|pods"],
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
        );
        check(
            &["get|core|secrets|a"],
            &["get|core|secrets|a b"],
            r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#,
        );
        check(
            &["get|core|secrets|a"],
            &["get|core|secrets"],
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,
        );
        check(&["get|/api/*"], &["get|/api/v1 /metrics"], r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#);
        let everything: Vec<Rule> = Rule::full_authority().into();
        assert!(missing(&everything.iter().collect::<Vec<_>>(), &everything).is_empty());
        assert_eq!(missing(&[], &everything).len(), 2);
    }
}
