//! Deployments and pods, in real containers: created, healed, rolled, rolled back, crashed, refused.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const SIZE: Size = Size { servers: 3, agents: 2 };
const SOON: Duration = Duration::from_secs(90);
const ROLLED: Duration = Duration::from_secs(90);

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: localhost/web:1
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
";

#[test]
fn a_deployment_spreads_heals_rolls_and_goes_back() {
    let cluster = Cluster::start(SIZE);
    let kubectl = cluster.kubectl("1.36");
    kubectl.apply(WEB);
    let pods = running(&kubectl, 3);
    let nodes: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    assert_eq!(nodes.len(), 2, "three replicas spread over two nodes");

    pods_reach_each_other(&kubectl, &pods);
    let log = kubectl.ok(&format!("logs {} --tail=5", name(&pods[0])));
    assert!(!log.is_empty(), "a probed web server logs its requests");

    kubectl.ok(&format!("delete pod {} --wait=false", name(&pods[0])));
    let healed = running(&kubectl, 3);
    assert!(healed.iter().all(|pod| pod["metadata"]["uid"] != pods[0]["metadata"]["uid"]));

    kubectl.ok("set env deployment/web VERSION=2");
    kubectl.ok("rollout status deployment/web --timeout=90s");
    let history = kubectl.ok("rollout history deployment/web");
    assert!(history.contains("\n2 "), "{history}");

    kubectl.ok("set image deployment/web web=localhost/none:1");
    waiting(&kubectl, "app=web", "ErrImagePull");
    waiting(&kubectl, "app=web", "ImagePullBackOff");
    let available = kubectl.ok("get deployment web -o jsonpath={.status.availableReplicas}");
    assert_eq!(available, "3", "a roll that goes nowhere takes nothing away");
    kubectl.ok("rollout undo deployment/web");
    kubectl.ok("rollout status deployment/web --timeout=90s");
    let images = kubectl.ok("get pods -l app=web -o jsonpath={.items[*].spec.containers[*].image}");
    eventually(ROLLED, "only the good image is left", || {
        let images = kubectl.ok("get pods -l app=web -o jsonpath={.items[*].spec.containers[*].image}");
        expect_that(!images.contains("none"), images)
    });
    assert!(images.contains("localhost/web:1"), "{images}");

    kubectl.ok("scale deployment/web --replicas=1");
    running(&kubectl, 1);
    kubectl.ok("delete deployment web");
    eventually(SOON, "nothing is left of a deleted deployment", || {
        let left = kubectl.ok("get replicasets,pods -o name");
        expect_that(left.is_empty(), left)
    });
}

#[test]
fn a_failing_container_backs_off_and_its_config_reaches_it() {
    let cluster = Cluster::start(Size { servers: 1, agents: 1 });
    let kubectl = cluster.kubectl("1.32");
    kubectl.ok("create configmap settings --from-literal=greeting=hello");
    kubectl.ok("create secret generic keys --from-literal=word=friend");
    kubectl.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: talks}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: localhost/web:1
    command: [/bin/busybox, sh, -c, 'echo $GREETING $(cat /keys/word)']
    env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}]
    volumeMounts: [{name: keys, mountPath: /keys}]
  volumes: [{name: keys, secret: {secretName: keys}}]
---
apiVersion: v1
kind: Pod
metadata: {name: crashes, labels: {app: crashes}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'localhost/web:1', command: [/bin/busybox, sh, -c, 'echo over; exit 3']}]
",
    );
    kubectl.ok("wait pod/talks --for=jsonpath={.status.phase}=Succeeded --timeout=30s");
    assert_eq!(kubectl.ok("logs talks"), "hello friend\n");
    waiting(&kubectl, "app=crashes", "CrashLoopBackOff");
    let code = kubectl
        .ok("get pod crashes -o jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}");
    assert_eq!(code, "3");
    let events = kubectl.ok("get events");
    assert!(events.contains("BackOff"), "{events}");
    let described = kubectl.ok("describe pod crashes");
    assert!(described.contains("CrashLoopBackOff"), "{described}");
}

/// The pods labelled app=web once exactly `count` of them exist and all are ready.
fn running(kubectl: &Kubectl, count: usize) -> Vec<Value> {
    eventually(ROLLED, "the pods run", || {
        let list: Value =
            serde_json::from_str(&kubectl.ok("get pods -l app=web -o json")).map_err(|e| e.to_string())?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let ready = pods.iter().filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true).count();
        expect_that(pods.len() == count && ready == count, format!("{ready} of {} ready", pods.len()))?;
        Ok::<_, String>(pods)
    })
}

fn waiting(kubectl: &Kubectl, selector: &str, reason: &str) {
    eventually(ROLLED, reason, || {
        let path = "{.items[*].status.containerStatuses[*].state.waiting.reason}";
        let reasons = kubectl.ok(&format!("get pods -l {selector} -o jsonpath={path}"));
        expect_that(reasons.contains(reason), reasons)
    });
}

/// A pod that fetches the page of every other, whichever node it is on.
fn pods_reach_each_other(kubectl: &Kubectl, pods: &[Value]) {
    let fetches: Vec<String> = pods
        .iter()
        .filter_map(|pod| pod["status"]["podIP"].as_str())
        // Not wget: it resolves names, which a static busybox cannot.
        .map(|address| format!(r#"printf "GET / HTTP/1.0\r\n\r\n" | nc -w 5 {address} 8080"#))
        .collect();
    kubectl.apply(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: fetch}}
spec:
  restartPolicy: Never
  containers: [{{name: c, image: 'localhost/web:1', command: [/bin/busybox, sh, -c, '{}']}}]
",
        fetches.join(" && ")
    ));
    kubectl.ok("wait pod/fetch --for=jsonpath={.status.phase}=Succeeded --timeout=30s");
    let pages = kubectl.ok("logs fetch");
    for pod in pods {
        assert!(pages.contains(name(pod)), "{} did not answer:\n{pages}", name(pod));
    }
    kubectl.ok("delete pod fetch");
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

#[test]
fn a_debug_container_sees_the_processes_of_its_target() {
    let cluster = Cluster::start(Size { servers: 1, agents: 1 });
    for version in ["1.32", "1.36"] {
        let kubectl = cluster.kubectl(version);
        let pod = format!("runs-{}", version.replace('.', "-"));
        kubectl.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {pod}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: 'localhost/web:1', command: [/bin/busybox, sleep, '3600']}}]
"
        ));
        kubectl.ok(&format!("wait pod/{pod} --for=condition=Ready --timeout=60s"));
        kubectl.ok(&format!(
            "debug {pod} --image=localhost/web:1 --target=c -c look --attach=false -- /bin/busybox ps"
        ));
        kubectl.ok(&format!(
            "wait pod/{pod} --timeout=60s --for=jsonpath={{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}}=0"
        ));
        let seen = kubectl.ok(&format!("logs {pod} -c look"));
        assert!(seen.contains("sleep 3600"), "{seen}");
        let ready = kubectl.ok(&format!("get pod {pod} --no-headers"));
        assert!(ready.contains("1/1") && ready.contains("Running"), "{ready}");
    }
}
