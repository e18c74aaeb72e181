//! ResourceQuota: nothing is created, and nothing grows, beyond what the quotas of its namespace allow.
//!
//! What an object counts for is charged in the transaction that writes it, and given back in the one that takes it away
//! (`design/0007-quotas-in-the-write.md`). So `status.used` is true at every revision, once a controller has counted what
//! was there before the quota, and no two writers can exceed a quota together.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kinds::core::resource_quota::RESOURCE_QUOTA;
use kinds::quantity::Quantity;
use kinds::quota::{self, Amounts, Measure};
use kinds::{Kind, meta, tree};
use serde_json::Value;

use super::{Admit, Attempt, Plugin};
use crate::object::{Stored, encode};
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Change, Freshness, Guard, Page, Scope};
use crate::verbs::write::{apply_defaults, goes};

pub(super) const PLUGIN: Plugin = Plugin { name: "ResourceQuota", admit: Admit::Reading(admit) };

/// How long a write waits for a new quota's first count.
const COUNT_WAIT_MAX: Duration = Duration::from_secs(3);

fn admit<'a>(attempt: &'a mut Attempt<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let call = attempt.call;
        if !may_matter(call.kind, attempt.old.is_some())
            || attempt.old.is_some_and(|old| goes(call.kind, old, attempt.object))
        {
            return Ok(());
        }
        // What will be written is counted, so with all defaults.
        let mut object = attempt.object.clone();
        apply_defaults(call.server, call.kind, &mut object)?;
        let moved = Moved {
            namespace: attempt.namespace,
            name: attempt.name,
            before: attempt.old,
            after: Some(&object),
            is_limited: true,
        };
        moved.charge(call, attempt.freshness, attempt.guards).await
    }
    .boxed()
}

/// A change of an object, as far as quotas care.
pub(crate) struct Moved<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) before: Option<&'a Value>,
    pub(crate) after: Option<&'a Value>,
    /// Whether it is refused beyond what is allowed. Otherwise it is only counted.
    pub(crate) is_limited: bool,
}

impl Moved<'_> {
    /// Adds to `guards` what the change does to quotas, and that there are no others; or refuses it.
    pub(crate) async fn charge(
        &self,
        call: &Call<'_>,
        freshness: Freshness,
        guards: &mut Vec<Guard>,
    ) -> Result<(), Status> {
        if !may_matter(call.kind, self.before.is_some() && self.after.is_some()) {
            return Ok(());
        }
        let now = call.server.clock.now();
        let measure = |object: Option<&Value>| object.map(|object| Measure::of(call.kind, object, now));
        let scales = Scales { before: measure(self.before), after: measure(self.after), moved: self };
        if scales.before == scales.after {
            return Ok(());
        }
        let (storage, scope) = (call.storage, quotas(self.namespace));
        let prefix = scope.prefix();
        let mut page = storage.page(&prefix, "", 0, freshness).await?;
        if !page.items.is_empty() && !storage.is_draft() {
            // One after the other at this server: they would only overtake each other.
            guards.push(Guard::Turn(call.server.turns.take(&prefix).await?));
            page = storage.page(&prefix, "", 0, freshness).await?;
        }
        let own_key = call.scope().key(self.name);
        let mut verdict = scales.weigh(&page, &own_key)?;
        if !matches!((&verdict, freshness), (Verdict::Fine(_), _) | (_, Freshness::Newest)) {
            page = storage.page(&prefix, "", 0, Freshness::Newest).await?;
            verdict = scales.weigh(&page, &own_key)?;
        }
        if let Verdict::Uncounted(_) = verdict {
            // Nobody need wait for those who wait.
            guards.retain(|guard| !matches!(guard, Guard::Turn(_)));
            (page, verdict) = scales.await_count(call, &prefix, &own_key).await?;
        }
        let refused = |why: String| Err(Status::forbidden_object(call.kind, self.name, &why));
        match verdict {
            Verdict::Fine(changes) => {
                guards.push(Guard::Quiet { prefix, since: page.revision });
                guards.extend(changes);
                Ok(())
            }
            Verdict::Exceeded(why) | Verdict::Uncounted(why) => refused(why),
        }
    }
}

/// Whether a write of the kind may count. What counts for itself alone counts as much after an update as before.
fn may_matter(kind: &Kind, is_update: bool) -> bool {
    quota::counts(kind) && (!is_update || quota::is_told_apart(kind.group, kind.plural))
}

fn quotas(namespace: &str) -> Scope {
    Scope { kind: &RESOURCE_QUOTA, namespace: Some(namespace.to_owned()) }
}

enum Verdict {
    /// What becomes of the quotas.
    Fine(Vec<Guard>),
    Exceeded(String),
    /// A quota is so new that nobody has counted what was there before it.
    Uncounted(String),
}

/// What an object counted for, and what it is going to.
struct Scales<'a> {
    before: Option<Measure>,
    after: Option<Measure>,
    moved: &'a Moved<'a>,
}

impl Scales<'_> {
    fn weigh(&self, page: &Page, own_key: &str) -> Result<Verdict, Status> {
        let mut changes = Vec::new();
        for (key, stored) in page.items.iter().filter(|(key, _)| key != own_key.as_bytes()) {
            let quota = stored.parse()?;
            let key = String::from_utf8_lossy(key).into_owned();
            match self.weigh_one(&quota, stored) {
                Ok(Some(change)) => changes.push(Guard::changing(key, stored.written_at(), change)),
                Ok(None) => {}
                Err(verdict) => return Ok(verdict),
            }
        }
        Ok(Verdict::Fine(changes))
    }

    /// What becomes of one quota, if anything.
    fn weigh_one(&self, quota: &Value, stored: &Stored) -> Result<Option<Change>, Verdict> {
        let counted = |measure: &Option<Measure>| {
            let in_scope = measure.as_ref().filter(|measure| measure.is_in_scope(quota));
            in_scope.map(|measure| measure.usage.clone()).unwrap_or_default()
        };
        let (before, after) = (counted(&self.before), counted(&self.after));
        let (hard, used) = (quota::amounts(quota, "spec.hard"), quota::amounts(quota, "status.used"));
        let name = meta::name(quota);
        if self.before.is_none()
            && let Some(pod) = self.moved.after.filter(|_| after.contains_key("pods"))
            && let Some(missing) = quota::missing(pod, hard.keys().map(String::as_str))
        {
            return Err(Verdict::Exceeded(format!("failed quota: {name}: must specify {missing}")));
        }
        let names = before.keys().chain(after.keys());
        let mut unknown: Vec<&str> = names
            .filter(|name| hard.contains_key(*name) && !used.contains_key(*name))
            .map(String::as_str)
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() && self.moved.is_limited {
            let resources = unknown.join(",");
            return Err(Verdict::Uncounted(format!(
                "status unknown for quota: {name}, resources: {resources}"
            )));
        }
        let growth = growth(&before, &after);
        if self.moved.is_limited {
            check(name, &growth, &used, &hard).map_err(Verdict::Exceeded)?;
        }
        Ok(match charged(&used, &growth) {
            Some(used) => {
                let mut quota = quota.clone();
                tree::set(&mut quota, "status.used", quota::to_value(&used));
                Some(Change::Put(encode(&RESOURCE_QUOTA, quota)))
            }
            // Whoever is counting now must not miss this.
            None if !unknown.is_empty() => Some(Change::Put(stored.json.clone())),
            None => None,
        })
    }

    /// Until what is unknown is counted, or for as long as anybody waits for it.
    async fn await_count(
        &self,
        call: &Call<'_>,
        prefix: &str,
        own_key: &str,
    ) -> Result<(Page, Verdict), Status> {
        let mut news = call.storage.watch(prefix, None)?;
        let deadline = tokio::time::Instant::now() + COUNT_WAIT_MAX;
        loop {
            let page = call.storage.page(prefix, "", 0, Freshness::Newest).await?;
            let verdict = self.weigh(&page, own_key)?;
            if !matches!(verdict, Verdict::Uncounted(_)) {
                return Ok((page, verdict));
            }
            if tokio::time::timeout_at(deadline, news.next()).await.is_err() {
                return Ok((page, verdict));
            }
        }
    }
}

/// What more is used, or less; nothing of what stays as it is.
fn growth(before: &Amounts, after: &Amounts) -> Amounts {
    let amount = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
    let names = before.keys().chain(after.keys());
    let grown = names.map(|name| (name.clone(), amount(after, name) - amount(before, name)));
    grown.filter(|(_, amount)| !amount.is_zero()).collect()
}

/// What is used then, if that is a change. Nothing falls below zero.
fn charged(used: &Amounts, growth: &Amounts) -> Option<Amounts> {
    let mut charged = used.clone();
    for (name, amount) in growth {
        if let Some(known) = charged.get_mut(name) {
            let sum = *known + *amount;
            *known = if sum.is_negative() { Quantity::ZERO } else { sum };
        }
    }
    (charged != *used).then_some(charged)
}

fn check(name: &str, growth: &Amounts, used: &Amounts, hard: &Amounts) -> Result<(), String> {
    let used = |name: &str| used.get(name).copied().unwrap_or(Quantity::ZERO);
    let exceeds = |(name, more): &(&String, &Quantity)| {
        hard.get(*name).is_some_and(|most| !more.is_negative() && used(name) + **more > *most)
    };
    let exceeded: Vec<(&String, &Quantity)> = growth.iter().filter(exceeds).collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    let told = |of: &dyn Fn(&str, Quantity) -> Quantity| {
        let parts = exceeded.iter().map(|(name, more)| format!("{name}={}", of(name, **more)));
        parts.collect::<Vec<_>>().join(",")
    };
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        told(&|_, more| more),
        told(&|name, _| used(name)),
        told(&|name, _| hard.get(name).copied().unwrap_or(Quantity::ZERO)),
    ))
}
