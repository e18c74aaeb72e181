//! The store from the outside: etcdctl, against every server of a real cluster.

use std::process::Command;

use tests::cluster::{Cluster, Size, navarch};

#[test]
fn etcdctl_reads_and_writes_through_every_member() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    assert_eq!(cluster.etcdctl("put a 1"), "OK\n");
    assert_eq!(cluster.etcdctl("get a"), "a\n1\n");
    assert_eq!(cluster.etcdctl("put ab 2"), "OK\n");
    assert_eq!(cluster.etcdctl("get --prefix a --print-value-only"), "1\n2\n");
    assert_eq!(cluster.etcdctl("del a --prefix"), "2\n");
    let members = cluster.etcdctl("member list");
    assert_eq!(members.lines().count(), 3, "{members}");
    let status = cluster.etcdctl("endpoint status");
    assert_eq!(status.lines().filter(|line| line.contains(", true,")).count(), 1, "one leader: {status}");
    assert!(!status.contains(", 0 B,"), "a store with objects in it has a size: {status}");
    let health = cluster.etcdctl("endpoint health 2>&1");
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
    let watched =
        cluster.etcdctl("put w 1 >/dev/null; etcdctl watch w --rev=1 & sleep 1; kill $!; wait $! || true");
    assert!(watched.contains("PUT\nw\n1\n"), "{watched}");
    let txn = cluster.etcdctl("txn <<'END'\nvalue(\"w\") = \"1\"\n\nput w 2\n\nget w\n\nEND");
    assert!(txn.starts_with("SUCCESS"), "{txn}");
}

#[test]
fn a_member_is_rebuilt_from_another_when_told() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    cluster.etcdctl("put k v");
    let pki = cluster.dir().join("pki").display().to_string();
    let variables = cluster.etcd_variables();
    let (_, endpoints) =
        variables.iter().find(|(name, _)| name == "ETCDCTL_ENDPOINTS").expect("where the members are");
    let mut rebuilt = 0;
    for endpoint in endpoints.split(',') {
        let arguments = ["member", "rebuild", "--endpoint", endpoint, "--pki-dir", &pki];
        let output = Command::new(navarch()).args(arguments).output().expect("navarch runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            assert!(told.starts_with("rebuilt; it goes on from revision "), "{told}");
            assert_eq!(cluster.etcdctl(&format!("--endpoints={endpoint} get k")), "k\nv\n");
            rebuilt += 1;
        } else {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("this member leads; move the leader first"), "{error}");
        }
    }
    assert!(rebuilt >= 2, "only the leader refuses, {rebuilt} were rebuilt");
    assert_eq!(cluster.etcdctl("alarm list"), "");
}
