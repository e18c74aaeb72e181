//! PodSecurity: a namespace's labels name one of three levels, and what may not run at it is refused or warned of.
//!
//! Levels, versions, checks and texts are those of the Pod Security Standards (KEP-2579). Without labels everything is
//! privileged. Violations of `audit` are not recorded: there is no audit log to write them to.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::{meta, tree};
use serde_json::Value;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;
use checks::Subject;
use policy::{Level, Policy, Rule};

mod checks;
mod policy;
#[cfg(test)]
mod tests;

pub(super) const PLUGIN: Plugin = Plugin { name: "PodSecurity", admit: Admit::Reading(admit) };

/// How many of a namespace's pods are looked at when its level is raised.
const PODS_MAX: usize = 3_000;

/// Where kinds that make pods keep what they make.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "PodTemplate", "template"),
    ("", "ReplicationController", "spec.template"),
    ("apps", "DaemonSet", "spec.template"),
    ("apps", "Deployment", "spec.template"),
    ("apps", "ReplicaSet", "spec.template"),
    ("apps", "StatefulSet", "spec.template"),
    ("batch", "CronJob", "spec.jobTemplate.spec.template"),
    ("batch", "Job", "spec.template"),
];

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if attempt.is("", "Namespace") {
            return judge_namespace(attempt).await;
        }
        if attempt.is("", "Pod") {
            let matters = attempt.old.is_none_or(|old| runs_something_else(attempt.object, old));
            return if matters { judge_pod(attempt).await } else { Ok(()) };
        }
        let template = TEMPLATES.iter().find(|(group, kind, _)| attempt.is(group, kind));
        match template {
            Some((_, _, path)) => judge_template(attempt, path).await,
            None => Ok(()),
        }
    }
    .boxed()
}

async fn judge_pod(attempt: &Attempt<'_>) -> Result<(), Status> {
    let policy = policy_of(attempt).await?;
    if let Some(why) = checks::violations(policy.enforce, &Subject::of(attempt.object)) {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, why.details());
        return Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why));
    }
    warn(attempt, policy.warn, attempt.object);
    Ok(())
}

/// Who makes pods is only warned: the pods themselves are refused.
async fn judge_template(attempt: &Attempt<'_>, path: &str) -> Result<(), Status> {
    let template = tree::get(attempt.object, path);
    if template.is_object() {
        warn(attempt, policy_of(attempt).await?.warn, template);
    }
    Ok(())
}

fn warn(attempt: &Attempt<'_>, rule: Rule, pod: &Value) {
    if let Some(why) = checks::violations(rule, &Subject::of(pod)) {
        attempt.call.warnings.say(format!("would violate PodSecurity \"{rule}\": {}", why.details()));
    }
}

/// What the labels of the object's namespace ask for.
async fn policy_of(attempt: &Attempt<'_>) -> Result<Policy, Status> {
    let scope = attempt.scope("", "namespaces", None)?;
    let found = attempt.find(&scope, attempt.namespace).await?;
    let Some(found) = found else { return Err(Status::not_found(scope.kind, attempt.namespace)) };
    Ok(Policy::of(&found.parse()?).0)
}

/// Labels must be understood; a level that is raised is held against the pods that are there.
async fn judge_namespace(attempt: &Attempt<'_>) -> Result<(), Status> {
    let (policy, errors) = Policy::of(attempt.object);
    let Some(old) = attempt.old else {
        return errors
            .into_result()
            .map_err(|errors| Status::invalid(attempt.call.kind, attempt.name, &errors));
    };
    let (before, old_errors) = Policy::of(old);
    if errors != old_errors {
        errors.into_result().map_err(|errors| Status::invalid(attempt.call.kind, attempt.name, &errors))?;
    }
    let (rule, was) = (policy.enforce, before.enforce);
    let relaxed = rule.version == was.version && rule.level <= was.level;
    if rule.level == Level::Privileged || relaxed {
        return Ok(());
    }
    let pods = attempt.all(&attempt.scope("", "pods", Some(attempt.name))?).await?;
    attempt.call.warnings.say_all(of_pods(attempt.name, rule, &pods));
    Ok(())
}

/// What to warn of when pods that run already violate `rule`: one of each controller first, alike ones together.
fn of_pods(namespace: &str, rule: Rule, pods: &[Value]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let owner = |pod| meta::owner_references(pod).into_iter().find(|owner| owner.controller);
    let (first, again): (Vec<_>, Vec<_>) =
        pods.iter().partition(|pod| owner(pod).is_none_or(|owner| seen.insert(owner.uid)));
    let mut by_reason = BTreeMap::<String, Vec<&str>>::new();
    for pod in first.into_iter().chain(again).take(PODS_MAX) {
        if let Some(why) = checks::violations(rule, &Subject::of(pod)) {
            by_reason.entry(why.reasons()).or_default().push(meta::name(pod));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        let of = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {of} existing pods"
        ));
    }
    if !by_reason.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{rule}\""
        ));
    }
    let mut lines: Vec<String> = by_reason.iter().map(|(reasons, names)| line(names, reasons)).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn line(names: &[&str], reasons: &str) -> String {
    let name = names.iter().min().copied().unwrap_or_default();
    match names.len() {
        1 => format!("{name}: {reasons}"),
        2 => format!("{name} (and 1 other pod): {reasons}"),
        count => format!("{name} (and {} other pods): {reasons}", count - 1),
    }
}

/// Whether an update of a pod changes what of it is judged: which containers run, and which images.
fn runs_something_else(pod: &Value, old: &Value) -> bool {
    let images = |pod: &Value| -> Vec<(String, String)> {
        let containers = Subject::of(pod).containers();
        containers.map(|of| (tree::text(of, "name").to_owned(), tree::text(of, "image").to_owned())).collect()
    };
    images(pod) != images(old)
}
