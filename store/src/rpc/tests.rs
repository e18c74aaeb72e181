//! The wire from the outside: generated clients, and the real etcdctl, over mTLS on loopback.

mod beside_etcd;
mod cluster;
mod etcdctl;
mod fleet;
mod kube_apiserver;
mod kv;
mod leaderless;
mod learner;
mod leases;
mod limits;
mod maintenance;
mod options;
mod pages;
mod peers;
mod permissions;
mod ports;
mod quarantine;
mod users;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use base::{SeededEntropy, SystemClock, Tasks};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{ClientPort, MetricsPage, Tls, serve_clients};
use crate::node::NoPeers;
use crate::{Cluster, InitialMember, Limits, Node, NodeConfig, Timings};

const ADMITTED: &str = "store clients";

/// A certificate authority of one test.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn tls(&self, organization: &str) -> Tls {
        self.tls_of(organization, "somebody")
    }

    /// A certificate with this common name; an empty one is left out.
    fn tls_of(&self, organization: &str, name: &str) -> Tls {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Tls {
            ca_pem: self.pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            admitted_organizations: vec![ADMITTED.to_owned()],
        }
    }
}

/// One in-memory store behind its client port.
struct Served {
    authority: Authority,
    port: u16,
    tasks: Tasks,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(NodeConfig::in_memory()).await
    }

    async fn start_with(config: NodeConfig) -> Self {
        let tasks = Tasks::new(CancellationToken::new());
        let entropy = Arc::new(SeededEntropy::new(7));
        let node = Node::start(config, Arc::new(NoPeers), Arc::new(SystemClock), entropy, &tasks).await;
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let front = ClientPort {
            listener,
            tls: authority.tls(ADMITTED),
            metrics: Some(MetricsPage { render: Arc::new(|| "a_metric 1\n".to_owned()), is_public: false }),
            stop: tasks.stop().clone(),
        };
        tasks.spawn("client port", serve_clients(node.unwrap().store, front));
        Self { authority, port, tasks }
    }

    /// One of three members, the others away: it never has a leader.
    async fn alone() -> Self {
        Self::alone_with(Limits::default()).await
    }

    async fn alone_with(limits: Limits) -> Self {
        let member = |n: u64| InitialMember {
            name: format!("server-{n}"),
            peer_url: format!("https://server-{n}"),
            client_urls: Vec::new(),
        };
        let members = vec![member(1), member(2), member(3)];
        let memory = NodeConfig::in_memory();
        let timings = Timings { request_timeout: Duration::from_secs(2), ..memory.timings };
        let cluster = Cluster::Static { token: "test".to_owned(), members };
        Self::start_with(NodeConfig { name: "server-1".to_owned(), cluster, timings, limits, ..memory }).await
    }

    fn channel(&self) -> Channel {
        self.channel_as(ADMITTED)
    }

    fn channel_as(&self, organization: &str) -> Channel {
        self.channel_with(&self.authority.tls(organization))
    }

    /// A connection whose certificate has this common name.
    fn channel_of(&self, name: &str) -> Channel {
        self.channel_with(&self.authority.tls_of(ADMITTED, name))
    }

    fn channel_with(&self, tls: &Tls) -> Channel {
        let url = format!("https://127.0.0.1:{}", self.port);
        let endpoint = Endpoint::from_shared(url).unwrap();
        endpoint.tls_config(tls.client()).unwrap().connect_lazy()
    }

    async fn stop(self) {
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(5)).await.expect("no task failed");
    }
}
