//! The roles and bindings that every cluster has: made when missing, mended when something was taken away.
//!
//! As in Kubernetes, what somebody added stays, and an object that says `autoupdate: "false"` is left alone.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use kinds::{Kind, meta, tree};
use serde_json::{Value, json};

use super::sheet::{Wanted, wanted};
use super::{BootstrapError, Sent};
use crate::chain::authz::book::{KINDS, LAST_BINDING};
use crate::chain::authz::rule::{Rule, missing};
use crate::server::ApiServer;

/// Whether a start of the server may mend the object.
pub(super) const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// How many objects are written at once.
const AT_ONCE: usize = 16;
/// How often it is looked again after somebody else wrote meanwhile.
const ROUNDS_MAX: usize = 8;

/// What is there, by kind, namespace and name.
type Found = BTreeMap<(&'static str, String, String), Value>;

/// One write that is needed.
struct Repair {
    kind: &'static Kind,
    object: Value,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Update,
    /// A binding cannot change its role: it goes, and the next round makes it anew.
    Delete,
}

impl ApiServer {
    /// Brings roles and bindings to what the sheet says. Writes nothing when nothing is missing.
    pub(super) async fn ensure_roles(&self) -> Result<(), BootstrapError> {
        let wanted = wanted()?;
        for _ in 0..ROUNDS_MAX {
            let found = self.found().await?;
            let repairs = repairs(&wanted, &found);
            if repairs.is_empty() {
                return Ok(());
            }
            // Whoever sees the last binding knows that the others are there.
            let (last, first): (Vec<Repair>, Vec<Repair>) = repairs
                .into_iter()
                .partition(|repair| meta::name(&repair.object) == LAST_BINDING && is_binding(repair.kind));
            for part in [first, last] {
                let writes = futures::stream::iter(part).map(|repair| self.repair(repair));
                writes.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
            }
        }
        Err(BootstrapError::Contended)
    }

    async fn found(&self) -> Result<Found, BootstrapError> {
        let mut found = Found::new();
        for kind in KINDS {
            let list = self.send_until_answered(http::Method::GET, &path(kind, "", ""), &Value::Null).await?;
            let Sent::Done(list) = list else { return Err(BootstrapError::Contended) };
            for item in tree::items(&list, "items") {
                let key = (kind.kind, meta::namespace(item).to_owned(), meta::name(item).to_owned());
                found.insert(key, item.clone());
            }
        }
        Ok(found)
    }

    /// A conflict is no failure: the next round looks again.
    async fn repair(&self, repair: Repair) -> Result<(), BootstrapError> {
        let Repair { kind, object, step } = &repair;
        let namespace = meta::namespace(object);
        let (method, name) = match step {
            Step::Create => (http::Method::POST, ""),
            Step::Update => (http::Method::PUT, meta::name(object)),
            Step::Delete => (http::Method::DELETE, meta::name(object)),
        };
        let body = if *step == Step::Delete { &Value::Null } else { object };
        self.send_until_answered(method, &path(kind, namespace, name), body).await.map(drop)
    }
}

fn path(kind: &Kind, namespace: &str, name: &str) -> String {
    let within = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let named = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("/apis/{}/{}{within}/{}{named}", kind.group, kind.version, kind.plural)
}

fn is_binding(kind: &Kind) -> bool {
    kind.kind.ends_with("Binding")
}

/// What has to be written so that all of `wanted` holds.
fn repairs(wanted: &[Wanted], found: &Found) -> Vec<Repair> {
    let repair = |wanted: &Wanted| {
        let (kind, object) = (wanted.kind, &wanted.object);
        let key = (kind.kind, meta::namespace(object).to_owned(), meta::name(object).to_owned());
        let Some(existing) = found.get(&key) else {
            return Some(Repair { kind, object: object.clone(), step: Step::Create });
        };
        if meta::annotation(existing, AUTO_UPDATE) == Some("false") {
            return None;
        }
        if is_binding(kind) && !tree::same(tree::get(existing, "roleRef"), tree::get(object, "roleRef")) {
            return Some(Repair { kind, object: existing.clone(), step: Step::Delete });
        }
        let mended = mended(existing, object);
        (mended != *existing).then_some(Repair { kind, object: mended, step: Step::Update })
    };
    wanted.iter().filter_map(repair).collect()
}

/// `existing` with what it lacks of `wanted`.
fn mended(existing: &Value, wanted: &Value) -> Value {
    let mut object = existing.clone();
    for map in ["metadata.labels", "metadata.annotations"] {
        for (key, value) in tree::map(wanted, map).into_iter().flatten() {
            if tree::map(existing, map).is_none_or(|own| !own.contains_key(key)) {
                let mut all = tree::get(&object, map).as_object().cloned().unwrap_or_default();
                all.insert(key.clone(), value.clone());
                tree::set(&mut object, map, Value::Object(all));
            }
        }
    }
    let gathering = tree::get(wanted, "aggregationRule");
    if gathering.is_null() {
        append(&mut object, "rules", lacking_rules(existing, wanted));
    } else {
        // Its rules are the controller's.
        let selectors = "aggregationRule.clusterRoleSelectors";
        let own = tree::items(existing, selectors);
        let lacking = tree::items(wanted, selectors).iter().filter(|selector| !own.contains(selector));
        append(&mut object, selectors, lacking.cloned().collect());
    }
    let own = tree::items(existing, "subjects");
    let is_there = |subject: &&Value| {
        own.iter().any(|own| {
            ["kind", "namespace", "name"]
                .iter()
                .all(|field| tree::text(own, field) == tree::text(subject, field))
        })
    };
    let lacking = tree::items(wanted, "subjects").iter().filter(|subject| !is_there(subject));
    append(&mut object, "subjects", lacking.cloned().collect());
    object
}

fn lacking_rules(existing: &Value, wanted: &Value) -> Vec<Value> {
    let own = Rule::all_of(existing);
    let lacking = missing(&own.iter().collect::<Vec<_>>(), &Rule::all_of(wanted));
    lacking.iter().map(Rule::to_json).collect()
}

fn append(object: &mut Value, path: &str, values: Vec<Value>) {
    if values.is_empty() {
        return;
    }
    let all: Vec<Value> = tree::items(object, path).iter().cloned().chain(values).collect();
    tree::set(object, path, json!(all));
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinds::rbac;

    fn found(objects: &[(&'static Kind, Value)]) -> Found {
        let key = |kind: &Kind, object: &Value| {
            (kind.kind, meta::namespace(object).to_owned(), meta::name(object).to_owned())
        };
        objects.iter().map(|(kind, object)| (key(kind, object), object.clone())).collect()
    }

    fn one(kind: &'static Kind, wanted: &Value, existing: Option<&Value>) -> Option<(Step, Value)> {
        let existing: Vec<_> = existing.into_iter().map(|object| (kind, object.clone())).collect();
        let wanted = [Wanted { kind, object: wanted.clone() }];
        repairs(&wanted, &found(&existing)).pop().map(|repair| (repair.step, repair.object))
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else_is_touched() {
        let kind = &rbac::role::CLUSTER_ROLE;
        let wanted = json!({"metadata": {"name": "r", "labels": {"a": "1"}}, "rules": [
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]});
        assert_eq!(one(kind, &wanted, None).unwrap().0, Step::Create);
        assert_eq!(one(kind, &wanted, Some(&wanted)), None);
        let own = json!({"metadata": {"name": "r", "labels": {"a": "mine", "b": "2"}}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["*"]}]});
        let (step, mended) = one(kind, &wanted, Some(&own)).unwrap();
        assert_eq!(step, Step::Update);
        assert_eq!(mended["metadata"], own["metadata"]);
        let lacking = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
        assert_eq!(mended["rules"], json!([own["rules"][0], lacking]));
        let mut left_alone = own;
        left_alone["metadata"]["annotations"] = json!({AUTO_UPDATE: "false"});
        assert_eq!(one(kind, &wanted, Some(&left_alone)), None);
    }

    #[test]
    fn bindings_get_their_subjects_back_and_their_role() {
        let kind = &rbac::binding::CLUSTER_ROLE_BINDING;
        let binding = |role: &str, users: &[&str]| {
            let subjects: Vec<Value> =
                users.iter().map(|user| json!({"kind": "User", "name": user})).collect();
            json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects})
        };
        let (step, mended) = one(kind, &binding("r", &["a", "b"]), Some(&binding("r", &["c", "b"]))).unwrap();
        assert_eq!((step, mended), (Step::Update, binding("r", &["c", "b", "a"])));
        let (step, _) = one(kind, &binding("r", &["a"]), Some(&binding("other", &["a"]))).unwrap();
        assert_eq!(step, Step::Delete);
    }

    #[test]
    fn gathered_rules_are_the_controllers() {
        let kind = &rbac::role::CLUSTER_ROLE;
        let rule = json!({"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}]});
        let wanted = json!({"metadata": {"name": "admin"}, "aggregationRule": rule});
        let mut full = wanted.clone();
        full["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        assert_eq!(one(kind, &wanted, Some(&full)), None);
        let (step, mended) = one(kind, &wanted, Some(&json!({"metadata": {"name": "admin"}}))).unwrap();
        assert_eq!((step, mended), (Step::Update, wanted));
    }
}
