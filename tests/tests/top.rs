//! `kubectl top` with every version of kubectl: what real containers and nodes use, from whichever server is asked.

use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::eventually;
use tests::kubectl::Kubectl;

const VERSIONS: &[&str] = &["1.20", "1.32", "1.36"];
/// Two samples of a node, and whatever else must be waited for.
const MEASURED_WITHIN: Duration = Duration::from_secs(60);
/// A server that was just started knows its nodes again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// `busy` uses as much as it may: a fifth of a core.
const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: spins
    image: localhost/web:1
    command: [sh, -c, 'while true; do true; done']
    readinessProbe: {exec: {command: ['true']}, periodSeconds: 5, timeoutSeconds: 10}
    resources: {limits: {cpu: 200m, memory: 64Mi}}
  - name: holds
    image: localhost/web:1
    command: [sh, -c, 'dd if=/dev/zero of=/held/file bs=1M count=20 2>/dev/null; sleep 10000']
    volumeMounts: [{name: held, mountPath: /held}]
  volumes: [{name: held, emptyDir: {medium: Memory}}]
---
apiVersion: v1
kind: Pod
metadata: {name: idle, labels: {app: idle}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: 'localhost/web:1'}]
";

#[test]
fn top_shows_what_is_used() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 2 });
    let newest = cluster.kubectl("1.36");
    newest.apply(MANIFEST);
    newest.ok("wait pod/busy pod/idle --for=condition=Ready --timeout=60s");
    eventually(MEASURED_WITHIN, "both pods and nodes are measured", || {
        let (pods, nodes) = (rows(&newest, "top pods"), rows(&newest, "top nodes"));
        let known = nodes.iter().filter(|row| !row[1].contains("unknown")).count();
        let spins = pods.iter().any(|row| row[0] == "busy" && (100..400).contains(&number(&row[1])));
        if pods.len() == 2 && known == 2 && spins { Ok(()) } else { Err((pods, nodes)) }
    });
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        pods_are_measured(&kubectl);
        nodes_are_measured(&kubectl);
    }
    sums_are_made(&newest);
    the_api_is_listed(&newest);
    nodes_tell_what_a_kubelet_tells(&newest);
    who_may_read_metrics_scrapes(&newest);
    viewers_may_look(&newest);
    what_is_absent_is_named(&newest);
    cluster.signal("server-1", "KILL");
    measured_through(&newest, "server-2");
    cluster.restart("server-1");
    measured_through(&newest, "server-1");
}

/// The cells of a table without its head; no rows when it fails.
fn rows(kubectl: &Kubectl, arguments: &str) -> Vec<Vec<String>> {
    let said = kubectl.run(&format!("{arguments} --no-headers"));
    said.stdout.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// `205m`, `21Mi`, `3%`.
fn number(cell: &str) -> u64 {
    cell.trim_end_matches(|it: char| !it.is_ascii_digit()).parse().unwrap_or_else(|_| panic!("{cell:?}"))
}

fn pods_are_measured(kubectl: &Kubectl) {
    let pods = rows(kubectl, "top pods --sort-by=cpu");
    assert_eq!([pods[0][0].as_str(), pods[1][0].as_str()], ["busy", "idle"], "{pods:?}");
    assert!((100..400).contains(&number(&pods[0][1])) && pods[0][1].ends_with('m'), "{pods:?}");
    assert!((20..64).contains(&number(&pods[0][2])) && pods[0][2].ends_with("Mi"), "{pods:?}");
    let containers = rows(kubectl, "top pods --containers -l app=busy");
    let cells = |name: &str| {
        let row = containers.iter().find(|row| row[1] == name);
        row.cloned().unwrap_or_else(|| panic!("{name}: {containers:?}"))
    };
    assert!(number(&cells("spins")[2]) >= 100 && number(&cells("holds")[3]) >= 20, "{containers:?}");
    let everywhere = rows(kubectl, "top pods -A");
    assert!(everywhere.iter().any(|row| row[0] == "default" && row[1] == "busy"), "{everywhere:?}");
    assert_eq!(rows(kubectl, "top pod idle")[0][0], "idle");
}

fn nodes_are_measured(kubectl: &Kubectl) {
    let nodes = rows(kubectl, "top nodes");
    let names: Vec<&str> = nodes.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, ["agent-1", "agent-2"], "{nodes:?}");
    for row in &nodes {
        assert!(number(&row[1]) > 0 && row[2].ends_with('%') && number(&row[3]) > 10, "{nodes:?}");
    }
}

fn sums_are_made(kubectl: &Kubectl) {
    let said = kubectl.ok("top pods --sum");
    let last = said.lines().last().unwrap_or_default();
    assert!(number(last.split_whitespace().next().unwrap_or_default()) >= 100, "{said}");
}

fn the_api_is_listed(kubectl: &Kubectl) {
    let listed = kubectl.ok("api-resources --api-group=metrics.k8s.io --no-headers -o wide");
    for kind in ["NodeMetrics", "PodMetrics"] {
        assert!(listed.contains(kind), "{listed}");
    }
    assert!(kubectl.ok("api-versions").contains("metrics.k8s.io/v1beta1"));
    let table = kubectl.ok("get pods.metrics.k8s.io busy");
    assert!(table.starts_with("NAME   CPU"), "{table}");
    assert!(kubectl.ok("get podmetrics,nodemetrics").contains("nodemetrics.metrics.k8s.io/agent-1"));
}

fn nodes_tell_what_a_kubelet_tells(kubectl: &Kubectl) {
    let node = kubectl.ok("get pod busy -o jsonpath={.spec.nodeName}");
    let summary = kubectl.ok(&format!("get --raw /api/v1/nodes/{node}/proxy/stats/summary"));
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["node"]["nodeName"], node.as_str());
    let pods = summary["pods"].as_array().expect("a list");
    let busy = pods.iter().find(|pod| pod["podRef"]["name"] == "busy").expect("it is listed");
    assert!(busy["cpu"]["usageNanoCores"].as_u64() > Some(100_000_000), "{busy}");
    let page = kubectl.ok(&format!("get --raw /api/v1/nodes/{node}/proxy/metrics/resource"));
    let line = r#"container_cpu_usage_seconds_total{container="spins",namespace="default",pod="busy"} "#;
    assert!(page.contains(line) && page.contains("node_memory_working_set_bytes "), "{page}");
}

/// Prometheus' usual role, and what its rules and dashboards ask for.
fn who_may_read_metrics_scrapes(kubectl: &Kubectl) {
    let node = kubectl.ok("get pod busy -o jsonpath={.spec.nodeName}");
    let path = |node: &str, part: &str| format!("get --raw /api/v1/nodes/{node}/proxy/{part} --as scraper");
    assert!(kubectl.fails(&path(&node, "metrics/cadvisor")).contains("nodes/proxy"));
    kubectl.ok("create clusterrole scraper --verb=get --resource=nodes/metrics");
    kubectl.ok("create clusterrolebinding scraper --clusterrole=scraper --user=scraper");
    let page = eventually(BACK_WITHIN, "the role is known", || {
        let said = kubectl.run(&path(&node, "metrics/cadvisor"));
        if said.ok { Ok(said.stdout) } else { Err(said) }
    });
    let uid = kubectl.ok("get pod busy -o jsonpath={.metadata.uid}");
    let row = |name: &str, more: &str| {
        let begin = format!(r#"{name}{{{more}container="spins",id="/kubepods/burstable/pod{uid}/"#);
        let row = page.lines().find(|line| line.starts_with(&begin));
        let row = row.unwrap_or_else(|| panic!("{begin} is missing: {page}"));
        assert!(row.contains(r#"image="localhost/web:1""#), "{row}");
        assert!(row.contains(r#"namespace="default",pod="busy"} "#), "{row}");
    };
    row("container_cpu_usage_seconds_total", r#"cpu="total","#);
    row("container_memory_working_set_bytes", "");
    assert!(page.contains("machine_memory_bytes ") && page.contains("machine_cpu_cores "), "{page}");
    assert!(kubectl.ok(&path(&node, "metrics")).contains("kubelet_running_pods"));
    let probes = kubectl.ok(&path(&node, "metrics/probes"));
    let readiness = r#"prober_probe_total{container="spins",namespace="default",pod="busy",pod_uid=""#;
    assert!(probes.contains(readiness) && probes.contains(r#"result="successful"} "#), "{probes}");
    for other in ["pods", "stats/summary", "metrics/../pods", "containerLogs/default/busy/spins"] {
        assert!(kubectl.fails(&path(&node, other)).contains("forbidden"), "{other}");
    }
    assert!(kubectl.fails(&path(&format!("{node}:22"), "metrics")).contains("forbidden"));
}

fn viewers_may_look(kubectl: &Kubectl) {
    assert!(kubectl.fails("top pods --as viewer").contains("forbidden"));
    kubectl.ok("create rolebinding viewers --clusterrole=view --user=viewer");
    eventually(BACK_WITHIN, "the role is known", || {
        let said = kubectl.run("top pods --as viewer");
        if said.ok { Ok(()) } else { Err(said) }
    });
}

fn what_is_absent_is_named(kubectl: &Kubectl) {
    assert!(kubectl.fails("top pod absent").contains(r#"pods "absent" not found"#));
    kubectl.ok(
        "run nowhere --image=localhost/web:1 --overrides={\"spec\":{\"nodeSelector\":{\"no\":\"node\"}}}",
    );
    let said = kubectl.fails("top pod nowhere");
    assert!(said.contains(r#"podmetrics.metrics.k8s.io "default/nowhere" not found"#), "{said}");
}

/// A server without a past tells the same as the others.
fn measured_through(kubectl: &Kubectl, server: &str) {
    let kubectl = kubectl.through(server);
    eventually(BACK_WITHIN, "this server answers", || {
        let pods = rows(&kubectl, "top pods");
        if pods.iter().any(|row| row[0] == "busy" && number(&row[1]) >= 100) { Ok(()) } else { Err(pods) }
    });
}
