//! Cluster addresses of services. The key of one is its IPAddress of networking.k8s.io, as Kubernetes has them.

use std::collections::HashSet;
use std::net::IpAddr;

use base::Revision;
use kinds::cidr::Cidr;
use kinds::core::service::{Held, IPV4, family_of, is_headless};
use kinds::networking::ip_address::IP_ADDRESS;
use kinds::networking::service_cidr::SERVICE_CIDR;
use kinds::{FieldError, FieldErrors, meta, tree};
use serde_json::{Value, json};

use super::network::bands;
use super::{Desk, reference};
use crate::object::encode;
use crate::server::Call;
use crate::status::Status;
use crate::storage::{Change, Freshness, Guard, Scope};
use crate::verbs::create::seconds;

/// How often chance is asked for a free address before all that are taken are read.
const THROWS_MAX: usize = 16;
const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGER_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
const RESERVED: &str = "provided IP is already allocated";
const OUTSIDE: &str = "the provided network does not match the current range";

pub(super) fn key(address: IpAddr) -> String {
    Scope { kind: &IP_ADDRESS, namespace: None }.key(&address.to_string())
}

/// Refuses to delete the IPAddress of a service that has it: the address would be given twice.
pub(crate) async fn check_delete(call: &Call<'_>, old: &Value) -> Result<(), Status> {
    let parent = tree::get(old, "spec.parentRef");
    let of = |field| tree::text(parent, field);
    if call.kind.stored().definition != IP_ADDRESS.definition
        || (of("group"), of("resource")) != ("", "services")
    {
        return Ok(());
    }
    let kind = &kinds::core::service::SERVICE;
    let scope = Scope { kind, namespace: Some(of("namespace").to_owned()) };
    let Some(found) = call.storage.get(&scope.key(of("name")), Freshness::Newest).await? else {
        return Ok(());
    };
    let is_held = meta::name(old).parse().is_ok_and(|address| {
        found.parse().is_ok_and(|service| Held::of(&service).addresses.contains(&address))
    });
    if !is_held {
        return Ok(());
    }
    let why = format!("the service {}/{} has this address", of("namespace"), of("name"));
    Err(Status::forbidden_object(call.kind, meta::name(old), &why))
}

impl Desk<'_> {
    pub(super) async fn settle_addresses(&mut self, before: &Held, new: &mut Value) -> Result<(), Status> {
        if tree::text(new, "spec.type") == "ExternalName" || is_headless(new) {
            return Ok(());
        }
        let ranges = self.ranges().await?;
        let families = tree::items(new, "spec.ipFamilies").to_vec();
        let mut addresses = tree::items(new, "spec.clusterIPs").to_vec();
        addresses.resize(families.len().max(addresses.len()), Value::Null);
        for (index, slot) in addresses.iter_mut().enumerate() {
            let given = slot.as_str().and_then(|text| text.parse().ok());
            let address = match given {
                Some(address) if before.addresses.contains(&address) => continue,
                Some(address) => {
                    if let Err(why) = self.check_given(address, &ranges, new).await? {
                        let mut errors = FieldErrors::new();
                        let why = format!("failed to allocate IP {address}: {why}");
                        let given = tree::get(new, "spec.clusterIPs").clone();
                        errors.push(FieldError::invalid("spec.clusterIPs", given, why));
                        return self.refuse(errors, new);
                    }
                    address
                }
                None => self.pick(families[index].as_str().unwrap_or_default(), &ranges).await?,
            };
            *slot = address.to_string().into();
            self.take_address(address, new);
        }
        if let Some(first) = addresses.first() {
            tree::set(new, "spec.clusterIP", first.clone());
        }
        tree::set(new, "spec.clusterIPs", addresses);
        Ok(())
    }

    /// The ranges that the server is told, and those that objects say.
    async fn ranges(&self) -> Result<Vec<Cidr>, Status> {
        let mut ranges = self.call.server.service_network.ranges.clone();
        let prefix = Scope { kind: &SERVICE_CIDR, namespace: None }.prefix();
        let page = self.call.storage.page(&prefix, "", 0, self.freshness).await?;
        for (_, stored) in &page.items {
            let range = stored.parse()?;
            let is_unready = tree::items(&range, "status.conditions").iter().any(|condition| {
                tree::text(condition, "type") == "Ready" && tree::text(condition, "status") == "False"
            });
            if meta::deletion_timestamp(&range).is_none() && !is_unready {
                let parsed = tree::items(&range, "spec.cidrs").iter().filter_map(Value::as_str);
                ranges.extend(parsed.filter_map(Cidr::parse));
            }
        }
        ranges.dedup();
        Ok(ranges)
    }

    async fn check_given(
        &self,
        address: IpAddr,
        ranges: &[Cidr],
        owner: &Value,
    ) -> Result<Result<(), String>, Status> {
        if !ranges.iter().any(|range| range.holds(address)) {
            return Ok(Err(OUTSIDE.to_owned()));
        }
        let number = kinds::cidr::number(address);
        let is_host = |range: &Cidr| range.hosts().is_some_and(|hosts| hosts.contains(&number));
        if !ranges.iter().any(|range| range.holds(address) && is_host(range)) {
            return Ok(Err(format!("provided IP {address} is not in the valid range")));
        }
        Ok(match self.is_available(&key(address), owner).await? {
            true => Ok(()),
            false => Err(RESERVED.to_owned()),
        })
    }

    /// A free address of the family: from the upper part of a range while there is one, as the lower is for those who
    /// name theirs (KEP-3070).
    async fn pick(&self, family: &str, ranges: &[Cidr]) -> Result<IpAddr, Status> {
        let prefix = Scope { kind: &IP_ADDRESS, namespace: None }.prefix();
        let mut taken = None;
        for range in ranges.iter().filter(|range| range.is_v4() == (family == IPV4)) {
            for band in bands(*range) {
                let (first, size) = (*band.start(), band.end() - band.start() + 1);
                for _ in 0..THROWS_MAX {
                    let address = range.address(first + self.throw(size));
                    if self.is_free(&key(address)).await? {
                        return Ok(address);
                    }
                }
                let taken = match &mut taken {
                    Some(taken) => taken,
                    none => none.insert(self.taken::<_, HashSet<IpAddr>>(&prefix).await?),
                };
                let start = self.throw(size);
                // One more than are taken is enough to find one that is not.
                let steps = size.min(taken.len() as u128 + 1);
                let mut candidates = (0..steps).map(|step| range.address(first + (start + step) % size));
                if let Some(free) = candidates.find(|address| !taken.contains(address)) {
                    return Ok(free);
                }
            }
        }
        Err(Status::internal("failed to allocate a serviceIP: range is full"))
    }

    fn take_address(&mut self, address: IpAddr, owner: &Value) {
        let object = json!({
            "metadata": {
                "name": address.to_string(),
                "uid": self.call.server.entropy.uid(),
                "creationTimestamp": seconds(self.call.server.clock.now()),
                "labels": {FAMILY_LABEL: family_of(address), MANAGER_LABEL: MANAGER},
            },
            "spec": {"parentRef": reference(owner)},
        });
        let change = Change::Put(encode(&IP_ADDRESS, object));
        self.guards.push(Guard::changing(key(address), Revision::new(0), change));
    }
}
