//! The command lines of the servers.

use std::process::Command;

use anyhow::Result;

use super::nodes::{API_PORT, GATEWAY_PORT};
use super::{CLIENT_PORT, Cluster, Member, PEER_PORT, Seat, System};

/// Members of another cluster are refused.
pub(super) const CLUSTER_NAME: &str = "chaos";

impl Cluster {
    /// What starts the member, the first time as every other.
    pub(super) fn command(&self, name: &str) -> Result<Command> {
        let member = self.member(name)?;
        let mut command = Command::new(&self.options.binary);
        match self.options.system {
            System::Navarch => self.navarch(name, member, &mut command),
            System::Etcd => self.etcd(name, member, &mut command),
        }
        command.args(&self.options.flags);
        Ok(command)
    }

    fn navarch(&self, name: &str, member: &Member, command: &mut Command) {
        let address = member.address;
        let founders = self.founders.iter().filter_map(|name| Some((name, self.members.get(name)?.address)));
        let founders: Vec<String> =
            founders.map(|(name, address)| format!("{name}={address}:{PEER_PORT}/{CLIENT_PORT}")).collect();
        command.arg("server");
        let mut flag = |name: &str, value: &str| {
            command.arg(format!("--{name}={value}"));
        };
        flag("name", name);
        flag("data-dir", &member.data_dir().to_string_lossy());
        flag("pki-dir", &self.certificates.folder().to_string_lossy());
        flag("cluster-name", CLUSTER_NAME);
        flag("api-listen", &format!("{address}:{API_PORT}"));
        flag("gateway-listen", &format!("{address}:{GATEWAY_PORT}"));
        flag("client-listen", &format!("{address}:{CLIENT_PORT}"));
        flag("peer-listen", &format!("{address}:{PEER_PORT}"));
        match &member.seat {
            Seat::Founder => flag("initial-cluster", &founders.join(",")),
            Seat::Late { .. } => {
                let others = self.members.iter().filter(|(other, _)| *other != name);
                let peers: Vec<String> =
                    others.map(|(_, other)| format!("{}:{PEER_PORT}", other.address)).collect();
                flag("join", &peers.join(","));
            }
        }
    }

    fn etcd(&self, name: &str, member: &Member, command: &mut Command) {
        let peer_url = |member: &Member| format!("https://{}:{PEER_PORT}", member.address);
        let founders = self.founders.iter().filter_map(|name| Some((name, self.members.get(name)?)));
        let founders: Vec<String> =
            founders.map(|(name, member)| format!("{name}={}", peer_url(member))).collect();
        let client_url = format!("https://{}:{CLIENT_PORT}", member.address);
        let mut flag = |name: &str, value: &str| {
            command.arg(format!("--{name}={value}"));
        };
        flag("name", name);
        flag("data-dir", &member.data_dir().to_string_lossy());
        flag("listen-client-urls", &client_url);
        flag("advertise-client-urls", &client_url);
        flag("listen-peer-urls", &peer_url(member));
        flag("initial-advertise-peer-urls", &peer_url(member));
        match &member.seat {
            Seat::Founder => flag("initial-cluster", &founders.join(",")),
            Seat::Late { peers } => {
                flag("initial-cluster", peers);
                flag("initial-cluster-state", "existing");
            }
        }
        flag("initial-cluster-token", CLUSTER_NAME);
        flag("logger", "zap");
        flag("log-level", "warn");
        for prefix in ["", "peer-"] {
            let file = |suffix: &str| self.certificates.folder().join(suffix).to_string_lossy().into_owned();
            flag(&format!("{prefix}cert-file"), &file(&format!("{name}-store.crt")));
            flag(&format!("{prefix}key-file"), &file(&format!("{name}-store.key")));
            flag(&format!("{prefix}trusted-ca-file"), &file("store-ca.crt"));
            flag(&format!("{prefix}client-cert-auth"), "true");
        }
    }
}
