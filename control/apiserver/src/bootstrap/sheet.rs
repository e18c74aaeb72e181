//! Reads `roles.txt`: the roles and bindings that every cluster has, as objects of their kinds.

use kinds::{Kind, meta, rbac};
use serde_json::{Value, json};
use thiserror::Error;

const SHEET: &str = include_str!("roles.txt");
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// An object that a cluster must have.
pub(super) struct Wanted {
    pub(super) kind: &'static Kind,
    pub(super) object: Value,
}

/// A line that says nothing.
#[derive(Debug, Error)]
#[error("line {number} of the first roles cannot be read: {line}")]
pub struct SheetError {
    number: usize,
    line: String,
}

/// One role and who has it.
struct Block {
    namespace: String,
    name: String,
    bound_as: String,
    role: Value,
    /// Nothing: nobody has it.
    subjects: Option<Vec<Value>>,
}

/// Everything, roles before the bindings that name them.
pub(super) fn wanted() -> Result<Vec<Wanted>, SheetError> {
    parse(SHEET)
}

fn parse(sheet: &str) -> Result<Vec<Wanted>, SheetError> {
    let mut blocks: Vec<Block> = Vec::new();
    for (at, line) in sheet.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let read = match (words.as_slice(), blocks.last_mut()) {
            (["cluster", "role", name], _) => {
                blocks.push(Block::new("", name));
                Some(())
            }
            (["role", namespace, name], _) => {
                blocks.push(Block::new(namespace, name));
                Some(())
            }
            (words, Some(block)) => block.add(words),
            (_, None) => None,
        };
        read.ok_or_else(|| SheetError { number: at + 1, line: line.to_owned() })?;
    }
    let bindings: Vec<Wanted> = blocks.iter().filter_map(Block::binding).collect();
    Ok(blocks.into_iter().map(Block::into_role).chain(bindings).collect())
}

impl Block {
    fn new(namespace: &str, name: &str) -> Self {
        let role = json!({"metadata": metadata(namespace, name)});
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { bound_as: name.clone(), namespace, name, role, subjects: None }
    }

    /// One line below the first; nothing when it cannot be read.
    fn add(&mut self, words: &[&str]) -> Option<()> {
        let rule = match words {
            ["label", key] => {
                self.role["metadata"]["labels"][label(key)] = json!("true");
                return Some(());
            }
            ["gathers", key] => {
                let mut selector = json!({"matchLabels": {}});
                selector["matchLabels"][label(key)] = json!("true");
                self.role["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
                return Some(());
            }
            ["bound", "as", name] => {
                self.bound_as = (*name).to_owned();
                return Some(());
            }
            ["for", who @ ..] => {
                let subjects = self.subjects.get_or_insert_default();
                subjects.extend(subject(who)?);
                return Some(());
            }
            [verbs, "at", paths] => json!({"verbs": all_verbs(verbs), "nonResourceURLs": list(paths)}),
            [verbs, resources, rest @ ..] => resource_rule(verbs, resources, rest)?,
            _ => return None,
        };
        let rules = self.role.as_object_mut()?.entry("rules").or_insert_with(|| json!([]));
        rules.as_array_mut()?.push(rule);
        Some(())
    }

    fn into_role(self) -> Wanted {
        let kind = match self.namespace.as_str() {
            "" => &rbac::role::CLUSTER_ROLE,
            _ => &rbac::role::ROLE,
        };
        Wanted { kind, object: self.role }
    }

    fn binding(&self) -> Option<Wanted> {
        let subjects = self.subjects.as_ref()?;
        let (kind, role_kind) = match self.namespace.as_str() {
            "" => (&rbac::binding::CLUSTER_ROLE_BINDING, "ClusterRole"),
            _ => (&rbac::binding::ROLE_BINDING, "Role"),
        };
        let object = json!({
            "metadata": metadata(&self.namespace, &self.bound_as),
            "roleRef": {"apiGroup": rbac::GROUP, "kind": role_kind, "name": self.name},
            "subjects": subjects,
        });
        Some(Wanted { kind, object })
    }
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut object = json!({"metadata": {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {super::roles::AUTO_UPDATE: "true"},
    }});
    if !namespace.is_empty() {
        meta::set(&mut object, "namespace", namespace);
    }
    object["metadata"].take()
}

fn label(key: &str) -> String {
    format!("{}/{key}", rbac::GROUP)
}

fn resource_rule(verbs: &str, resources: &str, rest: &[&str]) -> Option<Value> {
    let (groups, names) = match rest {
        [] => (vec![""], None),
        ["in", groups] => (list(groups), None),
        ["named", names] => (vec![""], Some(list(names))),
        ["in", groups, "named", names] => (list(groups), Some(list(names))),
        _ => return None,
    };
    let mut rule = json!({"verbs": all_verbs(verbs), "apiGroups": groups, "resources": list(resources)});
    if let Some(names) = names {
        rule["resourceNames"] = json!(names);
    }
    Some(rule)
}

fn subject(who: &[&str]) -> Option<Option<Value>> {
    let of_group = |kind: &str, name: &str| json!({"kind": kind, "apiGroup": rbac::GROUP, "name": name});
    Some(match who {
        ["nobody"] => None,
        ["user", name] => Some(of_group("User", name)),
        ["group", name] => Some(of_group("Group", name)),
        ["account", account] => {
            let (namespace, name) = account.split_once('/')?;
            Some(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}))
        }
        _ => return None,
    })
}

fn all_verbs(words: &str) -> Vec<&str> {
    let verbs = words.split(',').flat_map(|word| match word {
        "read" => READ.to_vec(),
        "write" => WRITE.to_vec(),
        verb => vec![verb],
    });
    verbs.collect()
}

fn list(words: &str) -> Vec<&str> {
    words.split(',').map(|word| if word == "core" { "" } else { word }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_sheet_is_whole_and_valid() {
        let all = wanted().unwrap();
        for wanted in &all {
            let mut object = wanted.object.clone();
            wanted.kind.default_fields(&mut object);
            let errors = wanted.kind.validate_create(&object);
            // The store's own fields are not there yet.
            let of_us = errors.iter().filter(|error| !error.field.starts_with("metadata"));
            assert_eq!(of_us.count(), 0, "{} {errors}", wanted.object);
        }
        let count = |kind: &str| all.iter().filter(|wanted| wanted.kind.kind == kind).count();
        assert_eq!(
            ["ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"].map(count),
            [65, 7, 45, 7],
            "what Kubernetes has, metrics-server's, and four of our own"
        );
    }

    #[test]
    fn lines_become_objects() {
        let sheet = "role a b\n  label x\n  read pods\n  get c in core,apps named d\n  * at /e\n  bound as f\n  for account g/h\n";
        let all = parse(sheet).unwrap();
        let lines: Vec<String> = all.iter().map(|wanted| wanted.object.to_string()).collect();
        expect![[r#"
            {"metadata":{"name":"b","labels":{"kubernetes.io/bootstrapping":"rbac-defaults","rbac.authorization.k8s.io/x":"true"},"annotations":{"rbac.authorization.kubernetes.io/autoupdate":"true"},"namespace":"a"},"rules":[{"verbs":["get","list","watch"],"apiGroups":[""],"resources":["pods"]},{"verbs":["get"],"apiGroups":["","apps"],"resources":["c"],"resourceNames":["d"]},{"verbs":["*"],"nonResourceURLs":["/e"]}]}
            {"metadata":{"name":"f","labels":{"kubernetes.io/bootstrapping":"rbac-defaults"},"annotations":{"rbac.authorization.kubernetes.io/autoupdate":"true"},"namespace":"a"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"b"},"subjects":[{"kind":"ServiceAccount","namespace":"g","name":"h"}]}"#]].assert_eq(&lines.join("\n"));
        let refused = |sheet: &str| parse(sheet).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            refused("role a b\n  get pods on apps\n"),
            "line 2 of the first roles cannot be read:   get pods on apps"
        );
        assert_eq!(refused("  get pods\n"), "line 1 of the first roles cannot be read:   get pods");
        refused("role a b\n  for robot c\n");
    }
}
