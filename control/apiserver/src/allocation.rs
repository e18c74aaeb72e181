//! Gives objects what no two may have, in the transaction that writes them (`design/0006-addresses-in-the-write.md`).
//!
//! Of every address and every port there is one key. The write that takes it puts that key if it is absent, the write that
//! has no more use for it takes the key away. So nothing is given twice, and nothing is lost, whoever dies when.

use std::str::FromStr;

use base::Revision;
use kinds::core::service::{self, Held};
use kinds::{Allocation, FieldErrors, meta, tree};
use serde_json::{Value, json};

use crate::server::Call;
use crate::status::Status;
use crate::storage::{Change, Freshness, Guard};

mod addresses;
mod network;
mod ports;

pub(crate) use addresses::check_delete;
pub use network::{ServiceNetwork, ServiceNetworkError};

/// Fills in what `new` is to be given, and adds to `guards` what it takes and what it gives back.
pub(crate) async fn allocate(
    call: &Call<'_>,
    (old, new): (Option<&Value>, &mut Value),
    freshness: Freshness,
    guards: &mut Vec<Guard>,
) -> Result<(), Status> {
    let Some(Allocation::ServiceAddresses) = call.kind.strategy.allocation else { return Ok(()) };
    let mut tried = new.clone();
    let mut desk = Desk { call, freshness, guards: Vec::new() };
    let mut done = desk.serve(old, &mut tried).await;
    if done.is_err() && !matches!(freshness, Freshness::Newest) {
        // Nothing is refused for what an old copy says.
        tried.clone_from(new);
        desk = Desk { call, freshness: Freshness::Newest, guards: Vec::new() };
        done = desk.serve(old, &mut tried).await;
    }
    done?;
    *new = tried;
    guards.append(&mut desk.guards);
    Ok(())
}

/// Adds to `guards` that all goes back that an object holds which is about to go.
pub(crate) async fn release(
    call: &Call<'_>,
    old: &Value,
    freshness: Freshness,
    guards: &mut Vec<Guard>,
) -> Result<(), Status> {
    let Some(Allocation::ServiceAddresses) = call.kind.strategy.allocation else { return Ok(()) };
    let mut desk = Desk { call, freshness, guards: Vec::new() };
    desk.give_back(old, &Held::of(old), &Held::default()).await?;
    guards.append(&mut desk.guards);
    Ok(())
}

/// Where addresses and ports are had, for one write.
struct Desk<'a> {
    call: &'a Call<'a>,
    freshness: Freshness,
    guards: Vec<Guard>,
}

impl Desk<'_> {
    async fn serve(&mut self, old: Option<&Value>, new: &mut Value) -> Result<(), Status> {
        let network = &self.call.server.service_network;
        self.refuse(service::settle_families(new, old, &network.families()), new)?;
        let before = old.map(Held::of).unwrap_or_default();
        self.settle_addresses(&before, new).await?;
        self.settle_ports(&before, new).await?;
        if let Some(old) = old {
            self.give_back(old, &before, &Held::of(new)).await?;
        }
        Ok(())
    }

    async fn give_back(&mut self, owner: &Value, before: &Held, after: &Held) -> Result<(), Status> {
        let addresses = before.addresses.difference(&after.addresses).map(|address| addresses::key(*address));
        let ports = before.ports.difference(&after.ports).map(|port| ports::key(*port));
        for key in addresses.chain(ports) {
            if let Some((at, value)) = self.find(&key).await?
                && is_of(&value, owner)
            {
                self.guards.push(Guard::changing(key, at, Change::Delete));
            }
        }
        Ok(())
    }

    async fn find(&self, key: &str) -> Result<Option<(Revision, Value)>, Status> {
        let Some(found) = self.call.storage.get(key, self.freshness).await? else { return Ok(None) };
        Ok(Some((found.written_at(), found.parse()?)))
    }

    /// Whether what a client names can be had. Who has it already exists.
    async fn is_available(&self, key: &str, owner: &Value) -> Result<bool, Status> {
        match self.find(key).await? {
            Some((_, value)) if is_of(&value, owner) => {
                Err(Status::already_exists(self.call.kind, meta::name(owner)))
            }
            found => Ok(found.is_none()),
        }
    }

    async fn is_free(&self, key: &str) -> Result<bool, Status> {
        Ok(self.call.storage.get(key, self.freshness).await?.is_none())
    }

    /// All that is taken of what has its keys below a prefix.
    async fn taken<T: FromStr, All: FromIterator<T>>(&self, prefix: &str) -> Result<All, Status> {
        let page = self.call.storage.page(prefix, "", 0, self.freshness).await?;
        let names = page.items.iter().filter_map(|(key, _)| key.strip_prefix(prefix.as_bytes()));
        Ok(names.filter_map(|name| std::str::from_utf8(name).ok()?.parse().ok()).collect())
    }

    /// A number below `end`, by chance.
    fn throw(&self, end: u128) -> u128 {
        let high = u128::from(self.call.server.entropy.u64()) << 64;
        (high | u128::from(self.call.server.entropy.u64())).checked_rem(end).unwrap_or_default()
    }

    fn refuse(&self, errors: FieldErrors, object: &Value) -> Result<(), Status> {
        let name = meta::name(object);
        errors.into_result().map_err(|errors| Status::invalid(self.call.kind, name, &errors))
    }
}

/// Whether a key, an IPAddress or another, says that it is the owner's.
fn is_of(value: &Value, owner: &Value) -> bool {
    let parent = if value.get("spec").is_some() { tree::get(value, "spec.parentRef") } else { value };
    tree::same(parent, &reference(owner))
}

/// Whom a key belongs to.
fn reference(owner: &Value) -> Value {
    json!({
        "resource": "services",
        "namespace": meta::namespace(owner),
        "name": meta::name(owner),
    })
}
