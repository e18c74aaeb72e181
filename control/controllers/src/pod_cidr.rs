//! Gives each node its part of the cluster's pod addresses, a /24, once and for good.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use client::{EventKind, HasMetadata, Index, ObjectKey};
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use thiserror::Error;
use tracing::info;

use crate::Shared;
use crate::context::Context;
use crate::driver::{Controller, Next, ReconcileError, Watches};

const NODE_PREFIX_BITS: u8 = 24;

/// An IPv4 network out of which nodes get theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterCidr {
    network: u32,
    bits: u8,
}

/// Why a text is no cluster CIDR.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ClusterCidrError {
    #[error("expected <address>/<bits>, like 10.244.0.0/16")]
    Form,
    #[error("the address has bits set beyond its prefix")]
    HostBits,
    #[error("a prefix of 8 to 24 bits is needed: each node gets a /24")]
    Bits,
}

impl FromStr for ClusterCidr {
    type Err = ClusterCidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = text.split_once('/').ok_or(ClusterCidrError::Form)?;
        let address: Ipv4Addr = address.parse().map_err(|_| ClusterCidrError::Form)?;
        let bits: u8 = bits.parse().map_err(|_| ClusterCidrError::Form)?;
        if !(8..=NODE_PREFIX_BITS).contains(&bits) {
            return Err(ClusterCidrError::Bits);
        }
        let network = u32::from(address);
        if network & (u32::MAX >> bits) != 0 {
            return Err(ClusterCidrError::HostBits);
        }
        Ok(Self { network, bits })
    }
}

impl ClusterCidr {
    /// The first node network from the `start`th on, and then from the first on, that is not taken; and its number.
    fn free(self, start: u32, is_taken: impl Fn(&str) -> bool) -> Option<(u32, String)> {
        let count = 1_u32 << (NODE_PREFIX_BITS - self.bits);
        let networks = (0..count).map(|step| {
            let number = (start % count + step) % count;
            let address = Ipv4Addr::from(self.network + (number << (32 - NODE_PREFIX_BITS)));
            (number, format!("{address}/{NODE_PREFIX_BITS}"))
        });
        networks.into_iter().find(|(_, network)| !is_taken(network))
    }
}

/// Nodes by the network that they have.
const BY_CIDR: Index<Node> = Index { name: "pod network", values: |node| cidr(node).into_iter().collect() };

pub(crate) struct PodCidrController {
    cluster: ClusterCidr,
    choices: Mutex<Choices>,
}

#[derive(Default)]
struct Choices {
    /// Where the search for the next network begins: those before it are most likely taken.
    next: u32,
    /// Given, and not yet seen in the node.
    underway: BTreeSet<String>,
}

/// A network that no other node is given meanwhile.
struct Choice<'a> {
    controller: &'a PodCidrController,
    network: String,
    /// It may have been given, or may yet be: nobody else gets it as long as this process lives.
    is_kept: bool,
}

impl Controller for PodCidrController {
    type Kind = Node;
    const NAME: &'static str = "node-ipam-controller";

    fn new(shared: &Shared) -> Self {
        shared.config.informers.cache::<Node>().add_index(BY_CIDR);
        Self { cluster: shared.config.cluster_cidr, choices: Mutex::default() }
    }

    fn watches() -> Watches {
        // A node that goes frees its network for those that got none.
        Watches::of::<Node>().maps::<Node>(|informers, change| {
            if change.new.is_some() {
                return Vec::new();
            }
            let nodes = informers.cache::<Node>().list();
            nodes.iter().filter(|node| cidr(node).is_none()).map(|node| node.key()).collect()
        })
    }

    async fn reconcile(&self, cx: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let nodes = cx.cache::<Node>();
        let Some(node) = nodes.get(key) else { return Ok(Next::Done) };
        if cidr(&node).is_some() {
            return Ok(Next::Done);
        }
        let is_taken = |network: &str| !nodes.by_index(BY_CIDR.name, network).is_empty();
        let Some(mut choice) = self.choose(is_taken) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", node.name());
            cx.recorder.record(&*node, EventKind::Normal, "CIDRNotAvailable", message);
            return Ok(Next::Done);
        };
        let network = &choice.network;
        let patch = json!({
            "metadata": { "resourceVersion": node.metadata.resource_version },
            "spec": { "podCIDR": network, "podCIDRs": [network] },
        });
        let written = match cx.client.merge_patch::<Node>(key, &patch).await {
            Ok(written) => written,
            Err(error) => {
                choice.is_kept = error.is_indefinite();
                return Err(error.into());
            }
        };
        info!(node = node.name(), %network, "gave the node its pod network");
        nodes.wait_until(|nodes| nodes.has_seen(written.revision())).await;
        Ok(Next::Done)
    }
}

impl PodCidrController {
    fn choose(&self, is_taken: impl Fn(&str) -> bool) -> Option<Choice<'_>> {
        let mut choices = self.lock();
        let underway = &choices.underway;
        let (number, network) =
            self.cluster.free(choices.next, |network| underway.contains(network) || is_taken(network))?;
        choices.next = number + 1;
        choices.underway.insert(network.clone());
        Some(Choice { controller: self, network, is_kept: false })
    }

    fn lock(&self) -> MutexGuard<'_, Choices> {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Choice<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.controller.lock().underway.remove(&self.network);
        }
    }
}

fn cidr(node: &Node) -> Option<String> {
    node.spec.as_ref()?.pod_cidr.clone().filter(|cidr| !cidr.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cluster: &str, start: u32, taken: &[&str]) -> Option<String> {
        let cluster: ClusterCidr = cluster.parse().expect("a network");
        cluster.free(start, |network| taken.contains(&network)).map(|(_, network)| network)
    }

    #[test]
    fn nobody_is_given_what_another_may_have_been_given() {
        let cluster = "10.244.0.0/22".parse().expect("a network");
        let controller = PodCidrController { cluster, choices: Mutex::default() };
        let choose = || controller.choose(|network| network == "10.244.1.0/24");
        let (first, mut second) = (choose().expect("free"), choose().expect("free"));
        assert_eq!((&*first.network, &*second.network), ("10.244.0.0/24", "10.244.2.0/24"));
        let third = choose().expect("free");
        assert!(choose().is_none());
        second.is_kept = true;
        drop((first, second));
        assert_eq!(choose().expect("given back").network, "10.244.0.0/24");
        drop(third);
        assert_eq!(controller.lock().underway.len(), 1);
    }

    #[test]
    fn the_first_free_network_is_given() {
        assert_eq!(check("10.244.0.0/16", 0, &[]).as_deref(), Some("10.244.0.0/24"));
        let taken = ["10.244.0.0/24", "10.244.2.0/24"];
        assert_eq!(check("10.244.0.0/16", 0, &taken).as_deref(), Some("10.244.1.0/24"));
        assert_eq!(check("10.1.2.0/24", 0, &["10.1.2.0/24"]), None);
    }

    #[test]
    fn the_search_goes_on_where_it_ended_and_comes_round() {
        let taken = ["10.244.2.0/24", "10.244.255.0/24"];
        assert_eq!(check("10.244.0.0/16", 2, &taken).as_deref(), Some("10.244.3.0/24"));
        assert_eq!(check("10.244.0.0/16", 255, &taken).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(check("10.244.0.0/16", 256, &taken).as_deref(), Some("10.244.0.0/24"));
    }

    #[test]
    fn only_networks_that_hold_a_node_are_taken() {
        let parse = |text: &str| text.parse::<ClusterCidr>();
        assert_eq!(parse("10.244.0.1/16"), Err(ClusterCidrError::HostBits));
        assert_eq!(parse("10.244.0.0/25"), Err(ClusterCidrError::Bits));
        assert_eq!(parse("10.244.0.0"), Err(ClusterCidrError::Form));
    }
}
