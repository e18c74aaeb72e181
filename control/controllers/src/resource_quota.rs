//! Counts what a quota limits: once when it is new or says something else, then now and then.
//!
//! In between the API server keeps the count with every write. All lists are of one revision, and the status is replaced
//! only if the quota is still as it was at that revision: a write that counts in between moves it, so none is lost.

use std::time::Duration;

use base::{Revision, Timestamp};
use client::{ApiResource, ClientError, HasMetadata, ListOptions, ObjectKey, Partial};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kinds::quota::{self, Amounts, Measure};
use kinds::tree;
use serde_json::{Value, json};
use tracing::debug;

use crate::Shared;
use crate::context::Context;
use crate::custom_resources::resource_of;
use crate::driver::{Controller, Next, ReconcileError, Watches};

/// How soon everything is counted again though nobody asked.
const RECOUNT_AFTER: Duration = Duration::from_secs(5 * 60);
const PAGE_LIMIT: u32 = 500;

pub(crate) struct ResourceQuotaController;

impl Controller for ResourceQuotaController {
    type Kind = ResourceQuota;
    const NAME: &'static str = "resourcequota-controller";

    fn new(_: &Shared) -> Self {
        Self
    }

    fn watches() -> Watches {
        let watches = Watches::on::<ResourceQuota>(|_, change| {
            let said = |quota: &ResourceQuota| quota.spec.clone();
            let is_news =
                change.old.as_ref().map(|old| said(old)) != change.new.as_ref().map(|new| said(new));
            let quota = change.new.as_ref().filter(|quota| is_news || !is_counted(quota));
            quota.map(|quota| quota.key()).into_iter().collect()
        });
        // A pod that is going may cease to count before it is gone: this is when to look for the time.
        let watches = watches.maps::<Pod>(|informers, change| {
            let was_going = change.old.as_ref().is_some_and(|old| old.is_terminating());
            let going = change.new.as_ref().filter(|pod| pod.is_terminating() && !was_going);
            let Some(pod) = going else { return Vec::new() };
            let quotas = informers.cache::<ResourceQuota>().list();
            let beside = quotas.iter().filter(|quota| quota.namespace() == pod.namespace());
            beside.map(|quota| quota.key()).collect()
        });
        // A kind that comes may be one that is to be counted.
        watches.maps::<CustomResourceDefinition>(|informers, change| {
            let Some(definition) = change.latest() else { return Vec::new() };
            let name = format!("count/{}.{}", definition.spec.names.plural, definition.spec.group);
            let quotas = informers.cache::<ResourceQuota>().list();
            let meant = quotas.iter().filter(|quota| {
                let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
                hard.is_some_and(|hard| hard.contains_key(&name))
            });
            meant.map(|quota| quota.key()).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let options = ListOptions { namespace: key.namespace.clone(), ..ListOptions::default() };
        let page = cx.client.list_of::<Value>(&ApiResource::of::<ResourceQuota>(), &options).await?;
        let found = page.items.into_iter().find(|quota| kinds::meta::name(quota) == key.name);
        let Some(quota) = found else { return Ok(Next::Done) };
        let count = Count { cx, quota: &quota, at: page.revision, now: cx.clock.now() };
        let (used, next) = count.all().await?;
        let (hard, known) = (tree::get(&quota, "spec.hard"), tree::get(&quota, "status.hard"));
        if tree::same(hard, known) && quota::amounts(&quota, "status.used") == used {
            return Ok(next);
        }
        let Some(mut counted) = typed(&quota) else { return Ok(Next::Done) };
        let status = json!({"hard": hard, "used": quota::to_value(&used)});
        counted.status = serde_json::from_value::<ResourceQuotaStatus>(status).ok();
        let written = cx.client.replace_status(&counted).await?;
        cx.wrote(&written);
        debug!(quota = %key, revision = %page.revision, "counted what a quota limits");
        Ok(next)
    }
}

fn typed(quota: &Value) -> Option<ResourceQuota> {
    serde_json::from_value(quota.clone()).ok()
}

/// Whether the status speaks of what the spec does.
fn is_counted(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let known = quota.status.as_ref().and_then(|status| status.hard.as_ref());
    known == hard
}

/// One count: which quota, and of which moment.
struct Count<'a> {
    cx: &'a Context,
    quota: &'a Value,
    at: Revision,
    now: Timestamp,
}

impl Count<'_> {
    /// What is used, of what there is a kind for, and when to count again.
    async fn all(&self) -> Result<(Amounts, Next), ClientError> {
        let hard = quota::amounts(self.quota, "spec.hard");
        let (mut used, mut next) = (Amounts::new(), Next::After(RECOUNT_AFTER));
        for (group, plural) in quota::resources(hard.keys().map(String::as_str)) {
            let Some(resource) = self.resource(&group, &plural) else { continue };
            let (sum, sooner) = match quota::is_told_apart(&group, &plural) {
                true => self.each(&resource).await?,
                false => (self.many(&resource).await?, Next::Done),
            };
            next = next.sooner(sooner);
            let of_resource = |name: &&String| {
                let resources = quota::resources(std::iter::once(name.as_str()));
                resources.contains(&(group.clone(), plural.clone()))
            };
            for name in hard.keys().filter(of_resource) {
                used.insert(name.clone(), sum.get(name).copied().unwrap_or(kinds::quantity::Quantity::ZERO));
            }
        }
        Ok((used, next))
    }

    fn resource(&self, group: &str, plural: &str) -> Option<ApiResource> {
        let is_it = |resource: &ApiResource| {
            resource.namespaced && resource.group == group && resource.plural == plural
        };
        crate::resources().into_iter().find(is_it).or_else(|| {
            let key = ObjectKey::cluster(format!("{plural}.{group}"));
            let definition = self.cx.cache::<CustomResourceDefinition>().get(&key)?;
            resource_of(&definition).filter(is_it)
        })
    }

    /// Objects that count for different things.
    async fn each(&self, resource: &ApiResource) -> Result<(Amounts, Next), ClientError> {
        let kind =
            kinds::ALL.iter().find(|kind| kind.group == resource.group && kind.plural == resource.plural);
        let Some(kind) = kind else { return Ok((Amounts::new(), Next::Done)) };
        let (mut sum, mut next) = (Amounts::new(), Next::Done);
        let mut options = self.options(false);
        loop {
            let page = self.cx.client.list_of::<Value>(resource, &options).await?;
            for object in &page.items {
                let measure = Measure::of(kind, object, self.now);
                if measure.is_in_scope(self.quota) {
                    quota::add(&mut sum, &measure.usage);
                    next = next.sooner(self.until(object));
                }
            }
            if page.continuation.is_empty() {
                return Ok((sum, next));
            }
            options.continuation = page.continuation;
        }
    }

    /// A pod that is going ceases to count, whether anybody tells or not.
    fn until(&self, object: &Value) -> Next {
        let Some(at) = quota::ceases(object, self.now) else { return Next::Done };
        let wait = Duration::try_from(at.duration_since(self.now)).unwrap_or_default();
        Next::After(wait + Duration::from_secs(1))
    }

    /// Objects that all count for the same.
    async fn many(&self, resource: &ApiResource) -> Result<Amounts, ClientError> {
        let mut sum = Amounts::new();
        let each = Measure::plain(&resource.group, &resource.plural);
        if !each.is_in_scope(self.quota) {
            return Ok(sum);
        }
        let mut options = self.options(true);
        loop {
            let page = self.cx.client.list_of::<Partial>(resource, &options).await?;
            page.items.iter().for_each(|_| quota::add(&mut sum, &each.usage));
            if page.continuation.is_empty() {
                return Ok(sum);
            }
            options.continuation = page.continuation;
        }
    }

    fn options(&self, partial: bool) -> ListOptions {
        ListOptions {
            namespace: kinds::meta::namespace(self.quota).to_owned(),
            limit: PAGE_LIMIT,
            partial,
            at: Some(self.at),
            ..ListOptions::default()
        }
    }
}
