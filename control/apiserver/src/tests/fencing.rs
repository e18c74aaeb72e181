//! A leader's write lands only while its lease says so.

use expect_test::expect;
use kinds::tree;

use super::bench::{Bench, CONFIG_MAPS};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

async fn elected(bench: &Bench, holder: &str, epoch: i64) {
    let lease = format!(
        r#"{{"metadata":{{"name":"x"}},"spec":{{"holderIdentity":"{holder}","leaseTransitions":{epoch}}}}}"#
    );
    let found = bench.send("GET", &format!("{LEASES}/x"), "").await;
    let answer = if found.code == 404 {
        bench.send("POST", LEASES, &lease).await
    } else {
        let mut object = found.json();
        tree::set(&mut object, "spec.holderIdentity", holder);
        tree::set(&mut object, "spec.leaseTransitions", epoch);
        bench.send("PUT", &format!("{LEASES}/x"), &object.to_string()).await
    };
    assert!(answer.code < 300, "{}", answer.text);
}

#[tokio::test]
async fn a_deposed_leader_writes_nothing() {
    let bench = Bench::start().await;
    let fence = [("navarch-fence", "kube-system/x; holder=z; epoch=3")];
    let write = |name: &'static str| {
        let bench = &bench;
        async move {
            let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
            bench.line_with("POST", CONFIG_MAPS, &fence, &body).await
        }
    };
    expect!["409 Conflict: fenced: lease kube-system/x does not exist"].assert_eq(&write("a").await);
    elected(&bench, "z", 3).await;
    expect!["201 ConfigMap a"].assert_eq(&write("a").await);
    // A renewal is no change of hands.
    elected(&bench, "z", 3).await;
    expect!["201 ConfigMap b"].assert_eq(&write("b").await);
    elected(&bench, "y", 4).await;
    let stale = "409 Conflict: fenced: lease kube-system/x is held by y (epoch 4), not z (epoch 3)";
    assert_eq!(write("c").await, stale);
    let uri = format!("{CONFIG_MAPS}/a");
    assert_eq!(bench.line_with("DELETE", &uri, &fence, "").await, stale);
    let body = r#"{"metadata":{"name":"a"},"data":{"late":"1"}}"#;
    assert_eq!(bench.line_with("PUT", &uri, &fence, body).await, stale);
    let malformed = [("navarch-fence", "nonsense")];
    let line = bench.line_with("DELETE", &uri, &malformed, "").await;
    expect!["400 BadRequest: the header Navarch-Fence must read `<namespace>/<lease>; holder=<identity>; epoch=<number>`, not `nonsense`"].assert_eq(&line);
}
