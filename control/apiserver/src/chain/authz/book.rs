//! What the four kinds of RBAC hold, as this server knows it, and who may do what by them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kinds::{meta, rbac, tree};
use serde_json::Value;

use super::rule::Rule;
use crate::chain::authn::Identity;

/// The kinds that decide, in the order in which they are read: bindings last, so that their roles are there.
pub(crate) const KINDS: [&kinds::Kind; 4] = [
    &rbac::role::CLUSTER_ROLE,
    &rbac::role::ROLE,
    &rbac::binding::CLUSTER_ROLE_BINDING,
    &rbac::binding::ROLE_BINDING,
];

/// The binding that a new cluster gets last.
pub(crate) const LAST_BINDING: &str = "cluster-admin";

/// Roles and bindings, parsed, by what comes after their kind in the store's key.
#[derive(Debug, Default)]
pub(crate) struct Book {
    roles: [BTreeMap<String, Arc<[Rule]>>; 2],
    bindings: [BTreeMap<String, Arc<Binding>>; 2],
    /// Whether the first roles and bindings have all been there.
    pub(crate) is_furnished: bool,
}

/// Who has which role, where.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Empty: everywhere.
    namespace: String,
    name: String,
    role_kind: String,
    role_name: String,
    subjects: Vec<Subject>,
}

#[derive(Debug)]
struct Subject {
    kind: String,
    namespace: String,
    name: String,
}

/// Who may do what: an index by subject. Immutable; a change makes another.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    users: HashMap<String, Held>,
    groups: HashMap<String, Held>,
    /// Whether the first roles and bindings of a cluster have all been there.
    pub(crate) is_furnished: bool,
}

/// What one subject has.
#[derive(Debug, Default)]
struct Held {
    everywhere: Vec<Grant>,
    within: HashMap<String, Vec<Grant>>,
}

/// A role that a subject has by a binding.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    binding: Arc<Binding>,
    /// Which of the binding's subjects.
    subject: usize,
    /// Nothing when there is no such role.
    rules: Option<Arc<[Rule]>>,
}

impl Book {
    /// What `key` (`name` or `namespace/name`) of `KINDS[kind]` now holds; nothing when it is gone or unreadable.
    pub(crate) fn set(&mut self, kind: usize, key: &str, object: Option<&Value>) {
        let key = key.to_owned();
        match (kind, object) {
            (0 | 1, Some(role)) => drop(self.roles[kind].insert(key, Rule::all_of(role).into())),
            (0 | 1, None) => drop(self.roles[kind].remove(&key)),
            (_, Some(binding)) => {
                self.is_furnished |= kind == 2 && key == LAST_BINDING;
                drop(self.bindings[kind - 2].insert(key, Arc::new(Binding::of(binding))));
            }
            (_, None) => drop(self.bindings[kind - 2].remove(&key)),
        }
    }

    /// The index of all this.
    pub(crate) fn roles(&self) -> Roles {
        let mut roles = Roles { is_furnished: self.is_furnished, ..Roles::default() };
        for binding in self.bindings.iter().flat_map(BTreeMap::values) {
            let rules = match binding.role_kind.as_str() {
                "ClusterRole" => self.roles[0].get(&binding.role_name),
                _ => self.roles[1].get(&format!("{}/{}", binding.namespace, binding.role_name)),
            };
            for (at, subject) in binding.subjects.iter().enumerate() {
                let Some(held) = roles.held_by(subject, binding) else { continue };
                let grants = match binding.namespace.as_str() {
                    "" => &mut held.everywhere,
                    namespace => held.within.entry(namespace.to_owned()).or_default(),
                };
                let binding = Arc::clone(binding);
                grants.push(Grant { binding, subject: at, rules: rules.cloned() });
            }
        }
        roles
    }
}

impl Binding {
    fn of(binding: &Value) -> Self {
        let text = |object: &Value, path: &str| tree::text(object, path).to_owned();
        let subject = |subject: &Value| Subject {
            kind: text(subject, "kind"),
            namespace: text(subject, "namespace"),
            name: text(subject, "name"),
        };
        Self {
            namespace: meta::namespace(binding).to_owned(),
            name: meta::name(binding).to_owned(),
            role_kind: text(binding, "roleRef.kind"),
            role_name: text(binding, "roleRef.name"),
            subjects: tree::items(binding, "subjects").iter().map(subject).collect(),
        }
    }
}

impl Roles {
    /// All that `who` has and that counts in `namespace` (empty: what counts everywhere).
    pub(crate) fn grants<'a>(
        &'a self,
        who: &'a Identity,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Grant> + Clone {
        let groups = who.groups.iter().filter_map(|group| self.groups.get(group));
        let held = self.users.get(&who.user).into_iter().chain(groups);
        let within = held.clone().filter_map(move |held| held.within.get(namespace)).flatten();
        held.flat_map(|held| &held.everywhere).chain(within)
    }

    fn held_by(&mut self, subject: &Subject, binding: &Binding) -> Option<&mut Held> {
        let (subjects, name) = match subject.kind.as_str() {
            "User" => (&mut self.users, subject.name.clone()),
            "Group" => (&mut self.groups, subject.name.clone()),
            "ServiceAccount" => {
                let namespace =
                    if subject.namespace.is_empty() { &binding.namespace } else { &subject.namespace };
                (&mut self.users, format!("system:serviceaccount:{namespace}:{}", subject.name))
            }
            _ => return None,
        };
        Some(subjects.entry(name).or_default())
    }
}

impl Grant {
    pub(crate) fn rules(&self) -> &[Rule] {
        self.rules.as_deref().unwrap_or_default()
    }

    /// That the role is not there, in Kubernetes' words.
    pub(crate) fn complaint(&self) -> Option<String> {
        let resource = match self.binding.role_kind.as_str() {
            "ClusterRole" => "clusterrole",
            _ => "role",
        };
        let absent = || format!("{resource}.{} {:?} not found", rbac::GROUP, self.binding.role_name);
        self.rules.is_none().then(absent)
    }

    /// By which binding, as access reviews tell it.
    pub(crate) fn describe(&self) -> String {
        let binding = &self.binding;
        let (kind, name) = match binding.namespace.as_str() {
            "" => ("ClusterRoleBinding", binding.name.clone()),
            namespace => ("RoleBinding", format!("{}/{namespace}", binding.name)),
        };
        let subject = &binding.subjects[self.subject];
        let subject_name = match (subject.kind.as_str(), subject.namespace.as_str()) {
            ("ServiceAccount", "") => format!("{}/{}", subject.name, binding.namespace),
            ("ServiceAccount", namespace) => format!("{}/{namespace}", subject.name),
            _ => subject.name.clone(),
        };
        format!(
            "{kind} {name:?} of {} {:?} to {} {subject_name:?}",
            binding.role_kind, binding.role_name, subject.kind
        )
    }
}
