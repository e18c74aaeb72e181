//! TLS: who is believed.

use std::fs;
use std::path::Path;

use base::Tasks;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::causes::in_full;
use crate::images::registry::{hosts, trust};

const IDLE: Duration = Duration::from_secs(10);

/// A server for one connection that proves to be `name`, and its authority's certificate.
async fn server(name: &str, tasks: &Tasks) -> (u16, String) {
    server_for(name, None, tasks).await
}

/// The same, which serves only `asks`, if anybody is named.
async fn server_for(name: &str, asks: Option<&rcgen::Certificate>, tasks: &Tasks) -> (u16, String) {
    let own = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match asks {
        Some(asks) => {
            let mut known = rustls::RootCertStore::empty();
            known.add(asks.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(known), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn("server of a test", async move {
        let (stream, _) = listener.accept().await?;
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return Ok(()) };
        stream.read_buf(&mut Vec::new()).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await?;
        stream.shutdown().await
    });
    (port, own.cert.pem())
}

async fn asked(hosts_dir: &Path, port: u16) -> Result<Bytes, String> {
    let hosts = hosts::of_registry(&[hosts_dir.to_owned()], &format!("localhost:{port}")).await.unwrap();
    let tls = trust::client(&hosts[0].tls).await.map_err(|e| in_full(&e))?;
    let url = Uri::try_from(format!("https://localhost:{port}/v2/")).unwrap();
    let answer = Dialer::new(tls, IDLE).ask(&url, HeaderMap::new(), None).await;
    let mut answer = answer.map_err(|error| in_full(&error).replace(&port.to_string(), "PORT"))?;
    Ok(answer.piece(IDLE).await.unwrap().unwrap())
}

#[tokio::test]
async fn a_registry_is_believed_by_its_hosts_own_authority_and_by_its_name() {
    let tasks = Tasks::new(CancellationToken::new());
    let dir = tempfile::tempdir().unwrap();
    for (name, known, wanted) in [
        ("localhost", true, Ok(Bytes::from("hi"))),
        ("localhost", false, Err("UnknownIssuer")),
        ("elsewhere.example", true, Err("certificate not valid for name \"localhost\"")),
    ] {
        let (port, authority) = server(name, &tasks).await;
        if known {
            let own = dir.path().join(format!("localhost:{port}"));
            fs::create_dir(&own).unwrap();
            fs::write(own.join("ca.crt"), authority).unwrap();
            fs::write(own.join("README"), "not looked at").unwrap();
        }
        let answer = asked(dir.path(), port).await;
        match (answer, wanted) {
            (Err(found), Err(wanted)) => {
                assert!(found.starts_with("the TLS handshake with localhost:PORT failed: "), "{found}");
                assert!(found.contains(wanted), "{found}");
            }
            (found, wanted) => assert_eq!(found, wanted.map_err(str::to_owned)),
        }
    }
}

#[tokio::test]
async fn anybody_is_believed_where_that_is_said() {
    let tasks = Tasks::new(CancellationToken::new());
    let dir = tempfile::tempdir().unwrap();
    let (port, _) = server("elsewhere.example", &tasks).await;
    let own = dir.path().join(format!("localhost_{port}_"));
    fs::create_dir(&own).unwrap();
    fs::write(own.join("hosts.toml"), "skip_verify = true").unwrap();
    assert_eq!(asked(dir.path(), port).await, Ok(Bytes::from("hi")));
}

#[tokio::test]
async fn who_asks_is_proved_where_a_server_wants_it() {
    let tasks = Tasks::new(CancellationToken::new());
    let dir = tempfile::tempdir().unwrap();
    let asks = rcgen::generate_simple_self_signed(vec!["me".to_owned()]).unwrap();
    let (pem, key) = (asks.cert.pem(), asks.signing_key.serialize_pem());
    for (file, text, wanted) in [
        ("both.pem", format!("{pem}{key}"), "client = 'both.pem'"),
        ("me.key", key.clone(), "client = [['me.cert', 'me.key']]"),
    ] {
        let (port, authority) = server_for("localhost", Some(&asks.cert), &tasks).await;
        let own = dir.path().join(format!("localhost:{port}"));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("ca.pem"), authority).unwrap();
        fs::write(own.join("me.cert"), &pem).unwrap();
        fs::write(own.join(file), text).unwrap();
        fs::write(own.join("hosts.toml"), format!("ca = 'ca.pem'\n{wanted}")).unwrap();
        assert_eq!(asked(dir.path(), port).await, Ok(Bytes::from("hi")));
    }
}

#[tokio::test]
async fn a_certificate_that_is_none_is_an_error_and_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("localhost:1");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("ca.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let error = asked(dir.path(), 1).await.unwrap_err();
    assert!(error.contains("ca.crt is no certificate of an authority: "), "{error}");
}

#[tokio::test]
async fn this_systems_authorities_are_known() {
    assert!(trust::roots(&[]).await.unwrap().len() > 50);
}
