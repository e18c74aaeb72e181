//! Quotas, and claims that are in use, with every kubectl and the controllers of three servers.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const VERSIONS: [&str; 3] = ["1.20", "1.32", "1.36"];
const SOON: Duration = Duration::from_secs(90);

#[test]
fn nobody_gets_more_than_a_quota_allows() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        kubectl.ok("create namespace team");
        counted_and_refused(&kubectl, version);
        custom_kinds(&kubectl);
        kubectl.ok("delete namespace team --timeout=60s");
        claims(&kubectl);
    }
    together(&cluster);
}

fn used(kubectl: &Kubectl, quota: &str) -> String {
    kubectl.ok(&format!("get quota {quota} -n team -o jsonpath={{.status.used}}"))
}

fn becomes(kubectl: &Kubectl, quota: &str, expected: &str) {
    eventually(SOON, expected, || {
        let told = used(kubectl, quota);
        expect_that(told == expected, told)
    });
}

fn counted_and_refused(kubectl: &Kubectl, version: &str) {
    kubectl.ok("create configmap before -n team");
    // Every namespace has a map of its own from the start.
    eventually(SOON, "the namespace's own map", || {
        let said = kubectl.run("get configmap kube-root-ca.crt -n team");
        expect_that(said.ok, said.stderr)
    });
    kubectl.ok("create quota q -n team --hard=pods=1,requests.cpu=1,configmaps=4,services.nodeports=1");
    // A write waits for the first count.
    kubectl.ok("create configmap after -n team");
    assert_eq!(
        used(kubectl, "q"),
        r#"{"configmaps":"3","pods":"0","requests.cpu":"0","services.nodeports":"0"}"#
    );
    let silent = kubectl.fails("run web -n team --image=registry.example.com/web:1");
    assert!(silent.contains("failed quota: q: must specify requests.cpu"), "{version}: {silent}");
    let pod = |name: &str, cpu: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: team}}\nspec: {{containers: [{{name: c, image: registry.example.com/web:1, resources: {{requests: {{cpu: {cpu}}}}}}}]}}\n"
        )
    };
    kubectl.apply(&pod("a", "600m"));
    let refused = kubectl.with_input("create -f -", &pod("b", "500m")).stderr;
    let why = "exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=1,requests.cpu=600m, limited: pods=1,requests.cpu=1";
    assert!(refused.contains(why), "{version}: {refused}");
    kubectl.ok("delete pod a -n team --grace-period=0 --force");
    kubectl.apply(&pod("b", "1"));
    let shown = kubectl.ok("describe quota q -n team");
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["pods", "1", "1"])), "{version}: {shown}");
    kubectl.ok("create service nodeport web -n team --tcp=80:80");
    assert!(kubectl.fails("create service nodeport more -n team --tcp=80:80").contains("exceeded quota: q"));
    let patch = r#"{"spec":{"hard":{"pods":"1","count/configmaps":"9"}}}"#;
    kubectl.ok(&format!("patch quota q -n team --type=merge -p {patch}"));
    becomes(
        kubectl,
        "q",
        r#"{"configmaps":"3","count/configmaps":"3","pods":"1","requests.cpu":"1","services.nodeports":"1"}"#,
    );
}

fn custom_kinds(kubectl: &Kubectl) {
    kubectl.apply(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.lab.io}\nspec:\n  group: lab.io\n  scope: Namespaced\n  names: {plural: foos, kind: Foo}\n  versions:\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}\n",
    );
    kubectl.ok("wait crd/foos.lab.io --for=condition=Established --timeout=20s");
    kubectl.ok("create quota foos -n team --hard=count/foos.lab.io=1");
    let create = |name: &str| {
        let manifest =
            format!("apiVersion: lab.io/v1\nkind: Foo\nmetadata: {{name: {name}, namespace: team}}\n");
        kubectl.with_input("create -f -", &manifest)
    };
    eventually(SOON, "the kind is served", || {
        let said = create("a");
        expect_that(said.ok, said.stderr)
    });
    let refused = create("b").stderr;
    assert!(refused.contains("exceeded quota: foos, requested: count/foos.lab.io=1"), "{refused}");
    kubectl.ok("delete foo a -n team");
    assert_eq!(used(kubectl, "foos"), r#"{"count/foos.lab.io":"0"}"#);
    kubectl.ok("delete crd foos.lab.io");
}

/// A claim stays while a pod is there that uses it.
fn claims(kubectl: &Kubectl) {
    kubectl.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {name: disk}\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /none}}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: nowhere}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: user}\nspec: {nodeName: nowhere, containers: [{name: c, image: registry.example.com/c:1}], volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]}\n",
    );
    assert!(
        kubectl.ok("get pv disk -o jsonpath={.metadata.finalizers}").contains("kubernetes.io/pv-protection")
    );
    kubectl.ok("delete pv disk --timeout=20s");
    kubectl.ok("delete pvc data --wait=false");
    assert!(kubectl.ok("describe pvc data").contains("Terminating"));
    kubectl.ok("delete pod user --grace-period=0 --force");
    eventually(SOON, "the claim goes", || {
        let said = kubectl.run("get pvc data");
        expect_that(said.stderr.contains("not found"), said.stdout)
    });
    kubectl.ok("delete node nowhere");
}

/// Through three servers at once, and deleted likewise.
fn together(cluster: &Cluster) {
    let kubectl = cluster.kubectl("1.36");
    kubectl.ok("create namespace team");
    kubectl.ok("create quota q -n team --hard=secrets=5");
    becomes(&kubectl, "q", r#"{"secrets":"0"}"#);
    let all = |command: &dyn Fn(usize) -> String| -> usize {
        let started: Vec<_> = (0..15)
            .map(|number| {
                let through = kubectl.through(&format!("server-{}", number % 3 + 1));
                let mut command = through.command(&command(number));
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kubectl starts")
            })
            .collect();
        let ended = started.into_iter().map(|mut command| command.wait().expect("kubectl ends"));
        ended.filter(ExitStatus::success).count()
    };
    assert_eq!(all(&|number| format!("create secret generic s{number} -n team")), 5);
    assert_eq!(used(&kubectl, "q"), r#"{"secrets":"5"}"#);
    assert_eq!(all(&|number| format!("delete secret s{number} -n team")), 5);
    assert_eq!(used(&kubectl, "q"), r#"{"secrets":"0"}"#);
}
