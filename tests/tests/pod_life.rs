//! What a node makes of pods, seen through the API: resized in place, restarted by rules, evicted, ended with the
//! node, and run from files.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const SOON: Duration = Duration::from_secs(60);

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: sized}
spec:
  containers:
  - name: c
    image: localhost/web:1
    resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 100m, memory: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: rules}
spec:
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: c
    image: localhost/web:1
    command: [sh, -c, 'test -e /v/x && exit 0; touch /v/x; exit 42']
    volumeMounts: [{name: v, mountPath: /v}]
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
---
apiVersion: v1
kind: Pod
metadata: {name: grows}
spec:
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]
  containers:
  - name: c
    image: localhost/web:1
    command: [sh, -c, 'dd if=/dev/zero of=/v/f bs=1M count=4; sleep 1000']
    volumeMounts: [{name: v, mountPath: /v}]
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  activeDeadlineSeconds: 2
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'localhost/web:1', command: [sleep, '1000']}]
";

const STATIC: &str = "
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: 'localhost/web:1'}]
";

fn runs(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[test]
fn nodes_run_pods_as_a_kubelet_does() {
    let mut cluster = Cluster::start(Size { servers: 1, agents: 1 });
    let kubectl = cluster.kubectl("1.36");
    kubectl.apply(PODS);
    resized(&kubectl);
    let rules = kubectl.until_pod(SOON, "rules", "finished", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(rules["status"]["containerStatuses"][0]["restartCount"], 1);
    let grows = kubectl.until_pod(SOON, "grows", "evicted", |pod| pod["status"]["reason"] == "Evicted");
    assert_eq!(grows["status"]["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
    assert_eq!(grows["status"]["phase"], "Failed");
    let late = kubectl.until_pod(SOON, "late", "ended", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");
    from_files(&cluster, &kubectl);
    not_taken(&kubectl);
    stopping(&kubectl);
    with_the_node(&mut cluster, &kubectl);
}

fn resized(kubectl: &Kubectl) {
    kubectl.until_pod(SOON, "sized", "running", runs);
    let resize = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        kubectl.ok(&format!("patch pod sized --subresource resize --patch {patch}"));
    };
    resize("200m");
    let given = |pod: &Value| pod["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"].clone();
    let sized = kubectl.until_pod(SOON, "sized", "resized", |pod| given(pod) == "200m");
    assert_eq!(sized["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], "200m");
    assert_eq!(sized["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(sized["status"]["observedGeneration"], sized["metadata"]["generation"]);
    resize("1000");
    let refused =
        kubectl.until_pod(SOON, "sized", "refused", |pod| condition(pod, "PodResizePending").is_some());
    assert_eq!(condition(&refused, "PodResizePending").expect("just seen")["reason"], "Infeasible");
    assert_eq!(given(&refused), "200m");
    resize("100m");
    let back = kubectl.until_pod(SOON, "sized", "resized again", |pod| given(pod) == "100m");
    assert!(condition(&back, "PodResizePending").is_none(), "{back}");
}

fn from_files(cluster: &Cluster, kubectl: &Kubectl) {
    let file = cluster.dir().join("agent-1/manifests/static.yaml");
    std::fs::write(&file, STATIC).expect("a manifest");
    let mirror = kubectl.until_pod(SOON, "static-agent-1", "running", runs);
    assert_eq!(mirror["metadata"]["annotations"]["kubernetes.io/config.source"], "file");
    assert_eq!(
        mirror["metadata"]["ownerReferences"][0]["name"], "agent-1",
        "NodeRestriction has let it pass"
    );
    let id = mirror["status"]["containerStatuses"][0]["containerID"].clone();
    kubectl.ok("delete pod static-agent-1 --wait=false");
    let uid = mirror["metadata"]["uid"].clone();
    let again =
        kubectl.until_pod(SOON, "static-agent-1", "back", |pod| runs(pod) && pod["metadata"]["uid"] != uid);
    assert_eq!(again["status"]["containerStatuses"][0]["containerID"], id, "only what shows it was deleted");
    let log = kubectl.ok("logs static-agent-1");
    assert!(log.contains("serving"), "{log}");
    std::fs::remove_file(file).expect("the manifest");
    eventually(SOON, "the static pod is gone", || {
        let said = kubectl.run("get pod static-agent-1");
        expect_that(said.stderr.contains("NotFound"), said.stdout)
    });
}

/// A pod that somebody binds by hand.
fn bound(name: &str, spec: &Value) -> String {
    let mut spec = spec.clone();
    spec["nodeName"] = json!("agent-1");
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "c", "image": "localhost/web:1"}]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

/// The pod has failed for this reason, and an event says so; its status has this in its message.
fn refused(kubectl: &Kubectl, name: &str, reason: &str, message: &str) {
    let pod = kubectl.until_pod(SOON, name, "refused", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(pod["status"]["reason"], reason, "{pod}");
    let told = pod["status"]["message"].as_str().unwrap_or_default();
    assert!(told.starts_with(&format!("Pod was rejected: {message}")), "{told}");
    eventually(SOON, "an event tells of it", || {
        let events = kubectl.ok(&format!(
            "get events --field-selector reason={reason},involvedObject.name={name} -o jsonpath={{..message}}"
        ));
        expect_that(events.starts_with(message), events)
    });
}

fn not_taken(kubectl: &Kubectl) {
    let large =
        json!([{"name": "c", "image": "localhost/web:1", "resources": {"requests": {"cpu": "1000"}}}]);
    kubectl.apply(&bound("large", &json!({"containers": large})));
    kubectl.apply(&bound("elsewhere", &json!({"nodeSelector": {"zone": "none"}})));
    let room = "Node didn't have enough resource: cpu, requested: 1000000, used: ";
    refused(kubectl, "large", "OutOfcpu", room);
    let predicate = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    refused(kubectl, "elsewhere", "NodeAffinity", predicate);
    // Labels that somebody gives the node count at once.
    kubectl.ok("label node agent-1 zone=some");
    kubectl.apply(&bound("here", &json!({"nodeSelector": {"zone": "some"}})));
    kubectl.until_pod(SOON, "here", "running", runs);
}

/// A pod that stops is asked whether it is still ready, and not whether it should be restarted.
fn stopping(kubectl: &Kubectl) {
    let file = |name: &str| {
        json!({"exec": {"command": ["test", "-e", name]}, "periodSeconds": 1,
        "timeoutSeconds": 10, "failureThreshold": 1})
    };
    let hook = json!({"exec": {"command": ["sh", "-c", "rm /serving; sleep 1000"]}});
    let container = json!({"name": "c", "image": "localhost/web:1",
        "command": ["sh", "-c", "touch /serving; sleep 1000"], "readinessProbe": file("/serving"),
        "livenessProbe": {"exec": file("/serving")["exec"], "periodSeconds": 1, "timeoutSeconds": 10,
            "failureThreshold": 1, "initialDelaySeconds": 3},
        "lifecycle": {"preStop": hook}});
    kubectl.apply(&bound("drains", &json!({"containers": [container], "terminationGracePeriodSeconds": 15})));
    let before = kubectl.until_pod(SOON, "drains", "ready", runs);
    kubectl.ok("delete pod drains --wait=false");
    let drains = kubectl.until_pod(SOON, "drains", "not ready any more", |pod| {
        condition(pod, "Ready").is_some_and(|ready| ready["status"] == "False")
    });
    let container = &drains["status"]["containerStatuses"][0];
    assert!(drains["metadata"]["deletionTimestamp"].is_string(), "{drains}");
    assert_eq!(drains["status"]["phase"], "Running");
    assert_eq!(condition(&drains, "Ready").expect("just seen")["reason"], "ContainersNotReady");
    assert_eq!(container["state"], before["status"]["containerStatuses"][0]["state"], "it still runs");
    eventually(SOON, "it is gone", || {
        let said = kubectl.run("get pod drains");
        expect_that(said.stderr.contains("NotFound"), said.stdout)
    });
    let complaints = kubectl.ok("get events --field-selector reason=Unhealthy -o jsonpath={..message}");
    assert!(complaints.contains("Readiness probe failed"), "{complaints}");
    assert!(!complaints.contains("Liveness probe failed"), "{complaints}");
}

fn with_the_node(cluster: &mut Cluster, kubectl: &Kubectl) {
    let stubborn = json!([{"name": "c", "image": "localhost/web:1",
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]}]);
    kubectl.apply(&bound("stubborn", &json!({"containers": stubborn, "terminationGracePeriodSeconds": 12})));
    kubectl.until_pod(SOON, "stubborn", "running", runs);
    let file = cluster.dir().join("agent-1/config.yaml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["shutdown-grace-period"] = json!(20);
    config["eviction-hard"] = json!("pid.available<100%");
    std::fs::write(&file, config.to_string()).expect("a configuration");
    cluster.signal("agent-1", "KILL");
    cluster.restart("agent-1");
    kubectl.until_pod(SOON, "sized", "adopted", |pod| {
        runs(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 0
    });
    eventually(SOON, "the node tells that it is short of something", || {
        let said = kubectl.run("wait node agent-1 --for=condition=PIDPressure --timeout=1s");
        expect_that(said.ok, said.stderr)
    });
    kubectl.apply(&bound("unwelcome", &json!({})));
    refused(kubectl, "unwelcome", "Evicted", "The node had condition: [PIDPressure].");
    kubectl.apply(&bound("needed", &json!({"priorityClassName": "system-node-critical"})));
    kubectl.until_pod(SOON, "needed", "running, whatever the node is short of", runs);
    cluster.signal("agent-1", "TERM");
    eventually(SOON, "the node says that it goes down", || {
        let said =
            kubectl.ok("get node agent-1 -o jsonpath={.status.conditions[?(@.type=='Ready')].message}");
        expect_that(said.contains("shutting down"), said)
    });
    kubectl.apply(&bound("late-comer", &json!({"priorityClassName": "system-node-critical"})));
    refused(kubectl, "late-comer", "NodeShutdown", "Pod was rejected as the node is shutting down.");
    let sized =
        kubectl.until_pod(SOON, "sized", "ended with its node", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(sized["status"]["reason"], "Terminated");
    assert_eq!(
        condition(&sized, "DisruptionTarget").expect("it is told why")["reason"],
        "TerminationByKubelet"
    );
}
