//! Who may not: no certificate, the wrong one, garbage, and other users of the machine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use tests::cluster::{Cluster, Size, run};

#[test]
fn strangers_get_nothing_and_garbage_kills_nobody() {
    let cluster = Cluster::start(Size { servers: 1, agents: 0 });
    let port = cluster.api_port(1);
    let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
    let code = |arguments: &[&str]| {
        let format = ["-sk", "-o", "/dev/null", "-w", "%{http_code}"];
        run("curl", &[&format, arguments].concat())
    };
    assert_eq!(code(&[&url("/api/v1/namespaces")]), "401");
    assert_eq!(code(&[&url("/metrics")]), "401");
    assert_eq!(code(&[&url("/livez")]), "200");

    let pki = cluster.dir().join("pki");
    let file = |name: &str| pki.join(name).display().to_string();
    let (ca, certificate, key) = (file("api-ca.crt"), file("admin.crt"), file("admin.key"));
    let admin = ["--cacert", &ca, "--cert", &certificate, "--key", &key];
    assert_eq!(code(&[&admin[..], &[&url("/metrics")]].concat()), "200");
    let stranger = ["--cert", &file("etcd-client.crt"), "--key", &file("etcd-client.key")];
    let refused =
        Command::new("curl").args(["-sk"]).args(stranger).arg(url("/version")).output().expect("curl runs");
    assert!(!refused.status.success(), "a certificate of the store's authority opened the API");

    for offset in 0..5 {
        talk_garbage(port + offset);
    }
    assert_eq!(code(&[&url("/readyz")]), "200");
}

#[test]
fn keys_are_readable_by_their_owner_only() {
    let cluster = Cluster::start(Size { servers: 1, agents: 0 });
    let mut looked_at = 0;
    for entry in std::fs::read_dir(cluster.dir().join("pki")).expect("a folder") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
        looked_at += 1;
    }
    assert!(looked_at >= 10, "{looked_at}");
    let mode = std::fs::metadata(cluster.dir().join("kubeconfig")).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

/// Whatever comes back, if anything, is not the point.
fn talk_garbage(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let garbage: Vec<u8> = (0..4096u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
    let _closed_early = stream.write_all(&garbage);
    let _silence_or_reset = stream.read(&mut [0; 64]);
}
