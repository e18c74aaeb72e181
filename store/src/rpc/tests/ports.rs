//! Who may speak to a port, and what happens to everybody else.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::{ADMITTED, Authority, Served};

fn range() -> pb::RangeRequest {
    pb::RangeRequest { key: "a".into(), ..Default::default() }
}

#[tokio::test]
async fn garbage_is_closed_and_the_port_lives() {
    let served = Served::start().await;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\xff\xff nonsense", &[0; 4096], b"PRI * HTTP/2.0\r\n"]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as an alert.
        let _end = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 64, "nothing but a TLS alert: {answer:?}");
    }
    // Held open without a word while others are served.
    let _silent = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    KvClient::new(served.channel()).range(range()).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn only_admitted_certificates_of_the_own_authority_are_served() {
    let served = Served::start().await;
    KvClient::new(served.channel_as(ADMITTED)).range(range()).await.unwrap();
    assert!(KvClient::new(served.channel_as("system:nodes")).range(range()).await.is_err());
    let url = format!("https://127.0.0.1:{}", served.port);
    let anonymous = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&served.authority.pem));
    let channel =
        Endpoint::from_shared(url.clone()).unwrap().tls_config(anonymous.clone()).unwrap().connect_lazy();
    assert!(KvClient::new(channel).range(range()).await.is_err());
    let stranger = Authority::new().tls(ADMITTED);
    let stranger = anonymous
        .identity(tonic::transport::Identity::from_pem(&stranger.certificate_pem, &stranger.key_pem));
    let channel = Endpoint::from_shared(url).unwrap().tls_config(stranger).unwrap().connect_lazy();
    assert!(KvClient::new(channel).range(range()).await.is_err());
    served.stop().await;
}
