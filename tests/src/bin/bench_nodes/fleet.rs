//! Hollow nodes in this process, as many as wanted, each with a certificate of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::reclaim::ReclaimPolicy;
use agent::{AgentConfig, AgentTls, RuntimeChoice, ShutdownPolicy};
use base::{Clock, Entropy, SystemClock, SystemEntropy, Tasks};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tests::cluster::Cluster;
use tokio_util::sync::CancellationToken;

const STOP_GRACE: Duration = Duration::from_secs(30);

/// Offset of the port that agents dial from a server's first.
const GATEWAY: u16 = 1;

pub(crate) struct Fleet(Tasks);

/// Not yet started: making certificates is no part of what is measured.
pub(crate) struct Plan(Vec<AgentConfig>);

impl Plan {
    pub(crate) fn of(cluster: &Cluster, servers: u16, nodes: u32) -> Self {
        let authority = Authority::open(&cluster.dir().join("pki"));
        let gateways: Vec<String> =
            (1..=servers).map(|number| format!("127.0.0.1:{}", cluster.api_port(number) + GATEWAY)).collect();
        let config = |number: u32| AgentConfig {
            node_name: format!("hollow-{number}"),
            servers: from(&gateways, number),
            tls: authority.issue(&format!("hollow-{number}")),
            data_dir: cluster.dir().to_owned(),
            runtime: RuntimeChoice::Hollow,
            cgroup_root: String::new(),
            node_ip: [127, 0, 0, 1].into(),
            labels: BTreeMap::new(),
            manifests_dir: None,
            reclaim: ReclaimPolicy::default(),
            shutdown: ShutdownPolicy::default(),
            executable: "/proc/self/exe".into(),
            hosts_dirs: Vec::new(),
            purge_on_stop: false,
        };
        Self((1..=nodes).map(config).collect())
    }

    pub(crate) fn start(self) -> Fleet {
        let tasks = Tasks::new(CancellationToken::new());
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
            (Arc::new(SystemClock), Arc::new(SystemEntropy));
        for config in self.0 {
            let (name, stop) = (config.node_name.clone(), tasks.stop().child_token());
            // Nobody asks this process for metrics.
            let run = agent::run(config, clock.clone(), entropy.clone(), Arc::new(String::new), stop);
            tasks.spawn(name, run);
        }
        Fleet(tasks)
    }
}

impl Fleet {
    pub(crate) async fn stop(self) {
        self.0.stop().cancel();
        self.0.join(STOP_GRACE).await.unwrap();
    }
}

/// The same gateways, beginning with another one for each node: agents try them in order.
fn from(gateways: &[String], number: u32) -> Vec<String> {
    let mut gateways = gateways.to_vec();
    let first = number as usize % gateways.len();
    gateways.rotate_left(first);
    gateways
}

/// The cluster's, which speaks for nodes.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(pki: &Path) -> Self {
        let certificate = std::fs::read_to_string(pki.join("api-ca.crt")).unwrap();
        let key = KeyPair::from_pem(&std::fs::read_to_string(pki.join("api-ca.key")).unwrap()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).unwrap();
        Self { certificate, issuer }
    }

    fn issue(&self, node: &str) -> AgentTls {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        AgentTls {
            ca: self.certificate.clone().into(),
            certificate: certificate.pem().into(),
            key: key.serialize_pem().into(),
        }
    }
}
