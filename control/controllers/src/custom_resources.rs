//! Accepts the names of custom kinds, which puts them in service, and lets a definition go when its objects are gone.
//!
//! One controller decides for the whole cluster, so two definitions never hold one name in a group.

use std::time::Duration;

use base::Timestamp;
use client::{ApiResource, ClientError, HasMetadata, ObjectKey};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tracing::info;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};
use crate::emptying::empty;

const FINALIZER: &str = kinds::apiextensions::custom_resource_definition::FINALIZER;
const ACCEPTED: &str = "NamesAccepted";
const ESTABLISHED: &str = "Established";
/// Objects with finalizers take their time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct CustomResourcesController;

impl Controller for CustomResourcesController {
    type Kind = CustomResourceDefinition;
    const NAME: &'static str = "custom-resource-definition-controller";
    /// Names are given one definition at a time.
    const WORKERS: usize = 1;

    fn new(_: &Shared) -> Self {
        Self
    }

    fn watches() -> Watches {
        // When a definition goes, others of its group may have its names.
        Watches::of::<CustomResourceDefinition>().maps::<CustomResourceDefinition>(|informers, change| {
            let gone = change.old.as_ref().filter(|_| change.new.is_none());
            let Some(gone) = gone else { return Vec::new() };
            let all = informers.cache::<CustomResourceDefinition>().list();
            all.iter().filter(|other| other.spec.group == gone.spec.group).map(|other| other.key()).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let cache = cx.cache::<CustomResourceDefinition>();
        let Some(definition) = cache.get(key) else { return Ok(Next::Done) };
        if definition.is_terminating() {
            return Ok(clean_up(cx, &definition).await?);
        }
        let others: Vec<_> = cache
            .list()
            .into_iter()
            .filter(|other| other.spec.group == definition.spec.group && other.uid() != definition.uid())
            .collect();
        let taken = others.iter().filter_map(|other| other.status.as_ref()?.accepted_names.as_ref());
        let refusal = refusal(&definition.spec.names, taken);
        let status = wanted(&definition, refusal, cx.clock.now());
        if let Some(status) = status {
            let patch = json!({"metadata": {"resourceVersion": definition.metadata.resource_version}, "status": status});
            let written: CustomResourceDefinition = cx.client.merge_patch_status(key, &patch).await?;
            cx.wrote(&written);
            info!(definition = %key.name, established = holds(&written, ESTABLISHED), "looked at the names");
        }
        Ok(Next::Done)
    }
}

/// Where the objects of an established definition are, in a version that is served.
pub(crate) fn resource_of(definition: &CustomResourceDefinition) -> Option<ApiResource> {
    let names = definition.status.as_ref()?.accepted_names.as_ref()?;
    let served = definition.spec.versions.iter().find(|version| version.served)?;
    holds(definition, ESTABLISHED).then(|| ApiResource {
        group: definition.spec.group.clone().into(),
        version: served.name.clone().into(),
        kind: names.kind.clone().into(),
        plural: names.plural.clone().into(),
        namespaced: definition.spec.scope == "Namespaced",
    })
}

fn holds(definition: &CustomResourceDefinition, condition: &str) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|known| known.type_ == condition && known.status == "True")
}

/// Deletes the objects; when none is left, lets the definition go.
async fn clean_up(cx: &Context, definition: &CustomResourceDefinition) -> Result<Next, ClientError> {
    if !definition.has_finalizer(FINALIZER) {
        return Ok(Next::Done);
    }
    // What was never established has no objects.
    if let Some(resource) = resource_of(definition)
        && empty(cx, &resource, "").await? > 0
    {
        return Ok(Next::After(LOOK_AGAIN));
    }
    let finalizers: Vec<_> =
        definition.metadata.finalizers.iter().flatten().filter(|known| *known != FINALIZER).collect();
    let patch = json!({"metadata": {
        "uid": definition.uid(),
        "resourceVersion": definition.metadata.resource_version,
        "finalizers": finalizers,
    }});
    match cx.client.merge_patch::<CustomResourceDefinition>(&definition.key(), &patch).await {
        Ok(_) => info!(definition = definition.name(), "its objects are gone, so it may go"),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(Next::Done)
}

/// Why the names cannot be had: a reason, and words.
fn refusal<'a>(
    wanted: &CustomResourceDefinitionNames,
    taken: impl Iterator<Item = &'a CustomResourceDefinitionNames>,
) -> Option<(&'static str, String)> {
    let mut resources = Vec::new();
    let mut kinds = Vec::new();
    for names in taken {
        resources.push(names.plural.as_str());
        resources.extend(names.singular.as_deref());
        resources.extend(names.short_names.iter().flatten().map(String::as_str));
        kinds.push(names.kind.as_str());
        kinds.extend(names.list_kind.as_deref());
    }
    let in_use = |name: &str, by: &[&str]| by.contains(&name).then(|| format!("{name:?} is already in use"));
    let conflict = |reason, name: Option<&str>, by: &[&str]| Some((reason, in_use(name?, by)?));
    conflict("PluralConflict", Some(&wanted.plural), &resources)
        .or_else(|| conflict("SingularConflict", wanted.singular.as_deref(), &resources))
        .or_else(|| {
            let short = wanted.short_names.iter().flatten();
            short.filter_map(|name| conflict("ShortNamesConflict", Some(name), &resources)).next()
        })
        .or_else(|| conflict("KindConflict", Some(&wanted.kind), &kinds))
        .or_else(|| conflict("ListKindConflict", wanted.list_kind.as_deref(), &kinds))
}

/// What the status should say of the names; nothing when it says so.
fn wanted(
    definition: &CustomResourceDefinition,
    refusal: Option<(&'static str, String)>,
    now: Timestamp,
) -> Option<serde_json::Value> {
    let status = definition.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.clone().unwrap_or_default();
    let mut accepted = status.accepted_names.clone().unwrap_or_default();
    let was_established = holds(definition, ESTABLISHED);
    match refusal {
        None => {
            accepted = definition.spec.names.clone();
            set(&mut conditions, (ACCEPTED, true), ("NoConflicts", "no conflicts found"), now);
            let message = "the initial names have been accepted";
            set(&mut conditions, (ESTABLISHED, true), ("InitialNamesAccepted", message), now);
        }
        Some((reason, message)) => {
            set(&mut conditions, (ACCEPTED, false), (reason, &message), now);
            if !was_established {
                let message = "not all names are accepted";
                set(&mut conditions, (ESTABLISHED, false), ("NotAccepted", message), now);
            }
        }
    }
    let is_new = status.accepted_names.as_ref() != Some(&accepted)
        || status.conditions.as_deref().unwrap_or_default() != conditions;
    is_new.then(|| json!({"acceptedNames": accepted, "conditions": conditions}))
}

/// Sets one condition; its time moves when it turns.
fn set(
    conditions: &mut Vec<CustomResourceDefinitionCondition>,
    (of_type, holds): (&str, bool),
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let known = conditions.iter().position(|condition| condition.type_ == of_type);
    let since = known.map(|at| &conditions[at]).filter(|condition| condition.status == status);
    let condition = CustomResourceDefinitionCondition {
        type_: of_type.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(since.and_then(|it| it.last_transition_time.clone()).unwrap_or(Time(now))),
        ..CustomResourceDefinitionCondition::default()
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `plural kind short`, with the names accepted or not yet.
    fn definition(words: &str, accepted: bool) -> CustomResourceDefinition {
        let mut words = words.split(' ');
        let mut word = || words.next().expect("a word");
        let (plural, kind, short) = (word(), word(), word());
        let names = json!({"plural": plural, "kind": kind, "shortNames": [short]});
        let mut object = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.lab.io"), "uid": plural},
            "spec": {"group": "lab.io", "scope": "Namespaced", "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true}]},
        });
        if accepted {
            object["status"] = json!({"acceptedNames": names, "storedVersions": ["v1"]});
        }
        serde_json::from_value(object).expect("a definition")
    }

    fn refused(wanted: &str, taken: &str) -> Option<String> {
        let taken = definition(taken, true);
        let names = taken.status.as_ref().and_then(|status| status.accepted_names.as_ref());
        refusal(&definition(wanted, false).spec.names, names.into_iter())
            .map(|(reason, message)| format!("{reason}: {message}"))
    }

    #[test]
    fn no_name_is_given_twice() {
        assert_eq!(refused("foos Foo f", "bars Bar b"), None);
        assert_eq!(
            refused("foos Foo b", "bars Bar b").as_deref(),
            Some("ShortNamesConflict: \"b\" is already in use")
        );
        assert_eq!(
            refused("foos Bar f", "bars Bar b").as_deref(),
            Some("KindConflict: \"Bar\" is already in use")
        );
        assert_eq!(
            refused("b Foo f", "bars Bar b").as_deref(),
            Some("PluralConflict: \"b\" is already in use")
        );
    }

    #[test]
    fn accepted_names_put_the_kind_in_service_and_a_second_look_changes_nothing() {
        let now: Timestamp = "2026-11-21T00:00:00Z".parse().expect("a time");
        let mut object = definition("foos Foo f", false);
        assert_eq!(resource_of(&object), None);
        let status = wanted(&object, None, now).expect("a new status");
        object.status = Some(serde_json::from_value(status).expect("a status"));
        assert_eq!(resource_of(&object).map(|resource| resource.plural.to_string()).as_deref(), Some("foos"));
        let later: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
        assert_eq!(wanted(&object, None, later), None);

        let mut second = definition("foes Foo f", false);
        let conflict = Some(("KindConflict", "taken".to_owned()));
        second.status = Some(
            serde_json::from_value(wanted(&second, conflict, now).expect("a new status")).expect("a status"),
        );
        assert!(!holds(&second, ESTABLISHED) && resource_of(&second).is_none());
    }
}
