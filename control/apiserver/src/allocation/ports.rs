//! Ports of all nodes, of services of the types NodePort and LoadBalancer. The key of one says whose it is.

use std::collections::{BTreeMap, BTreeSet};

use base::Revision;
use kinds::core::service::{Held, needs_health_check_port, needs_node_ports};
use kinds::{FieldError, FieldErrors, tree};
use serde_json::Value;

use super::network::port_bands;
use super::{Desk, reference};
use crate::status::Status;
use crate::storage::{Change, Guard};

const PREFIX: &str = "/navarch/nodeports/";
/// How often chance is asked for a free port before all that are taken are read.
const THROWS_MAX: usize = 8;
const HEALTH_PORT: &str = "spec.healthCheckNodePort";

pub(super) fn key(port: u16) -> String {
    format!("{PREFIX}{port}")
}

impl Desk<'_> {
    pub(super) async fn settle_ports(&mut self, before: &Held, new: &mut Value) -> Result<(), Status> {
        let mut taken: BTreeSet<u16> = BTreeSet::new();
        self.take_given(before, new, &mut taken).await?;
        if needs_node_ports(new) {
            let mut by_port = given_by_port(new);
            for index in 0..tree::items(new, "spec.ports").len() {
                let port = &tree::items(new, "spec.ports")[index];
                if number(tree::get(port, "nodePort")).is_some() {
                    continue;
                }
                // One port that is served by two protocols is one port of the nodes, too.
                let shared = (tree::int(port, "port").unwrap_or_default(), protocol(port));
                let other = by_port.iter().find(|((port, by), _)| *port == shared.0 && *by != shared.1);
                let other = other.map(|(_, node_port)| *node_port);
                let node_port = match other {
                    Some(same) => same,
                    None => self.pick_port(before, &mut taken, new).await?,
                };
                by_port.insert(shared, node_port);
                if let Some(port) = tree::items_mut(new, "spec.ports").nth(index) {
                    tree::set(port, "nodePort", node_port);
                }
            }
        }
        if !needs_health_check_port(new) {
            return Ok(());
        }
        match number(tree::get(new, HEALTH_PORT)) {
            Some(given) if before.ports.contains(&given) => Ok(()),
            Some(given) => {
                let outcome = self.check_port(given, &taken, new).await?;
                outcome.map_err(|why| {
                    let what = "failed to allocate requested HealthCheck NodePort";
                    Status::internal(format!("{what} {given}: {why}"))
                })?;
                self.take_port(given, new);
                Ok(())
            }
            None => {
                let port = self.pick_port(before, &mut taken, new).await?;
                tree::set(new, HEALTH_PORT, port);
                Ok(())
            }
        }
    }

    /// What clients name goes before what chance gives.
    async fn take_given(
        &mut self,
        before: &Held,
        new: &Value,
        taken: &mut BTreeSet<u16>,
    ) -> Result<(), Status> {
        if matches!(tree::text(new, "spec.type"), "ExternalName" | "ClusterIP") {
            return Ok(());
        }
        for (index, port) in tree::items(new, "spec.ports").iter().enumerate() {
            let Some(given) = number(tree::get(port, "nodePort")) else { continue };
            if before.ports.contains(&given) || taken.contains(&given) {
                taken.insert(given);
                continue;
            }
            if let Err(why) = self.check_port(given, taken, new).await? {
                let mut errors = FieldErrors::new();
                errors.push(FieldError::invalid(format!("spec.ports[{index}].nodePort"), given, why));
                return self.refuse(errors, new);
            }
            taken.insert(given);
            self.take_port(given, new);
        }
        Ok(())
    }

    async fn check_port(
        &self,
        port: u16,
        taken: &BTreeSet<u16>,
        owner: &Value,
    ) -> Result<Result<(), String>, Status> {
        let range = &self.call.server.service_network.node_ports;
        if !range.contains(&port) {
            let (first, last) = (range.start(), range.end());
            return Ok(Err(format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            )));
        }
        if taken.contains(&port) || !self.is_available(&key(port), owner).await? {
            return Ok(Err("provided port is already allocated".to_owned()));
        }
        Ok(Ok(()))
    }

    /// A free port, which is then taken.
    async fn pick_port(
        &mut self,
        before: &Held,
        taken: &mut BTreeSet<u16>,
        owner: &Value,
    ) -> Result<u16, Status> {
        let range = self.call.server.service_network.node_ports.clone();
        let mut found = None;
        for band in port_bands(&range) {
            let size = u128::from(band.end() - band.start()) + 1;
            let nth = |step: u128| band.start() + u16::try_from(step % size).unwrap_or_default();
            for _ in 0..THROWS_MAX {
                let port = nth(self.throw(size));
                let is_own = taken.contains(&port) || before.ports.contains(&port);
                if !is_own && self.is_free(&key(port)).await? {
                    found = Some(port);
                    break;
                }
            }
            if found.is_none() {
                let others: BTreeSet<u16> = self.taken(PREFIX).await?;
                let start = self.throw(size);
                found = (0..size)
                    .map(|step| nth(start + step))
                    .find(|port| !others.contains(port) && !taken.contains(port));
            }
            if found.is_some() {
                break;
            }
        }
        let port = found.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        taken.insert(port);
        self.take_port(port, owner);
        Ok(port)
    }

    fn take_port(&mut self, port: u16, owner: &Value) {
        let change = Change::Put(reference(owner).to_string().into());
        self.guards.push(Guard::changing(key(port), Revision::new(0), change));
    }
}

/// Ports of the nodes that are named already, by the service's own port and protocol.
fn given_by_port(service: &Value) -> BTreeMap<(i64, String), u16> {
    let ports = tree::items(service, "spec.ports").iter();
    let named = ports.filter_map(|port| {
        let own = (tree::int(port, "port").unwrap_or_default(), protocol(port));
        Some((own, number(tree::get(port, "nodePort"))?))
    });
    named.collect()
}

fn protocol(port: &Value) -> String {
    tree::text(port, "protocol").to_owned()
}

/// Zero is none.
fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_i64()?).ok().filter(|port| *port > 0)
}
