//! The front over real sockets: identities by certificate, garbage, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::tests::bench::Bench;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, params: &CertificateParams) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    fn server(&self) -> Arc<ServerConfig> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = self.issue(&params);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }

    /// A client with this common name and organization, or without certificate.
    fn client(&self, who: Option<(&str, &str)>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(match who {
            None => config.with_no_client_auth(),
            Some((user, group)) => {
                let mut params = CertificateParams::new(Vec::new()).unwrap();
                params.distinguished_name = DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, user);
                params.distinguished_name.push(DnType::OrganizationName, group);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                let (chain, key) = self.issue(&params);
                config.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

async fn get(address: SocketAddr, client: &Arc<ClientConfig>, path: &str) -> (u16, String) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = tokio_rustls::TlsConnector::from(client.clone()).connect(name, tcp).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    let exchange = async {
        let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        (code, String::from_utf8_lossy(&body).into_owned())
    };
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

#[tokio::test]
async fn certificates_are_identities_and_garbage_is_harmless() {
    let bench = Bench::start().await;
    bench.server.bootstrap().await.unwrap();
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let tasks = Tasks::new(stop.clone());
    let (serving, ended) = (bench.server.clone(), CancellationToken::new());
    let (tls, until, done) = (authority.server(), stop.clone(), ended.clone());
    tasks.spawn_infallible("front", async move {
        serving.serve(listener, tls, until).await;
        done.cancel();
    });

    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1], &[0; 4096]] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed with an alert, or reset: both are fine.
        let _ = tcp.read_to_end(&mut answer).await;
    }

    let admin = authority.client(Some(("root", "system:masters")));
    assert_eq!(get(address, &admin, "/api/v1/namespaces/default").await.0, 200);
    let bob = authority.client(Some(("bob", "people")));
    let (code, text) = get(address, &bob, "/api/v1/nodes").await;
    assert!(code == 403 && text.contains(r#"User \"bob\" cannot list resource \"nodes\""#), "{code} {text}");
    let nobody = authority.client(None);
    assert_eq!(get(address, &nobody, "/api/v1/nodes").await.0, 401);
    assert_eq!(get(address, &nobody, "/readyz").await, (200, "ok".to_owned()));

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), ended.cancelled()).await.expect("the front stops");
}
