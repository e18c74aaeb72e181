//! `kubectl apply --server-side`: twice, against another manager, by force, and after an apply from the client.

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::kubectl::{Kubectl, VERSIONS};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'localhost/web:1', ports: [{containerPort: 80}]}]}
";

#[test]
fn server_side_apply_works_as_against_a_real_server() {
    let cluster = Cluster::start(Size { servers: 1, agents: 0 });
    for version in VERSIONS {
        let kubectl = cluster.kubectl(version);
        managers_meet(&kubectl);
        the_client_hands_over(&kubectl);
        kubectl.ok("delete deployment,configmap --all");
    }
}

/// Maps that no controller touches, so that a revision is only ours.
fn managers_meet(kubectl: &Kubectl) {
    let map = |color: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{color: {color}, size: big}}\n"
        )
    };
    let revision = || kubectl.ok("get configmap m -o jsonpath={.metadata.resourceVersion}");
    applied(kubectl, "", &map("red"));
    let first = revision();
    applied(kubectl, "", &map("red"));
    applied(kubectl, "--dry-run=server", &map("blue"));
    assert_eq!(revision(), first, "what changes nothing makes no revision");

    kubectl.ok(r#"patch configmap m --field-manager=edit --type=merge -p {"data":{"color":"green"}}"#);
    let refused = kubectl.with_input("apply --server-side -f -", &map("red"));
    assert!(!refused.ok, "{}", refused.stdout);
    assert!(
        refused
            .stderr
            .contains(r#"Apply failed with 1 conflict: conflict with "edit" using v1: .data.color"#),
        "{}",
        refused.stderr
    );
    applied(kubectl, "--force-conflicts", &map("red"));
    assert_eq!(managers(kubectl, "configmap m"), ["kubectl Apply"]);
    assert!(!kubectl.ok("get configmap m -o yaml").contains("managedFields"), "kubectl hides them");
}

fn the_client_hands_over(kubectl: &Kubectl) {
    kubectl.apply(WEB);
    applied(kubectl, "", &WEB.replace("web:1", "web:2"));
    let managers = managers(kubectl, "deployment web");
    assert!(managers.iter().any(|manager| manager == "kubectl Apply"), "{managers:?}");
    assert!(!managers.iter().any(|manager| manager.starts_with("kubectl-client-side-apply")), "{managers:?}");
    kubectl.apply(&WEB.replace("web:1", "web:3"));
    let image = kubectl.ok("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}");
    assert_eq!(image, "localhost/web:3");
}

fn applied(kubectl: &Kubectl, flags: &str, manifest: &str) {
    let said = kubectl.with_input(&format!("apply --server-side {flags} -f -"), manifest);
    assert!(said.ok, "{}{}", said.stdout, said.stderr);
}

fn managers(kubectl: &Kubectl, of: &str) -> Vec<String> {
    let object: Value =
        serde_json::from_str(&kubectl.ok(&format!("get {of} -o json --show-managed-fields"))).expect("JSON");
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| format!("{} {}", text(entry, "manager"), text(entry, "operation"))).collect()
}
