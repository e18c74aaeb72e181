//! kube-rs, the Rust client: the program of `tests/kube_rs` against a whole cluster.

use std::process::Command;

use tests::cluster::{Cluster, Size, navarch};

#[test]
fn kube_rs_finds_no_difference() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let target = navarch().ancestors().nth(2).expect("target/debug/navarch").to_owned();
    let program = target.join("kube-rs/debug/kube-rs");
    assert!(program.exists(), "{} is missing: `make test` builds it", program.display());
    let output = Command::new(program)
        .arg(cluster.dir().join("kubeconfig"))
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
