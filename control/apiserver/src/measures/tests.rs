//! Pods and nodes of which one node tells what they use, and the others do not.

use std::sync::Arc;

use base::Tasks;
use expect_test::expect;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::tests::bench::{Bench, PODS};
use crate::{NodeStream, NodeStreamError, NodeStreams};

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// Answers every question with the same.
struct Tells {
    tasks: Tasks,
    usage: String,
}

impl NodeStreams for Tells {
    fn open(&self, node: &str) -> BoxFuture<'_, Result<Box<dyn NodeStream>, NodeStreamError>> {
        if node != "n1" {
            let error = NodeStreamError::NotConnected(node.to_owned());
            return async move { Err(error) }.boxed();
        }
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", self.usage.len(), self.usage);
        self.tasks.spawn_infallible("node", async move {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && far.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
            }
            assert!(asked.starts_with(b"GET /usage HTTP/1.1\r\n"));
            let _gone = far.write_all(answer.as_bytes()).await;
        });
        async move { Ok(Box::new(near) as Box<dyn NodeStream>) }.boxed()
    }
}

async fn furnished(tell: impl Fn(&[String]) -> String) -> (Bench, DropGuard) {
    let stop = CancellationToken::new();
    // Uids come from a seed: the same pods of another server have the same.
    let mut uids = Vec::new();
    let furnish = async |bench: &Bench| {
        let mut uids = Vec::new();
        for (name, node) in [("web", "n1"), ("fresh", "n1"), ("far", "n2"), ("early", "")] {
            let labels = json!({"app": name});
            let pod = json!({"metadata": {"name": name, "labels": labels},
                             "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
            let made = bench.send("POST", PODS, &pod.to_string()).await;
            assert_eq!(made.code, 201);
            uids.push(made.json()["metadata"]["uid"].as_str().unwrap().to_owned());
        }
        for name in ["n1", "n2"] {
            let node = json!({"metadata": {"name": name, "labels": {"zone": name}}}).to_string();
            assert_eq!(bench.send("POST", "/api/v1/nodes", &node).await.code, 201);
        }
        uids
    };
    uids.extend(furnish(&Bench::start().await).await);
    let tells = Tells { tasks: Tasks::new(stop.clone()), usage: tell(&uids) };
    let bench = Bench::start_reaching(Arc::new(tells)).await;
    assert_eq!(furnish(&bench).await, uids);
    (bench, stop.drop_guard())
}

async fn measured() -> (Bench, DropGuard) {
    furnished(|uids| {
        let container =
            |name: &str, cpu: u64| json!({"name": name, "cpuNanoCores": cpu, "memoryBytes": 3 << 20});
        json!({
            "timestamp": "2026-11-21T00:00:01.5Z", "windowMillis": 10_002,
            "node": {"cpuNanoCores": 250_000_000, "memoryBytes": 1 << 30},
            "pods": [
                {"uid": uids[0], "complete": true, "containers": [container("a", 1_500_000), container("b", 7)]},
                {"uid": uids[1], "complete": false, "containers": [container("a", 1)]},
            ],
        })
        .to_string()
    })
    .await
}

#[tokio::test]
async fn pods_and_nodes_are_measured() {
    let (bench, _stop) = measured().await;
    let text = async |path: &str| bench.send("GET", &format!("{METRICS}{path}"), "").await.text;
    expect![[r#"{"kind":"PodMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"web","namespace":"default","creationTimestamp":"2026-11-21T00:00:00Z","labels":{"app":"web"}},"timestamp":"2026-11-21T00:00:01Z","window":"10.002s","containers":[{"name":"a","usage":{"cpu":"1500u","memory":"3Mi"}},{"name":"b","usage":{"cpu":"7n","memory":"3Mi"}}]}"#]].assert_eq(&text("/namespaces/default/pods/web").await);
    expect![[r#"{"kind":"PodMetricsList","apiVersion":"metrics.k9s.io/v9beta9","metadata":{"resourceVersion":"9"},"items":[{"kind":"PodMetrics","apiVersion":"metrics.k9s.io/v9beta9","metadata":{"name":"web","namespace":"default","creationTimestamp":"9999-99-99T99:99:99Z","labels":{"app":"web"}},"timestamp":"9999-99-99T99:99:99Z","window":"99.999s","containers":[{"name":"a","usage":{"cpu":"9999u","memory":"9Mi"}},{"name":"b","usage":{"cpu":"9n","memory":"9Mi"}}]}]}"#]].assert_eq(&text("/pods").await.replace(char::is_numeric, "9"));
    expect![[r#"{"kind":"NodeMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"n1","creationTimestamp":"2026-11-21T00:00:00Z","labels":{"zone":"n1"}},"timestamp":"2026-11-21T00:00:01Z","window":"10.002s","usage":{"cpu":"250m","memory":"1Gi"}}"#]].assert_eq(&text("/nodes/n1").await);
    assert!(text("/nodes?labelSelector=zone%3Dn2").await.ends_with(r#""items":[]}"#));
    assert!(text("/nodes?labelSelector=zone%3Dn1").await.contains(r#""name":"n1""#));
    assert!(text("/namespaces/default/pods?labelSelector=app%3Dfar").await.ends_with(r#""items":[]}"#));
    assert!(text("/namespaces/kube-system/pods").await.ends_with(r#""items":[]}"#));
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = bench.send_with("GET", &format!("{METRICS}/pods"), &table, Vec::new()).await.json();
    assert_eq!(table["rows"][0]["cells"], json!(["web", "1500007n", "6Mi", "10.002s"]));
}

#[tokio::test]
async fn what_is_not_measured_is_not_found() {
    let (bench, _stop) = measured().await;
    let line = async |method: &str, path: &str| bench.line(method, &format!("{METRICS}{path}"), "").await;
    let mut shown = String::new();
    for path in ["absent", "fresh", "far", "early"] {
        shown += &format!("{}\n", line("GET", &format!("/namespaces/default/pods/{path}")).await);
    }
    shown += &format!("{}\n", line("GET", "/nodes/n2").await);
    shown += &format!("{}\n", line("GET", "/nodes/absent").await);
    shown += &format!("{}\n", line("DELETE", "/nodes/n1").await);
    shown += &format!("{}\n", line("GET", "/nodes?watch=true").await);
    expect![[r#"
        404 NotFound: pods "absent" not found
        404 NotFound: podmetrics.metrics.k8s.io "default/fresh" not found
        404 NotFound: podmetrics.metrics.k8s.io "default/far" not found
        404 NotFound: podmetrics.metrics.k8s.io "default/early" not found
        404 NotFound: nodemetrics.metrics.k8s.io "n2" not found
        404 NotFound: nodes "absent" not found
        405 MethodNotAllowed: the server does not allow this method on the requested resource
        405 MethodNotAllowed: the server does not allow this method on the requested resource
    "#]]
    .assert_eq(&shown);
    let (unknowing, _stop) = furnished(|_| r#"{"pods":[]}"#.to_owned()).await;
    assert_eq!(
        unknowing.line("GET", &format!("{METRICS}/nodes/n1"), "").await.split(' ').next(),
        Some("404")
    );
}

#[tokio::test]
async fn clients_of_protobuf_get_json() {
    let (bench, _stop) = measured().await;
    let accept = [("accept", "application/vnd.kubernetes.protobuf, */*")];
    let answer = bench.send_with("GET", &format!("{METRICS}/nodes"), &accept, Vec::new()).await;
    assert_eq!((answer.code, answer.headers["content-type"].to_str().unwrap()), (200, "application/json"));
}
