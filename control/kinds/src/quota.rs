//! What objects count for in ResourceQuotas. Pure: admission charges by it, and the controller adds up by it, so that both
//! come to the same.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use serde_json::{Map, Value};

use crate::quantity::Quantity;
use crate::{Kind, tree};

mod claims;
mod pods;
mod scopes;
mod services;

pub use pods::missing;
use scopes::Traits;

/// Amounts by the names that quotas have for them.
pub type Amounts = BTreeMap<String, Quantity>;

/// What one object counts for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measure {
    pub usage: Amounts,
    traits: Traits,
}

impl Measure {
    /// Of an object of `kind`, at a moment: pods that should be gone by now do not count.
    pub fn of(kind: &Kind, object: &Value, now: Timestamp) -> Self {
        let mut measure = Self::plain(kind.group, kind.plural);
        match (kind.group, kind.plural) {
            ("", "pods") => {
                measure.usage.extend(pods::usage(object, now));
                measure.traits = scopes::of_pod(object);
            }
            ("", "services") => measure.usage.extend(services::usage(object)),
            ("", "persistentvolumeclaims") => {
                measure.usage.extend(claims::usage(object));
                measure.traits = scopes::of_claim(object);
            }
            _ => {}
        }
        measure
    }

    /// Of an object of any other kind than those that are [told apart](is_told_apart).
    pub fn plain(group: &str, plural: &str) -> Self {
        let mut usage = Amounts::from([(count_name(group, plural), Quantity::whole(1))]);
        if group.is_empty() && ALIASES.contains(&plural) {
            usage.insert(plural.to_owned(), Quantity::whole(1));
        }
        Self { usage, traits: Traits::None }
    }

    /// Whether all that the quota's scopes say is true of the object.
    pub fn is_in_scope(&self, quota: &Value) -> bool {
        scopes::all_hold(quota, &self.traits)
    }
}

/// Kinds that were counted before all were.
const ALIASES: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// Whether objects of a kind count for different things.
pub fn is_told_apart(group: &str, plural: &str) -> bool {
    group.is_empty() && matches!(plural, "persistentvolumeclaims" | "pods" | "services")
}

/// When a pod that is going ceases to count, if it does not go before.
pub fn ceases(pod: &Value, now: Timestamp) -> Option<Timestamp> {
    pods::ceases(pod).filter(|at| *at >= now)
}

/// Whether objects of the kind may count for something: all do that are kept in a namespace, but for what is told about
/// others.
pub fn counts(kind: &Kind) -> bool {
    kind.namespaced && kind.strategy.review.is_none() && kind.plural != "events"
}

/// `count/deployments.apps`, `count/pods`.
fn count_name(group: &str, plural: &str) -> String {
    match group {
        "" => format!("count/{plural}"),
        group => format!("count/{plural}.{group}"),
    }
}

/// Group and plural of the kinds whose objects count for one of the names.
pub fn resources<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<(String, String)> {
    let of = |name: &str| {
        let (plural, group) = if let Some(counted) = name.strip_prefix("count/") {
            counted.split_once('.').unwrap_or((counted, ""))
        } else if ALIASES.contains(&name) {
            (name, "")
        } else if services::NAMES.contains(&name) {
            ("services", "")
        } else if claims::is_name(name) {
            ("persistentvolumeclaims", "")
        } else if pods::is_name(name) {
            ("pods", "")
        } else {
            return None;
        };
        Some((group.to_owned(), plural.to_owned()))
    };
    names.filter_map(of).collect()
}

/// What the map at `path` of a quota says.
pub fn amounts(quota: &Value, path: &str) -> Amounts {
    amounts_of(tree::map(quota, path))
}

fn amounts_of(map: Option<&Map<String, Value>>) -> Amounts {
    let entries = map.into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::of(amount)?))).collect()
}

/// Adds `more` to `sum`, name by name.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let before = sum.get(name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name.clone(), before + *amount);
    }
}

/// The amounts as a quota's status has them.
pub fn to_value(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string()))).collect()
}

#[cfg(test)]
mod tests;
