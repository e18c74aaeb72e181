//! Plugs pulled: leaders, agents and whole control planes killed, frozen and started again.

use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const SIZE: Size = Size { servers: 3, agents: 2 };
const SOON: Duration = Duration::from_secs(90);
const WRITTEN_AGAIN: Duration = Duration::from_secs(30);
const FROZEN: Duration = Duration::from_secs(20);

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      containers: [{name: web, image: 'localhost/web:1'}]
";

#[test]
fn killed_servers_lose_nothing_and_touch_no_pod() {
    let mut cluster = Cluster::start(SIZE);
    let kubectl = cluster.kubectl("1.36");
    let before = deploy(&kubectl);

    let leader = eventually(SOON, "there is a leader", || cluster.leader());
    let other = if leader == "server-2" { "server-3" } else { "server-2" };
    let through_other = kubectl.through(other);
    cluster.signal(&leader, "KILL");
    eventually(WRITTEN_AGAIN, "a write through another server", || {
        let said = through_other.run("create configmap after-the-kill --from-literal=a=b");
        expect_that(said.ok || said.stderr.contains("AlreadyExists"), said.stderr)
    });
    cluster.restart(&leader);
    eventually(SOON, "the restarted server catches up", || {
        let said = kubectl.through(&leader).run("get configmap after-the-kill -o name");
        expect_that(said.ok, said.stderr)
    });
    assert_eq!(restarts_by_uid(&kubectl), before, "no pod noticed");

    for server in ["server-1", "server-2", "server-3"] {
        cluster.signal(server, "KILL");
    }
    for server in ["server-1", "server-2", "server-3"] {
        cluster.restart(server);
    }
    eventually(SOON, "everything is there again", || {
        let said = kubectl.run("get configmap after-the-kill -o name");
        expect_that(said.ok, said.stderr)
    });
    ready(&kubectl, "agent-1", "True");
    ready(&kubectl, "agent-2", "True");
    assert_eq!(restarts_by_uid(&kubectl), before, "no pod noticed");
}

#[test]
fn a_killed_agent_adopts_its_pods_and_a_lost_one_is_replaced() {
    let mut cluster = Cluster::start(SIZE);
    let kubectl = cluster.kubectl("1.36");
    let before = deploy(&kubectl);

    cluster.signal("agent-1", "KILL");
    cluster.restart("agent-1");
    eventually(SOON, "the node is ready and its pods are as before", || {
        ready_now(&kubectl, "agent-1", "True")?;
        let now = restarts_by_uid(&kubectl);
        expect_that(now == before, format!("{now:?} instead of {before:?}"))
    });

    cluster.signal("agent-2", "KILL");
    ready(&kubectl, "agent-2", "Unknown");
    eventually(Duration::from_secs(60), "its pods run elsewhere", || {
        let pods = pods(&kubectl);
        let moved = pods.iter().filter(|pod| pod["spec"]["nodeName"] == "agent-1" && is_ready(pod)).count();
        expect_that(moved == 4, format!("{moved} of 4 on agent-1"))
    });
    cluster.restart("agent-2");
    ready(&kubectl, "agent-2", "True");
    eventually(SOON, "only the replacements are left", || {
        let left = pods(&kubectl).len();
        expect_that(left == 4, format!("{left} pods"))
    });
}

#[test]
fn a_frozen_server_writes_nothing_stale_when_it_wakes() {
    let cluster = Cluster::start(SIZE);
    let kubectl = cluster.kubectl("1.36");
    deploy(&kubectl);
    let leader = eventually(SOON, "there is a leader", || cluster.leader());
    let awake = kubectl.through(if leader == "server-2" { "server-3" } else { "server-2" });
    cluster.signal(&leader, "STOP");
    eventually(WRITTEN_AGAIN, "a write through another server", || {
        let said = awake.run("scale deployment/web --replicas=2");
        expect_that(said.ok, said.stderr)
    });
    std::thread::sleep(FROZEN);
    let scaled = eventually(SOON, "scaled while it slept", || {
        let all = pods(&awake);
        expect_that(all.len() == 2, format!("{} pods", all.len()))?;
        Ok::<_, String>(uids(&all))
    });
    cluster.signal(&leader, "CONT");
    eventually(SOON, "the sleeper caught up", || {
        let seen = uids(&pods(&kubectl.through(&leader)));
        expect_that(seen == scaled, format!("{seen:?}"))
    });
    assert_eq!(uids(&pods(&awake)), scaled, "what woke up changed nothing");
}

fn deploy(kubectl: &Kubectl) -> Vec<(String, u64)> {
    kubectl.apply(WEB);
    eventually(SOON, "four pods run", || {
        let ready = pods(kubectl).iter().filter(|pod| is_ready(pod)).count();
        expect_that(ready == 4, format!("{ready} of 4 ready"))
    });
    restarts_by_uid(kubectl)
}

fn pods(kubectl: &Kubectl) -> Vec<Value> {
    let said = kubectl.run("get pods -l app=web -o json");
    let list: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true && pod["metadata"]["deletionTimestamp"].is_null()
}

fn uids(pods: &[Value]) -> Vec<String> {
    let mut uids: Vec<String> = pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
    uids.sort();
    uids
}

fn restarts_by_uid(kubectl: &Kubectl) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = pods(kubectl)
        .iter()
        .map(|pod| {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
            (pod["metadata"]["uid"].to_string(), restarts.unwrap_or(u64::MAX))
        })
        .collect();
    all.sort();
    all
}

fn ready(kubectl: &Kubectl, node: &str, wanted: &str) {
    eventually(SOON, &format!("{node} is Ready={wanted}"), || ready_now(kubectl, node, wanted));
}

fn ready_now(kubectl: &Kubectl, node: &str, wanted: &str) -> Result<(), String> {
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    let said = kubectl.run(&format!("get node {node} -o jsonpath={path}"));
    expect_that(said.stdout == wanted, said.stdout + &said.stderr)
}
