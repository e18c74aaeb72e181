//! What pods find in their files and environments, on a real cluster: their account's token, which the API
//! believes, the API's address, the claims that they name.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size, run};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::{Kubectl, Said};

const WITHIN: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[test]
fn a_pod_is_its_account_and_finds_its_claims() {
    let cluster = Cluster::start(Size { servers: 1, agents: 1 });
    let kubectl = cluster.kubectl("1.36");
    a_new_namespace_gives_its_pods_tokens(&cluster, &kubectl);
    services_are_in_environments(&kubectl);
    what_is_missing_is_told_and_harms_nobody_else(&kubectl);
    a_claim_is_mounted(&cluster, &kubectl);
}

/// A pod that does this once, as fast as it can end.
fn once(name: &str, script: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: localhost/web:1\n    \
         command: [sh, -c, '{script}']\n{more}"
    )
}

fn log_of_ended(kubectl: &Kubectl, pod: &str) -> String {
    eventually(WITHIN, &format!("{pod} has ended"), || {
        let said = kubectl.run(&format!("get pod {pod} -o jsonpath={{.status.phase}}"));
        expect_that(said.stdout == "Succeeded", said.stdout + &said.stderr)
    });
    kubectl.ok(&format!("logs {pod}"))
}

fn a_new_namespace_gives_its_pods_tokens(cluster: &Cluster, kubectl: &Kubectl) {
    kubectl.ok("create namespace team");
    let script = format!(
        "ls -l {ACCOUNT}/; cat {ACCOUNT}/namespace; echo; cat {ACCOUNT}/token; echo; cat {ACCOUNT}/ca.crt; sleep 1000"
    );
    let manifest = once("self", &script, "").replace("{name: self}", "{name: self, namespace: team}");
    kubectl.apply(&manifest);
    let log = eventually(WITHIN, "the pod shows its files", || {
        let said = kubectl.run("logs self -n team");
        expect_that(said.stdout.contains("END CERTIFICATE"), said.stdout.clone() + &said.stderr)?;
        Ok::<_, String>(said.stdout)
    });
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().position(|line| *line == "team").expect("the namespace");
    let token = lines[at + 1];
    let authority = std::fs::read_to_string(cluster.dir().join("pki/api-ca.crt")).expect("a certificate");
    assert!(log.contains(authority.trim()), "{log}");
    let said = with_token(cluster, token, "auth whoami -o json");
    let who: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let who = &who["status"]["userInfo"];
    assert_eq!(who["username"], "system:serviceaccount:team:default", "{said:?}");
    let extra = |key: &str| &who["extra"][format!("authentication.kubernetes.io/{key}")][0];
    assert_eq!((extra("pod-name"), extra("node-name")), (&"self".into(), &"agent-1".into()));
    // The token goes with its pod.
    kubectl.ok("delete pod self -n team");
    eventually(WITHIN, "the token is refused", || {
        let said = with_token(cluster, token, "auth whoami");
        expect_that(said.stderr.contains("Unauthorized"), said.stdout)
    });
}

/// kubectl with nothing but a token.
fn with_token(cluster: &Cluster, token: &str, arguments: &str) -> Said {
    let home = cluster.dir().join("home");
    std::fs::create_dir_all(&home).expect("a folder");
    let kubectl = Kubectl::new("1.36", Path::new("/dev/null"), &home);
    let ca = cluster.dir().join("pki/api-ca.crt");
    kubectl.run(&format!(
        "--server=https://127.0.0.1:{} --certificate-authority={} --token={token} {arguments}",
        cluster.api_port(1),
        ca.display()
    ))
}

fn services_are_in_environments(kubectl: &Kubectl) {
    kubectl.ok("create service clusterip my-db --tcp=5432:5432");
    let address = kubectl.ok("get svc my-db -o jsonpath={.spec.clusterIP}");
    // A service that is younger than the pod's containers is none of theirs.
    eventually(WITHIN, "a pod is told of the service", || {
        kubectl.run("delete pod linked --ignore-not-found");
        kubectl.apply(&once("linked", "env; echo $(KUBERNETES_SERVICE_HOST)", ""));
        let log = log_of_ended(kubectl, "linked");
        expect_that(log.contains(&format!("\nMY_DB_SERVICE_HOST={address}\n")), log.clone())?;
        for line in ["KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "\n10.96.0.1"] {
            assert!(log.contains(line), "{line}: {log}");
        }
        Ok::<_, String>(())
    });
    kubectl.apply(&once("alone", "env", "  enableServiceLinks: false\n"));
    let log = log_of_ended(kubectl, "alone");
    assert!(log.contains("KUBERNETES_SERVICE_HOST=") && !log.contains("MY_DB"), "{log}");
}

fn what_is_missing_is_told_and_harms_nobody_else(kubectl: &Kubectl) {
    let reference = "    env: [{name: A, valueFrom: {configMapKeyRef: {name: gone, key: k}}}]\n";
    kubectl.apply(&once("no-map", "true", reference));
    let volume = "  volumes: [{name: v, secret: {secretName: gone}}]\n";
    kubectl.apply(&once("no-secret", "true", volume));
    let claim = "  volumes: [{name: v, persistentVolumeClaim: {claimName: gone}}]\n";
    kubectl.apply(&once("no-claim", "true", claim));
    eventually(WITHIN, "the container's configuration is wrong", || {
        let path = "{.status.containerStatuses[0].state.waiting}";
        let said = kubectl.run(&format!("get pod no-map -o jsonpath={path}"));
        let told = said.stdout.contains("CreateContainerConfigError")
            && said.stdout.contains(r#"configmap \"gone\" not found"#);
        expect_that(told, said.stdout)
    });
    for (pod, message) in [
        ("no-secret", r#"MountVolume.SetUp failed for volume "v" : secret "gone" not found"#),
        ("no-claim", r#"persistentvolumeclaims "gone" not found"#),
        ("no-map", r#"Error: configmap "gone" not found"#),
    ] {
        eventually(WITHIN, &format!("{pod} has an event"), || {
            let said = kubectl.run(&format!("get events --field-selector involvedObject.name={pod}"));
            expect_that(said.stdout.contains(message), said.stdout)
        });
    }
    let context = "  securityContext: {sysctls: [{name: kernel.msgmax, value: \"65536\"}]}\n";
    kubectl.apply(&once("unsafe", "true", context));
    eventually(WITHIN, "the pod is rejected", || {
        let said =
            kubectl.run("get pod unsafe -o jsonpath={.status.phase},{.status.reason},{.status.message}");
        let message =
            r#"Failed,SysctlForbidden,Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted"#;
        expect_that(said.stdout == message, said.stdout)
    });
    kubectl.apply(&once("fine", "echo fine", ""));
    assert_eq!(log_of_ended(kubectl, "fine"), "fine\n");
    // What was missing comes, and the pods start.
    kubectl.ok("create configmap gone --from-literal=k=v");
    kubectl.ok("create secret generic gone");
    log_of_ended(kubectl, "no-map");
    log_of_ended(kubectl, "no-secret");
}

fn a_claim_is_mounted(cluster: &Cluster, kubectl: &Kubectl) {
    let disk = cluster.dir().join("disk");
    std::fs::create_dir_all(&disk).expect("a folder");
    std::fs::write(disk.join("there"), "before").expect("a file");
    kubectl.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {storageClassName: '', \
         volumeName: disk, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}\n",
    );
    let script = "cat /data/there; echo after >/data/new; ls -ln /data/new";
    let more = "    volumeMounts: [{name: d, mountPath: /data}]\n  volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]\n  \
        securityContext: {fsGroup: 4321}\n";
    kubectl.apply(&once("keeper", script, more));
    eventually(WITHIN, "the unbound claim is told", || {
        let said = kubectl.run("get events --field-selector involvedObject.name=keeper");
        expect_that(said.stdout.contains("has non-bound phase"), said.stdout)
    });
    let uid = kubectl.ok("get pvc data -o jsonpath={.metadata.uid}");
    let path = disk.display();
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: disk}}\nspec: {{capacity: {{storage: 1Mi}}, \
         accessModes: [ReadWriteOnce], local: {{path: {path}}}, \
         claimRef: {{kind: PersistentVolumeClaim, namespace: default, name: data, uid: {uid}}}, \
         nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [agent-1]}}]}}]}}}}}}\n"
    ));
    kubectl.ok(r#"patch pvc data --subresource=status --type=merge -p {"status":{"phase":"Bound"}}"#);
    let log = log_of_ended(kubectl, "keeper");
    assert!(log.starts_with("before") && log.contains(" 4321 "), "{log}");
    assert_eq!(run("cat", &[&disk.join("new").display().to_string()]), "after\n");
    kubectl.ok("delete pod keeper");
    assert!(disk.join("there").exists(), "a claim outlives its pods");
}
