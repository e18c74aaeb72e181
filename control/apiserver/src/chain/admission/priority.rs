//! Priority: a pod gets the number and the policy of its priority class, or of the class of those that name none.
//!
//! What a class says of these never changes, so nothing guards the write. The system's classes count before anybody has
//! made their objects.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::scheduling::priority_class::{DEFAULT_POLICY, SYSTEM};
use kinds::{meta, tree};
use serde_json::Value;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;
use crate::storage::Scope;

pub(super) const PLUGIN: Plugin = Plugin { name: "Priority", admit: Admit::Reading(admit) };

const COMPUTED: &str = "priority admission controller computed";
const FROM_CLASS: &str = "from the given PriorityClass name";

/// What a class gives to its pods.
struct Class {
    name: String,
    value: i64,
    policy: String,
}

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if attempt.creates("", "Pod") {
            return admit_pod(attempt).await;
        }
        if attempt.call.kind.group == "scheduling.k8s.io" && tree::flag(attempt.object, "globalDefault") {
            return refuse_second_default(attempt).await;
        }
        Ok(())
    }
    .boxed()
}

async fn admit_pod(attempt: &mut Attempt<'_>) -> Result<(), Status> {
    let name = tree::text(attempt.object, "spec.priorityClassName").to_owned();
    let class = match name.as_str() {
        "" => default_class(attempt).await?,
        name => Some(class_of(attempt, name).await?),
    };
    let (value, policy) =
        class.as_ref().map_or((0, DEFAULT_POLICY), |class| (class.value, class.policy.as_str()));
    if let Some(asked) = tree::int(attempt.object, "spec.priority").filter(|asked| *asked != value) {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; {COMPUTED} {value} {FROM_CLASS}"
        );
        return Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
    }
    let asked = tree::text(attempt.object, "spec.preemptionPolicy");
    if !asked.is_empty() && asked != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; {COMPUTED} {policy} \
             {FROM_CLASS}"
        );
        return Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
    }
    tree::set(attempt.object, "spec.priority", value);
    tree::set(attempt.object, "spec.preemptionPolicy", policy);
    if let Some(class) = class {
        tree::set(attempt.object, "spec.priorityClassName", class.name);
    }
    Ok(())
}

/// The class of this name.
async fn class_of(attempt: &Attempt<'_>, name: &str) -> Result<Class, Status> {
    if let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) {
        return Ok(Class { name: name.to_owned(), value: *value, policy: DEFAULT_POLICY.to_owned() });
    }
    let found = attempt.find(&scope(attempt)?, name).await?;
    let Some(found) = found else {
        let why = format!("no PriorityClass with name {name} was found");
        return Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
    };
    Ok(Class::of(&found.parse()?))
}

/// The class of pods that name none.
async fn default_class(attempt: &Attempt<'_>) -> Result<Option<Class>, Status> {
    let classes = attempt.all(&scope(attempt)?).await?;
    let defaults = classes.iter().filter(|class| tree::flag(class, "globalDefault")).map(Class::of);
    Ok(defaults.min_by_key(|class| class.value))
}

async fn refuse_second_default(attempt: &Attempt<'_>) -> Result<(), Status> {
    match default_class(attempt).await? {
        Some(class) if class.name != meta::name(attempt.object) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                class.name
            );
            Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why))
        }
        Some(_) | None => Ok(()),
    }
}

fn scope(attempt: &Attempt<'_>) -> Result<Scope, Status> {
    attempt.scope("scheduling.k8s.io", "priorityclasses", None)
}

impl Class {
    fn of(object: &Value) -> Self {
        Self {
            name: meta::name(object).to_owned(),
            value: tree::int(object, "value").unwrap_or_default(),
            policy: tree::text(object, "preemptionPolicy").to_owned(),
        }
    }
}
