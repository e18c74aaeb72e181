//! What claims of volumes count for, together and by storage class.

use serde_json::Value;

use super::Amounts;
use crate::quantity::Quantity;
use crate::{meta, tree};

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Where a claim's class was named before there was a field for it; it still counts first.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn is_name(name: &str) -> bool {
    let plain = name.split_once(BY_CLASS).map_or(name, |(_, plain)| plain);
    matches!(plain, CLAIMS | STORAGE)
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut usage = Amounts::from([(CLAIMS.to_owned(), Quantity::whole(1))]);
    usage.extend(storage(claim).map(|amount| (STORAGE.to_owned(), amount)));
    let class = meta::annotation(claim, CLASS_ANNOTATION)
        .unwrap_or_else(|| tree::text(claim, "spec.storageClassName"));
    if !class.is_empty() {
        let of_class = usage.iter().map(|(name, amount)| (format!("{class}{BY_CLASS}{name}"), *amount));
        let of_class: Amounts = of_class.collect();
        usage.extend(of_class);
    }
    usage
}

/// What is asked for, or what is being given if that is more; whole bytes.
fn storage(claim: &Value) -> Option<Quantity> {
    let asked = Quantity::of(tree::get(claim, "spec.resources.requests.storage"))?;
    let given = Quantity::of(tree::get(claim, "status.allocatedResources.storage"));
    let amount = given.filter(|given| *given > asked).unwrap_or(asked);
    Some(if amount.is_whole() { amount } else { Quantity::whole(amount.to_whole()) })
}
