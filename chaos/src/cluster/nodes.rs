//! What makes a cluster a Kubernetes cluster: where its API is, and nodes that run nothing and say that all is well.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::namespace::NetworkNamespace;
use super::process::Process;
use super::{Cluster, System};
use crate::client::ApiTarget;

pub(super) const API_PORT: u16 = 6443;
pub(super) const GATEWAY_PORT: u16 = 6444;

/// The nodes are named `hollow-1`, `hollow-2` …
const NAME: &str = "hollow";
/// Among the hosts of the network; members have low numbers.
const HOST: u8 = 200;

/// One process that is all of them.
pub(super) struct HollowNodes {
    // In this order: the process lets go of the namespace.
    _process: Process,
    _namespace: NetworkNamespace,
}

impl Cluster {
    /// Where clients find a member's API server; as an administrator.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn api(&self, name: &str) -> Result<ApiTarget> {
        let address = self.member(name)?.address;
        let url = format!("https://{address}:{API_PORT}");
        ApiTarget::new(name, &url, self.certificates.administrator())
    }

    /// Starts the nodes that are asked for; they come up by themselves.
    pub(super) async fn start_nodes(&mut self) -> Result<()> {
        if self.options.hollow_nodes == 0 || self.options.system != System::Navarch {
            return Ok(());
        }
        for number in 1..=self.options.hollow_nodes {
            self.certificates.add_node(&format!("{NAME}-{number}"))?;
        }
        let namespace = self.network.join(NAME, HOST).await?;
        let mut process = Process::new(NAME, self.options.dir.join(format!("{NAME}.log")));
        let command = self.agent();
        process.start(command, &namespace, &self.nursery).await.context("the nodes do not start")?;
        self.nodes = Some(HollowNodes { _process: process, _namespace: namespace });
        Ok(())
    }

    fn agent(&self) -> Command {
        let gateways: Vec<String> =
            self.members.values().map(|member| format!("{}:{GATEWAY_PORT}", member.address)).collect();
        let file = |name: &str| self.certificates.folder().join(name).to_string_lossy().into_owned();
        let mut command = Command::new(&self.options.binary);
        command.arg("agent");
        let mut flag = |name: &str, value: &str| {
            command.arg(format!("--{name}={value}"));
        };
        flag("name", NAME);
        flag("data-dir", &self.options.dir.join(NAME).to_string_lossy());
        flag("servers", &gateways.join(","));
        flag("ca", &file("api-ca.crt"));
        flag("certificate", &file(&format!("{NAME}.crt")));
        flag("key", &file(&format!("{NAME}.key")));
        flag("runtime", "hollow");
        flag("hollow-nodes", &self.options.hollow_nodes.to_string());
        command
    }
}
