//! LimitRanger: what the LimitRanges of a namespace say of its pods and claims, given where they are silent, demanded
//! where they are not.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::quantity::Quantity;
use kinds::quota::{Amounts, add, amounts};
use kinds::{meta, tree};
use serde_json::Value;

use super::{Admit, Attempt, Plugin};
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin { name: "LimitRanger", admit: Admit::Reading(admit) };

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
const CONTAINERS: [&str; 2] = ["spec.containers", "spec.initContainers"];

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let is_claim = attempt.is("", "PersistentVolumeClaim");
        let resizes = attempt.is("", "Pod") && attempt.call.path.subresource.as_deref() == Some("resize");
        let is_pod = attempt.creates("", "Pod") || resizes;
        if !is_pod && !is_claim {
            return Ok(());
        }
        let items = items(attempt).await?;
        if is_pod && !resizes {
            give_defaults(attempt.object, &items);
        }
        let mut wrong = Vec::new();
        for item in &items {
            let demand = Demand::of(item);
            match (demand.whose, is_pod) {
                ("Container", true) => {
                    for container in containers(attempt.object) {
                        wrong.extend(demand.check(&Asked::of(container)));
                    }
                }
                ("Pod", true) => wrong.extend(demand.check(&Asked::of_pod(attempt.object))),
                ("PersistentVolumeClaim", false) => {
                    wrong.extend(demand.check_requests(&amounts(attempt.object, "spec.resources.requests")));
                }
                _ => {}
            }
        }
        let why = match wrong.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Err(Status::forbidden_object(attempt.call.kind, attempt.name, &why))
    }
    .boxed()
}

/// What all LimitRanges of the namespace say.
async fn items(attempt: &Attempt<'_>) -> Result<Vec<Value>, Status> {
    let ranges = attempt.all(&attempt.scope("", "limitranges", Some(attempt.namespace))?).await?;
    Ok(ranges.iter().flat_map(|range| tree::items(range, "spec.limits")).cloned().collect())
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS.into_iter().flat_map(|list| tree::items(pod, list))
}

/// Fills what containers do not say, and tells in an annotation what that was.
fn give_defaults(pod: &mut Value, items: &[Value]) {
    let mut told = Vec::new();
    for (list, word) in CONTAINERS.into_iter().zip(["container", "init container"]) {
        for container in tree::items_mut(pod, list) {
            for (from, to, side) in
                [("defaultRequest", "requests", "request"), ("default", "limits", "limit")]
            {
                let given = fill(container, items, from, to);
                if !given.is_empty() {
                    told.push(format!(
                        "{} {side} for {word} {}",
                        given.join(", "),
                        tree::text(container, "name")
                    ));
                }
            }
        }
    }
    if !told.is_empty() {
        let mut annotations = meta::annotations(pod).cloned().unwrap_or_default();
        annotations
            .insert(ANNOTATION.to_owned(), format!("LimitRanger plugin set: {}", told.join("; ")).into());
        meta::set(pod, "annotations", annotations);
    }
}

/// Which resources were given to the container, in order.
fn fill(container: &mut Value, items: &[Value], from: &str, to: &str) -> Vec<String> {
    let path = format!("resources.{to}");
    let mut amounts = tree::map(container, &path).cloned().unwrap_or_default();
    let mut given = Vec::new();
    for item in items.iter().filter(|item| tree::text(item, "type") == "Container") {
        for (resource, amount) in tree::map(item, from).into_iter().flatten() {
            if !amounts.contains_key(resource) {
                amounts.insert(resource.clone(), amount.clone());
                given.push(resource.clone());
            }
        }
    }
    if !given.is_empty() {
        tree::set(container, &path, amounts);
    }
    given.sort();
    given
}

/// What a container, a pod or a claim asks for.
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl Asked {
    fn of(container: &Value) -> Self {
        Self {
            requests: amounts(container, "resources.requests"),
            limits: amounts(container, "resources.limits"),
        }
    }

    /// All containers together, or the largest of those that run before them.
    fn of_pod(pod: &Value) -> Self {
        let [running, first] =
            CONTAINERS.map(|list| tree::items(pod, list).iter().map(Self::of).collect::<Vec<_>>());
        let side = |of: fn(&Self) -> &Amounts| {
            let mut total = Amounts::new();
            for asked in &running {
                add(&mut total, of(asked));
            }
            for (resource, amount) in first.iter().flat_map(of) {
                if total.get(resource).is_none_or(|sum| sum < amount) {
                    total.insert(resource.clone(), *amount);
                }
            }
            total
        };
        Self { requests: side(|asked| &asked.requests), limits: side(|asked| &asked.limits) }
    }
}

/// One item of a LimitRange.
struct Demand<'a> {
    /// `Container`, `Pod` or `PersistentVolumeClaim`.
    whose: &'a str,
    least: Amounts,
    most: Amounts,
    most_ratio: Amounts,
}

impl<'a> Demand<'a> {
    fn of(item: &'a Value) -> Self {
        Self {
            whose: tree::text(item, "type"),
            least: amounts(item, "min"),
            most: amounts(item, "max"),
            most_ratio: amounts(item, "maxLimitRequestRatio"),
        }
    }

    fn check(&self, asked: &Asked) -> Vec<String> {
        let mut wrong = Vec::new();
        for (resource, least) in &self.least {
            match asked.requests.get(resource) {
                None => wrong.push(self.silent("minimum", resource, *least, "request")),
                Some(request) => wrong.extend(self.too_small(resource, *least, ("request", *request))),
            }
            let limit = asked.limits.get(resource);
            wrong.extend(limit.and_then(|limit| self.too_small(resource, *least, ("limit", *limit))));
        }
        for (resource, most) in &self.most {
            match asked.limits.get(resource) {
                None => wrong.push(self.silent("maximum", resource, *most, "limit")),
                Some(limit) => wrong.extend(self.too_large(resource, *most, ("limit", *limit))),
            }
            let request = asked.requests.get(resource);
            wrong.extend(request.and_then(|request| self.too_large(resource, *most, ("request", *request))));
        }
        for (resource, most) in &self.most_ratio {
            wrong.extend(self.check_ratio(asked, resource, *most));
        }
        wrong
    }

    /// Claims have no limits, and may be silent.
    fn check_requests(&self, requests: &Amounts) -> Vec<String> {
        let check = |(resource, request): (&String, &Quantity)| {
            let (least, most) = (self.least.get(resource), self.most.get(resource));
            let too_small = least.and_then(|least| self.too_small(resource, *least, ("request", *request)));
            let too_large = most.and_then(|most| self.too_large(resource, *most, ("request", *request)));
            [too_small, too_large]
        };
        requests.iter().flat_map(check).flatten().collect()
    }

    fn too_small(&self, resource: &str, least: Quantity, (side, given): (&str, Quantity)) -> Option<String> {
        let bound = || self.bound("minimum", resource, least);
        (given < least).then(|| format!("{}, but {side} is {given}", bound()))
    }

    fn too_large(&self, resource: &str, most: Quantity, (side, given): (&str, Quantity)) -> Option<String> {
        let bound = || self.bound("maximum", resource, most);
        (given > most).then(|| format!("{}, but {side} is {given}", bound()))
    }

    fn silent(&self, end: &str, resource: &str, amount: Quantity, side: &str) -> String {
        format!("{}.  No {side} is specified", self.bound(end, resource, amount))
    }

    fn bound(&self, end: &str, resource: &str, amount: Quantity) -> String {
        format!("{end} {resource} usage per {} is {amount}", self.whose)
    }

    fn check_ratio(&self, asked: &Asked, resource: &str, most: Quantity) -> Option<String> {
        let bound = format!("{resource} max limit to request ratio per {} is {most}", self.whose);
        let given = |amounts: &Amounts| amounts.get(resource).copied().filter(|amount| !amount.is_zero());
        let Some(request) = given(&asked.requests) else {
            return Some(format!("{bound}, but no request is specified or request is 0"));
        };
        let Some(limit) = given(&asked.limits) else {
            return Some(format!("{bound}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.to_milli() as f64 / request.to_milli() as f64;
        (ratio > most.to_milli() as f64 / 1000.0)
            .then(|| format!("{bound}, but provided ratio is {ratio:.6}"))
    }
}
