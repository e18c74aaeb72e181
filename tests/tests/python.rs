//! The official Python client, as Debian packages it: `tests/python/client.py` against a whole cluster.

use std::process::Command;

use tests::cluster::{Cluster, Size};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/client.py");

#[test]
fn the_python_client_finds_no_difference() {
    let cluster = Cluster::start(Size { servers: 3, agents: 1 });
    let mut command = Command::new("/usr/bin/python3");
    let output = command.arg(SCRIPT).arg(cluster.dir().join("kubeconfig")).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
